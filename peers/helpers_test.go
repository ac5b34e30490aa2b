package peers_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"udprelay/peers"
)

// start is when the tables of the tests are made.
var start = time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)

// at returns the time that is so long after start.
func at(after time.Duration) time.Time { return start.Add(after) }

func addr(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

func addrs(texts ...string) []netip.AddrPort {
	list := make([]netip.AddrPort, len(texts))
	for i, text := range texts {
		list[i] = addr(text)
	}
	return list
}

// rule returns the rule that a line of the configuration stands for.
func rule(from string, may peers.May) peers.Rule {
	cover, err := peers.ParseFrom(from)
	if err != nil {
		panic(err)
	}
	return peers.Rule{From: from, Cover: cover, May: may}
}

// joinRule returns a rule for peers that do both and join that way.
func joinRule(from string, join peers.Join) peers.Rule {
	r := rule(from, peers.MayBoth)
	r.Join = join
	return r
}

var anyBoth = []peers.Rule{rule("any", peers.MayBoth)}

// openTable lets everyone in, within the limits given.
func openTable(max, maxPerAddress int) *peers.Table {
	return peers.New(peers.Options{Expiry: time.Minute, Max: max, MaxPerAddress: maxPerAddress, Access: anyBoth}, start)
}

// nth returns one of many addresses, each of which MaxPerAddress counts apart:
// half of them IPv4, half of them IPv6.
func nth(i int) netip.AddrPort {
	a, b, c := byte(i>>16), byte(i>>8), byte(i)
	if i%2 == 0 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, a, b, c}), 9000)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 5: a, 6: b, 7: c, 15: 1}), 9000)
}

func nths(from, to int) []netip.AddrPort {
	var list []netip.AddrPort
	for i := from; i < to; i++ {
		list = append(list, nth(i))
	}
	return list
}

// wantHeard lets the table hear from and returns the peer.
func wantHeard(t testing.TB, table *peers.Table, from string, now time.Time, want peers.Verdict) *peers.Peer {
	t.Helper()
	return wantVerdict(t, "Heard", table.Heard, from, now, want)
}

// wantAdmitted lets the table admit from, who has proved all there is to prove,
// and returns the peer.
func wantAdmitted(t testing.TB, table *peers.Table, from string, now time.Time, want peers.Verdict) *peers.Peer {
	t.Helper()
	return wantVerdict(t, "Admit", proved(table, peers.JoinSecret), from, now, want)
}

// proved returns Admit for senders with a proof.
func proved(table *peers.Table, proof peers.Join) func(netip.AddrPort, time.Time) (*peers.Peer, peers.Verdict) {
	return func(from netip.AddrPort, now time.Time) (*peers.Peer, peers.Verdict) {
		return table.Admit(from, now, proof)
	}
}

func wantVerdict(t testing.TB, what string, do func(netip.AddrPort, time.Time) (*peers.Peer, peers.Verdict), from string, now time.Time, want peers.Verdict) *peers.Peer {
	t.Helper()
	p, got := do(addr(from), now)
	if got != want {
		t.Fatalf("%s(%s): want %q, got %q", what, from, want, got)
	}
	if got.Refused() != (p == nil) {
		t.Fatalf("%s(%s): want a peer unless refused, got %v and %q", what, from, p, got)
	}
	if p != nil && p.Addr() != keptAt(p, addr(from)) {
		t.Fatalf("%s(%s): want the peer of that address, got %v", what, from, p.Addr())
	}
	return p
}

// keptAt returns the address of p, if it is the peer or the sender of datagrams
// from from.
func keptAt(p *peers.Peer, from netip.AddrPort) netip.AddrPort {
	if p.Sender() {
		return netip.AddrPortFrom(from.Addr(), 0)
	}
	return from
}

// wantPeers checks the addresses of a list of peers and their order.
func wantPeers(t testing.TB, what string, list []*peers.Peer, want ...string) {
	t.Helper()
	if got := addrsOf(list); !slices.Equal(got, addrs(want...)) {
		t.Fatalf("%s: want %v, got %v", what, want, got)
	}
}

func addrsOf(list []*peers.Peer) []netip.AddrPort {
	got := make([]netip.AddrPort, len(list))
	for i, p := range list {
		got[i] = p.Addr()
	}
	return got
}

func wantCounts(t testing.TB, table *peers.Table, learned, static int) {
	t.Helper()
	if gotLearned, gotStatic := table.Counts(); gotLearned != learned || gotStatic != static {
		t.Fatalf("Counts: want %d learned and %d static, got %d and %d", learned, static, gotLearned, gotStatic)
	}
	wantConsistent(t, table)
}

// wantConsistent checks that the parts of the table agree with each other.
func wantConsistent(t interface {
	Helper()
	Fatalf(string, ...any)
}, table *peers.Table) {
	t.Helper()
	if err := table.Disagreement(); err != nil {
		t.Fatalf("want index, lists and counts to agree, got: %v", err)
	}
}
