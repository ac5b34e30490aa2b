package peers_test

import (
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

func TestSenderJoinsOnceAndIsKnownFromThenOn(t *testing.T) {
	table := openTable(0, 0)
	p := wantHeard(t, table, "192.0.2.1:1", at(time.Second), peers.Joined)
	if again := wantHeard(t, table, "192.0.2.1:1", at(3*time.Second), peers.Known); again != p {
		t.Errorf("want the same peer, %p, got %p", p, again)
	}
	if got := table.Lookup(addr("192.0.2.1:1")); got != p {
		t.Errorf("Lookup: want %p, got %p", p, got)
	}
	if got := table.Joined(p); !got.Equal(at(time.Second)) {
		t.Errorf("Joined: want %v, got %v", at(time.Second), got)
	}
	wantLastHeard(t, table, p, at(3*time.Second))
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1")
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.1:1")
	wantCounts(t, table, 1, 0)
}

func TestLookupRefreshesNothing(t *testing.T) {
	table := openTable(0, 0)
	p := wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	table.Lookup(p.Addr())
	wantLastHeard(t, table, p, at(0))
	if got := table.Lookup(addr("192.0.2.1:2")); got != nil {
		t.Errorf("Lookup of a stranger: want nil, got %v", got.Addr())
	}
}

func TestAddressesThatAreNobodysNeverJoin(t *testing.T) {
	never := []netip.AddrPort{
		{},
		netip.AddrPortFrom(netip.Addr{}, 9),
		addr("192.0.2.1:0"),
		addr("[2001:db8::1]:0"),
		addr("0.0.0.0:9"),
		addr("[::]:9"),
		addr("[::%eth0]:9"),
		addr("224.0.0.1:9"),
		addr("239.255.255.255:9"),
		addr("255.255.255.255:9"),
		addr("[ff02::1]:9"),
		addr("[ff02::1%eth0]:9"),
	}
	table := openTable(0, 0)
	for _, addr := range never {
		if p, got := table.Heard(addr, at(0)); got != peers.NeverAPeer || p != nil {
			t.Errorf("Heard(%v): want nil and %q, got %v and %q", addr, peers.NeverAPeer, p, got)
		}
	}
	if added, _ := table.SetStatic(never, at(0)); len(added) != 0 {
		t.Errorf("added by SetStatic: want none, got %v", addrsOf(added))
	}
	wantCounts(t, table, 0, 0)
	for _, near := range []string{"223.255.255.255:1", "255.255.255.254:1", "240.0.0.1:65535", "0.0.0.1:1", "[::1]:1", "[feff::1]:1"} {
		wantHeard(t, table, near, at(0), peers.Joined)
	}
}

// Who answers whatever comes would answer what the relay sends, for ever, once
// somebody had forged a datagram from there.
func TestServicesThatAnswerAnythingNeverJoinButMayBeStatic(t *testing.T) {
	for _, port := range []string{"7", "13", "17", "19"} {
		for _, from := range []string{"192.0.2.1:" + port, "[2001:db8::1]:" + port} {
			table := openTable(0, 0)
			wantHeard(t, table, from, at(0), peers.NeverAPeer)
			wantAdmitted(t, table, from, at(0), peers.NeverAPeer)
			wantCounts(t, table, 0, 0)
			added, _ := table.SetStatic(addrs(from), at(0))
			wantPeers(t, "added by SetStatic", added, from)
			wantHeard(t, table, from, at(time.Second), peers.Known)
			wantAdmitted(t, table, from, at(2*time.Second), peers.Known)
			wantLastHeard(t, table, added[0], at(2*time.Second))
			_, removed := table.SetStatic(nil, at(3*time.Second))
			wantPeers(t, "removed by SetStatic", removed, from)
			wantCounts(t, table, 0, 0)
			wantHeard(t, table, from, at(4*time.Second), peers.NeverAPeer)
		}
	}
	table := openTable(0, 0)
	for _, near := range []string{"192.0.2.1:6", "192.0.2.1:8", "192.0.2.1:12", "192.0.2.1:14", "192.0.2.1:16", "192.0.2.1:18", "192.0.2.1:20", "192.0.2.1:1799"} {
		wantHeard(t, table, near, at(0), peers.Joined)
	}
}

func TestRelayItselfNeverJoins(t *testing.T) {
	own := addr("192.0.2.9:9000")
	table := peers.New(peers.Options{
		Expiry: time.Minute,
		Access: anyBoth,
		Own:    func(addr netip.AddrPort) bool { return addr == own },
	}, start)
	wantHeard(t, table, "192.0.2.9:9000", at(0), peers.NeverAPeer)
	wantHeard(t, table, "192.0.2.9:9001", at(0), peers.Joined)
	added, removed := table.SetStatic(addrs("192.0.2.9:9000", "192.0.2.2:1"), at(0))
	wantPeers(t, "added by SetStatic", added, "192.0.2.2:1")
	wantPeers(t, "removed by SetStatic", removed)
	wantPeers(t, "Peers", table.Peers(), "192.0.2.9:9001", "192.0.2.2:1")
}

func TestOwnIsAskedOnlyAboutStrangers(t *testing.T) {
	asked := 0
	table := peers.New(peers.Options{
		Expiry: time.Minute,
		Access: anyBoth,
		Own:    func(netip.AddrPort) bool { asked++; return false },
	}, start)
	wantAsked := func(after string, want int) {
		t.Helper()
		if asked != want {
			t.Fatalf("want Own to be asked %d times after %s, got %d", want, after, asked)
		}
	}
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	wantAsked("a stranger was heard", 1)
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Known)
	table.Lookup(addr("192.0.2.2:2"))
	wantAsked("a peer was heard", 1)
	table.SetStatic(addrs("192.0.2.1:1"), at(0))
	wantAsked("a learned peer became static", 1)
	table.SetStatic(addrs("192.0.2.1:1", "192.0.2.2:1"), at(0))
	wantAsked("one static peer was added", 2)
	wantHeard(t, table, "192.0.2.1:0", at(0), peers.NeverAPeer)
	wantAsked("port 0 was heard", 2)
	wantAdmitted(t, table, "192.0.2.1:1", at(0), peers.Known)
	wantAsked("a peer was admitted", 2)
	wantAdmitted(t, table, "192.0.2.3:1", at(0), peers.Joined)
	wantAsked("a stranger was admitted", 3)
}

func TestMaxBoundsLearnedPeers(t *testing.T) {
	table := openTable(2, 0)
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.2:1", at(time.Second), peers.Joined)
	wantHeard(t, table, "192.0.2.3:1", at(time.Second), peers.TableFull)
	wantHeard(t, table, "192.0.2.1:1", at(time.Second), peers.Known)
	wantCounts(t, table, 2, 0)
	wantPeers(t, "Expire", table.Expire(at(time.Minute)))
	wantHeard(t, table, "192.0.2.1:1", at(time.Minute), peers.Known)
	wantPeers(t, "Expire", table.Expire(at(time.Minute+time.Second)), "192.0.2.2:1")
	wantHeard(t, table, "192.0.2.3:1", at(2*time.Minute), peers.Joined)
	wantCounts(t, table, 2, 0)
}

func TestMaxPerAddressCountsWhatOneCustomerHas(t *testing.T) {
	tests := []struct {
		name, first, second string
		want                peers.Verdict
	}{
		{"ports of an IPv4 address", "192.0.2.1:1", "192.0.2.1:2", peers.AddressFull},
		{"neighbours in IPv4", "192.0.2.1:1", "192.0.2.0:1", peers.Joined},
		{"IPv4 link-local", "169.254.0.1:1", "169.254.0.2:1", peers.Joined},
		{"ports of an IPv6 address", "[2001:db8::1]:1", "[2001:db8::1]:2", peers.AddressFull},
		{"one /64", "[2001:db8::]:1", "[2001:db8::ffff:ffff:ffff:ffff]:1", peers.AddressFull},
		{"two /64", "[2001:db8:0:1::]:1", "[2001:db8:0:0:ffff:ffff:ffff:ffff]:1", peers.Joined},
		{"one unique local /64", "[fd00::1]:1", "[fd00::2]:1", peers.AddressFull},
		{"neighbours on a link", "[fe80::1]:1", "[fe80::2]:1", peers.Joined},
		{"the last of fe80::/10", "[febf::1]:1", "[febf::2]:1", peers.Joined},
		{"the first after fe80::/10", "[fec0::1]:1", "[fec0::2]:1", peers.AddressFull},
		{"ports of a link-local address", "[fe80::1%eth0]:1", "[fe80::1%eth0]:2", peers.AddressFull},
		{"one link-local address on two links", "[fe80::1%eth0]:1", "[fe80::1%eth1]:1", peers.AddressFull},
		{"IPv4 and the IPv6 /64 that maps it", "192.0.2.1:1", "[::1]:1", peers.Joined},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table := openTable(0, 1)
			wantHeard(t, table, test.first, at(0), peers.Joined)
			wantHeard(t, table, test.second, at(0), test.want)
			table.Expire(at(time.Minute))
			wantHeard(t, table, test.second, at(time.Minute), peers.Joined)
		})
	}
}

func TestZonesTellPeersApart(t *testing.T) {
	table := openTable(0, 0)
	zones := []string{"[fe80::1]:1", "[fe80::1%eth0]:1", "[fe80::1%eth1]:1"}
	for _, zone := range zones {
		wantHeard(t, table, zone, at(0), peers.Joined)
	}
	for _, zone := range zones {
		wantHeard(t, table, zone, at(0), peers.Known)
	}
	wantPeers(t, "Peers", table.Peers(), zones...)
}

func TestNumbersAscendAndAreNeverGivenTwice(t *testing.T) {
	table := openTable(0, 0)
	var last uint64
	for round := range 3 {
		now := at(time.Duration(round) * time.Minute)
		table.Expire(now)
		for i := range 10 {
			p, _ := table.Heard(nth(i), now)
			if p.Number() <= last {
				t.Fatalf("want a number above %d, got %d", last, p.Number())
			}
			last = p.Number()
		}
	}
}

func TestVerdictsSayWhatTheyMean(t *testing.T) {
	want := map[peers.Verdict]string{
		peers.Known: "known", peers.Joined: "joined",
		peers.NeedsCookie: "needs a cookie", peers.NeedsSecret: "needs a cookie and the secret", peers.JoinsTooFast: "joins too fast",
		peers.RefusedByRule: "refused by rule", peers.TableFull: "table full",
		peers.AddressFull: "too many peers at its address", peers.NeverAPeer: "never a peer",
	}
	for verdict, words := range want {
		if got := verdict.String(); got != words {
			t.Errorf("want %q, got %q", words, got)
		}
		if want, got := verdict != peers.Known && verdict != peers.Joined, verdict.Refused(); got != want {
			t.Errorf("%v: want Refused %v, got %v", verdict, want, got)
		}
	}
}

func wantLastHeard(t *testing.T, table *peers.Table, p *peers.Peer, want time.Time) {
	t.Helper()
	if got, ever := table.LastHeard(p); !ever || !got.Equal(want) {
		t.Errorf("LastHeard(%v): want %v, got %v, %v", p.Addr(), want, got, ever)
	}
}

func TestAllOfLoopbackIsOneAddressToTheLimit(t *testing.T) {
	table := openTable(0, 2)
	wantHeard(t, table, "127.0.0.1:1", at(0), peers.Joined)
	wantHeard(t, table, "127.9.9.9:1", at(0), peers.Joined)
	wantHeard(t, table, "127.0.0.3:1", at(0), peers.AddressFull)
	wantHeard(t, table, "[::1]:1", at(0), peers.Joined)
}
