package peers_test

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"udprelay/peers"
)

// sendTable lets everyone send, within limits that leave no place for a peer.
func sendTable() *peers.Table {
	options := peers.Options{
		Expiry: time.Minute, Max: 1, MaxPerAddress: 1, JoinsPerSecond: 1, JoinsPerSecondPerAddress: 1,
		Access: []peers.Rule{rule("192.0.2.1", peers.MayReceive), rule("any", peers.MaySend)},
		Own:    func(addr netip.AddrPort) bool { return addr == ownAddr },
	}
	return peers.New(options, start)
}

func withPort(addr netip.Addr, port int) netip.AddrPort {
	return netip.AddrPortFrom(addr, uint16(port))
}

func TestSenderTakesNoPlaceWhateverItsPort(t *testing.T) {
	table := sendTable()
	listener := wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	for _, ip := range []string{"192.0.2.2", "2001:db8::1", "fe80::1%eth0", "fe80::1%eth1"} {
		first, verdict := table.Heard(withPort(netip.MustParseAddr(ip), 1), at(0))
		if verdict != peers.Joined || !first.Sender() || first.May() != peers.MaySend {
			t.Fatalf("the first datagram of %s: want a sender that %q and may send, got %q and %v, may %v", ip, peers.Joined, verdict, first.Sender(), first.May())
		}
		const step = 5 // the last is 65535 all the same
		for port := 20; port < 1<<16; port += step {
			now := at(time.Duration(port))
			if p, verdict := table.Heard(withPort(netip.MustParseAddr(ip), port), now); p != first || verdict != peers.Known {
				t.Fatalf("port %d of %s: want the same sender, %p, and %q; got %p and %q", port, ip, first, peers.Known, p, verdict)
			}
		}
		wantLastHeard(t, table, first, at(1<<16-1))
	}
	wantPeers(t, "Senders", table.Senders(), "192.0.2.2:0", "[2001:db8::1]:0", "[fe80::1%eth0]:0", "[fe80::1%eth1]:0")
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1")
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.1:1")
	wantCounts(t, table, 1, 0)
	if table.Lookup(listener.Addr()) != listener {
		t.Error("want the listener to keep its place")
	}
}

func TestPortsThatAreNeverAPeerAreNotASenderEither(t *testing.T) {
	table := sendTable()
	for _, from := range []string{"192.0.2.2:1", "192.0.2.9:1"} { // the second is the host of the relay
		wantHeard(t, table, from, at(0), peers.Joined)
		wantHeard(t, table, from, at(0), peers.Known)
	}
	for _, from := range []string{"192.0.2.2:0", "192.0.2.2:7", "192.0.2.2:13", "192.0.2.2:17", "192.0.2.2:19", ownAddr.String()} {
		wantHeard(t, table, from, at(0), peers.NeverAPeer)
		if got := table.Origin(addr(from)); got != nil {
			t.Errorf("Origin(%s): want none, got %v", from, got.Addr())
		}
		if a := table.Explain(addr(from), at(0)); addr(from).Port() != 0 && (a.Verdict != peers.NeverAPeer || a.Peer != nil) {
			t.Errorf("Explain(%s): want %q and no peer, got %q and %v", from, peers.NeverAPeer, a.Verdict, a.Peer)
		}
	}
	if got := table.Lookup(addr("192.0.2.2:0")); got != nil {
		t.Errorf("Lookup of port 0: want none, got %v", got.Addr())
	}
	wantConsistent(t, table)
}

func TestStaticPeerAtTheAddressOfASenderIsFoundFirst(t *testing.T) {
	table := sendTable()
	sender := wantHeard(t, table, "192.0.2.2:1", at(0), peers.Joined)
	table.SetStatic(addrs("192.0.2.2:514"), at(0))
	if p := wantHeard(t, table, "192.0.2.2:514", at(0), peers.Known); !p.Static() || p.Sender() {
		t.Errorf("want the static peer, got static %v, sender %v", p.Static(), p.Sender())
	}
	if p := wantHeard(t, table, "192.0.2.2:515", at(0), peers.Known); p != sender {
		t.Errorf("want the sender, %p, got %p", sender, p)
	}
	// It may only send, so that it goes on as a sender and not as a peer.
	_, removed := table.SetStatic(nil, at(0))
	wantPeers(t, "removed", removed, "192.0.2.2:514")
	if p := wantHeard(t, table, "192.0.2.2:514", at(0), peers.Known); p != sender {
		t.Errorf("want the sender, %p, got %p", sender, p)
	}
	wantCounts(t, table, 0, 0)
}

func TestSenderThatWasSilentTheLongestMakesRoom(t *testing.T) {
	table := sendTable()
	table.KeepFewSenders(3)
	for i, from := range []string{"192.0.2.2:1", "192.0.2.3:1", "192.0.2.4:1"} {
		wantHeard(t, table, from, at(time.Duration(i)), peers.Joined)
	}
	wantHeard(t, table, "192.0.2.2:2", at(5), peers.Known)
	wantHeard(t, table, "192.0.2.5:1", at(6), peers.Joined)
	wantPeers(t, "Senders", table.Senders(), "192.0.2.2:0", "192.0.2.4:0", "192.0.2.5:0")
	wantHeard(t, table, "192.0.2.4:2", at(7), peers.Known)
	wantHeard(t, table, "192.0.2.3:2", at(8), peers.Joined) // it comes back
	wantPeers(t, "Senders", table.Senders(), "192.0.2.4:0", "192.0.2.5:0", "192.0.2.3:0")
	if got := table.Rules()[1].Peers; got != 3 {
		t.Errorf("want the rule to count 3 senders, got %d", got)
	}
	wantConsistent(t, table)
}

// Against a heap that is looked after lazily stands a scan of them all.
func TestLongestSilentIsFoundAmongManyThatSpeakMeanwhile(t *testing.T) {
	const most, rounds = 50, 20_000
	table := sendTable()
	table.KeepFewSenders(most)
	heard := map[netip.AddrPort]time.Time{}
	for i := range rounds {
		now := at(time.Duration(i))
		from := nth(2 * rand.IntN(2*most))
		key := netip.AddrPortFrom(from.Addr(), 0)
		if _, known := heard[key]; !known && len(heard) == most {
			var longest netip.AddrPort
			for addr, when := range heard {
				if !longest.IsValid() || when.Before(heard[longest]) {
					longest = addr
				}
			}
			delete(heard, longest)
		}
		heard[key] = now
		table.Heard(from, now)
		if i%100 == 0 {
			for _, p := range table.Senders() {
				if _, known := heard[p.Addr()]; !known {
					t.Fatalf("after %d datagrams: want %v to have made room", i+1, p.Addr())
				}
			}
			wantConsistent(t, table)
		}
	}
}

func TestSendersExpire(t *testing.T) {
	table := sendTable()
	wantHeard(t, table, "192.0.2.2:1", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.3:1", at(time.Second), peers.Joined)
	wantHeard(t, table, "192.0.2.2:2", at(2*time.Second), peers.Known)
	wantPeers(t, "Expire", table.Expire(at(time.Minute)))
	wantPeers(t, "Expire", table.Expire(at(time.Minute+time.Second)), "192.0.2.3:0")
	wantPeers(t, "Expire", table.Expire(at(time.Minute+2*time.Second-1)))
	wantPeers(t, "Expire", table.Expire(at(time.Minute+2*time.Second)), "192.0.2.2:0")
	wantPeers(t, "Senders", table.Senders())
	if joined, left := table.Turnover(); joined != 0 || left != 0 {
		t.Errorf("Turnover: want no peers to come or go, got %d and %d", joined, left)
	}
	wantConsistent(t, table)
}

func TestSendersAreBannedAndKicked(t *testing.T) {
	table := sendTable()
	for _, from := range []string{"192.0.2.2:1", "192.0.2.3:1", "[fe80::1%eth0]:1"} {
		wantHeard(t, table, from, at(0), peers.Joined)
	}
	removed, err := table.Ban(netip.MustParsePrefix("192.0.2.2/32"), time.Time{}, "", at(0))
	if err != nil {
		t.Fatal(err)
	}
	wantPeers(t, "removed by Ban", removed, "192.0.2.2:0")
	wantHeard(t, table, "192.0.2.2:2", at(0), peers.Banned)
	wantPeers(t, "removed by RestoreBans", table.RestoreBans([]peers.Ban{{From: netip.MustParsePrefix("fe80::/64")}}, at(0)), "[fe80::1%eth0]:0")
	wantHeard(t, table, "[fe80::1%eth0]:2", at(0), peers.Banned)
	wantPeers(t, "removed by Kick", table.Kick(func(p *peers.Peer) bool { return p.Addr().Addr() == netip.MustParseAddr("192.0.2.3") }), "192.0.2.3:0")
	wantHeard(t, table, "192.0.2.3:1", at(0), peers.Joined)
	table.Unban(netip.MustParsePrefix("192.0.2.2/32"))
	wantHeard(t, table, "192.0.2.2:1", at(0), peers.Joined)
	wantConsistent(t, table)
}

func TestNewRulesDecideAboutSenders(t *testing.T) {
	asks := joinRule("192.0.2.4", peers.JoinCookie)
	asks.May = peers.MaySend
	table := sendTable()
	for _, from := range []string{"192.0.2.2:1", "192.0.2.3:1", "192.0.2.4:1", "192.0.2.5:1"} {
		wantHeard(t, table, from, at(0), peers.Joined)
	}
	removed := table.SetOptions(peers.Options{Expiry: time.Minute, Access: []peers.Rule{
		rule("192.0.2.2", peers.MayNothing), rule("192.0.2.3", peers.MayBoth), asks, rule("192.0.2.5", peers.MaySend),
	}})
	wantPeers(t, "removed", removed, "192.0.2.2:0", "192.0.2.4:0")
	wantPeers(t, "Senders", table.Senders(), "192.0.2.5:0")
	wantHeard(t, table, "192.0.2.2:2", at(0), peers.RefusedByRule)
	wantHeard(t, table, "192.0.2.4:2", at(0), peers.NeedsCookie)
	wantHeard(t, table, "192.0.2.5:2", at(0), peers.Known)
	if p := wantHeard(t, table, "192.0.2.3:2", at(0), peers.Joined); p.Sender() || !p.MayReceive() {
		t.Errorf("want a peer that may receive, got sender %v, may %v", p.Sender(), p.May())
	}
	wantCounts(t, table, 1, 0)
}

// It has proved its address and port, or holds a connection.
func TestOnesThatMaySendByProofOrConnectionTakeAPlace(t *testing.T) {
	asks := joinRule("192.0.2.0/24", peers.JoinCookie)
	asks.May = peers.MaySend
	table := peers.New(peers.Options{Expiry: time.Minute, Max: 2, Access: []peers.Rule{asks, rule("any", peers.MaySend)}}, start)
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.NeedsCookie)
	if p := wantAdmitted(t, table, "192.0.2.1:1", at(0), peers.Joined); p.Sender() {
		t.Error("want a peer, got a sender")
	}
	connect := func() (*peers.Peer, peers.Verdict) {
		p, verdict, _ := table.Connect(addr("198.51.100.1:1"), peers.TCP, at(0), peers.JoinCookie, func() {})
		return p, verdict
	}
	if p, verdict := connect(); verdict != peers.Joined || p.Sender() {
		t.Errorf("Connect: want a peer that %q, got %v that %q", peers.Joined, p, verdict)
	}
	if _, verdict := connect(); verdict != peers.TableFull {
		t.Errorf("Connect to a full table: want %q, got %q", peers.TableFull, verdict)
	}
	wantHeard(t, table, "192.0.2.1:2", at(0), peers.TableFull)
	// By UDP it is a sender, from whatever port. At its own port, the connection is
	// what is explained.
	wantHeard(t, table, "198.51.100.1:1", at(0), peers.Joined)
	if a := table.Explain(addr("198.51.100.1:1"), at(0)); a.Peer == nil || !a.Peer.Connected() {
		t.Errorf("Explain: want the connected peer, got %v", a.Peer)
	}
	if a := table.Explain(addr("198.51.100.1:2"), at(0)); a.Peer == nil || !a.Peer.Sender() {
		t.Errorf("Explain another port: want the sender, got %v", a.Peer)
	}
	// The one that is connected stays where it is when options are set.
	table.SetOptions(peers.Options{Expiry: time.Minute, Access: []peers.Rule{rule("198.51.100.1", peers.MaySend)}})
	wantPeers(t, "Peers", table.Peers(), "198.51.100.1:1")
	wantCounts(t, table, 1, 0)
}

func TestRatesOfASenderAreThoseOfItsAddress(t *testing.T) {
	const perSecond = 10
	table := sendTable()
	passed := 0
	for port := 1024; port < 1124; port++ {
		p, _ := table.Heard(withPort(netip.MustParseAddr("192.0.2.2"), port), at(0))
		if p.Path.Datagrams.Take(perSecond, 1, 0) {
			passed++
		}
	}
	if passed != perSecond {
		t.Errorf("want %d of 100 datagrams from 100 ports to pass, got %d", perSecond, passed)
	}
}

// A flood of forged addresses takes no more memory than the senders kept.
func TestForgedSendersTakeBoundedMemory(t *testing.T) {
	const (
		many = 40_000
		most = 3 << 20 // bytes
	)
	table := sendTable()
	before, _ := heap()
	for i := range many {
		if _, got := table.Heard(nth(i), at(time.Duration(i))); got != peers.Joined {
			t.Fatalf("Heard(%v): want %q, got %q", nth(i), peers.Joined, got)
		}
	}
	after, _ := heap()
	kept := len(table.Senders())
	t.Logf("%d senders are kept, in %d KiB", kept, (after-before)>>10)
	if kept != 4096 {
		t.Errorf("want 4096 senders to be kept, got %d", kept)
	}
	if after-before > most {
		t.Errorf("want at most %d bytes for %d senders, got %d", most, kept, after-before)
	}
	wantConsistent(t, table)
	runtime.KeepAlive(table)
}
