package peers_test

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

func TestRestoredPeerIsTheOneItWas(t *testing.T) {
	table := openTable(0, 0)
	restored := table.Restore([]peers.Remembered{
		{Addr: addr("192.0.2.1:1"), Joined: at(-time.Hour), Heard: at(-time.Second), Proof: peers.JoinSecret},
		{Addr: addr("[fe80::1%2]:1"), Joined: at(-2 * time.Hour), Heard: at(-59 * time.Second)},
		{Addr: addr("192.0.2.2:1"), Joined: at(-time.Hour), Heard: at(-time.Minute)}, // over
		{Addr: addr("192.0.2.3:1")}, // never heard
	}, at(0))
	wantPeers(t, "Restore", restored, "192.0.2.1:1", "[fe80::1%2]:1")
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.1:1", "[fe80::1%2]:1")
	wantCounts(t, table, 2, 0)
	p := restored[0]
	if !table.Joined(p).Equal(at(-time.Hour)) || p.Proof() != peers.JoinSecret || p.May() != peers.MayBoth || p.Static() {
		t.Errorf("want joined %v, proof secret, may both, learned; got %v, %v, %v, static %v", at(-time.Hour), table.Joined(p), p.Proof(), p.May(), p.Static())
	}
	wantLastHeard(t, table, p, at(-time.Second))
	// The rest of its expiry, and a whole one from its next datagram.
	wantPeers(t, "Expire", table.Expire(at(time.Second-1)))
	wantPeers(t, "Expire", table.Expire(at(time.Second)), "[fe80::1%2]:1")
	if again := wantHeard(t, table, "192.0.2.1:1", at(58*time.Second), peers.Known); again != p {
		t.Errorf("want the same peer, got another")
	}
	wantPeers(t, "Expire", table.Expire(at(time.Minute)))
	wantPeers(t, "Expire", table.Expire(at(118*time.Second)), "192.0.2.1:1")
}

func TestRestoreLetsInNobodyWhoMayNotJoin(t *testing.T) {
	options := peers.Options{
		Expiry: time.Minute, Max: 3, MaxPerAddress: 2, JoinsPerSecond: 1, JoinsPerSecondPerAddress: 1, Own: func(addr netip.AddrPort) bool { return addr == ownAddr },
		Access: []peers.Rule{
			rule("198.51.100.1", peers.MayNothing), joinRule("198.51.100.2", peers.JoinCookie), joinRule("198.51.100.3", peers.JoinSecret),
			rule("198.51.100.4", peers.MaySend), rule("192.0.2.0/24", peers.MayBoth),
		},
	}
	table := peers.New(options, start)
	var list []peers.Remembered
	remember := func(proof peers.Join, from ...string) {
		for _, addr := range addrs(from...) {
			list = append(list, peers.Remembered{Addr: addr, Joined: at(0), Heard: at(0), Proof: proof})
		}
	}
	remember(peers.JoinSecret, "198.51.100.1:1", "203.0.113.1:1", ownAddr.String(), "192.0.2.1:0", "192.0.2.1:7", "239.0.0.1:1")
	remember(peers.JoinOpen, "198.51.100.2:1")
	remember(peers.JoinCookie, "198.51.100.2:2", "198.51.100.3:1")
	remember(peers.JoinOpen, "198.51.100.4:1", "192.0.2.1:1", "192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.2:1")
	wantPeers(t, "Restore", table.Restore(append(list, peers.Remembered{}), at(0)), "198.51.100.2:2", "192.0.2.1:1", "192.0.2.1:2")
	wantPeers(t, "Receivers", table.Receivers(), "198.51.100.2:2", "192.0.2.1:1", "192.0.2.1:2")
	wantCounts(t, table, 3, 0)
	wantHeard(t, table, "198.51.100.4:1", at(0), peers.Joined) // a sender, of which nothing is remembered
}

func TestRestoreLeavesThoseThereWhoAreThere(t *testing.T) {
	table := openTable(0, 0)
	table.SetStatic(addrs("192.0.2.1:1"), at(0))
	static, early, late := table.Lookup(addr("192.0.2.1:1")), wantHeard(t, table, "192.0.2.2:1", at(0), peers.Joined), wantHeard(t, table, "192.0.2.3:1", at(time.Second), peers.Joined)
	var list []peers.Remembered
	for _, p := range []*peers.Peer{static, early, late} {
		list = append(list, peers.Remembered{Addr: p.Addr(), Joined: at(-time.Hour), Heard: at(time.Second / 2), Proof: peers.JoinSecret})
	}
	wantPeers(t, "Restore", table.Restore(list, at(2*time.Second)))
	wantLastHeard(t, table, static, at(time.Second/2))
	wantLastHeard(t, table, early, at(time.Second/2))
	wantLastHeard(t, table, late, at(time.Second))
	if !static.Static() || early.Proof() != peers.JoinOpen || !table.Joined(early).Equal(at(0)) {
		t.Errorf("want a static peer, proof open, joined %v; got static %v, %v, %v", at(0), static.Static(), early.Proof(), table.Joined(early))
	}
	wantCounts(t, table, 2, 1)
}

// The clock of a host without a battery begins in 1970, and files hold anything.
func TestRestoreBearsTimesThatCannotBe(t *testing.T) {
	table := peers.New(peers.Options{Expiry: math.MaxInt64, Access: anyBoth}, start)
	for i, heard := range []time.Time{{}, time.Unix(0, 0), at(math.MinInt64), at(math.MaxInt64), time.Unix(1<<62, 0), time.Unix(-1<<62, 0)} {
		for j, joined := range []time.Time{{}, at(0), at(math.MaxInt64), time.Unix(-1<<62, 0)} {
			addr := nth(i*10 + j)
			for _, p := range table.Restore([]peers.Remembered{{Addr: addr, Joined: joined, Heard: heard, Proof: 255}}, at(time.Second)) {
				last, ever := table.LastHeard(p)
				if !ever || last.After(at(time.Second)) || table.Joined(p).After(last) || p.Proof() != peers.JoinSecret {
					t.Errorf("heard %v, joined %v: want joined before heard before now, got %v and %v", heard, joined, table.Joined(p), last)
				}
			}
		}
	}
	if learned, _ := table.Counts(); learned < 8 {
		t.Errorf("want those of the future, at least, taken for heard now; got %d peers", learned)
	}
	wantConsistent(t, table)
}
