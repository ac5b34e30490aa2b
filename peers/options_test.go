package peers_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"udprelay/peers"
)

func TestNewRulesDecideAboutThoseInside(t *testing.T) {
	table := openTable(0, 0)
	table.SetStatic(addrs("192.0.2.9:1"), at(0))
	for _, from := range []string{"192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "[2001:db8::1]:1"} {
		wantHeard(t, table, from, at(0), peers.Joined)
	}
	before := table.Receivers()
	removed := table.SetOptions(peers.Options{Expiry: time.Minute, Access: []peers.Rule{
		rule("192.0.2.1", peers.MayNothing), rule("192.0.2.2", peers.MaySend), rule("192.0.2.0/24", peers.MayReceive),
	}})
	wantPeers(t, "removed", removed, "192.0.2.1:1", "[2001:db8::1]:1")
	wantPeers(t, "Peers", table.Peers(), "192.0.2.9:1", "192.0.2.3:1")
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.9:1", "192.0.2.3:1")
	wantPeers(t, "the receivers as they were", before, "192.0.2.9:1", "192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1", "[2001:db8::1]:1")
	wantCounts(t, table, 1, 1)
	wantHeard(t, table, "192.0.2.1:1", at(1), peers.RefusedByRule)
	wantHeard(t, table, "192.0.2.2:1", at(1), peers.Joined)
	wantPeers(t, "Senders", table.Senders(), "192.0.2.2:0")

	// And back: the one that left the peers is a peer again with its next datagram.
	wantPeers(t, "removed", table.SetOptions(peers.Options{Expiry: time.Minute, Access: anyBoth}))
	wantPeers(t, "Senders", table.Senders())
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.9:1", "192.0.2.3:1")
	wantHeard(t, table, "192.0.2.1:1", at(2), peers.Joined)
	wantHeard(t, table, "192.0.2.2:1", at(2), peers.Joined)
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.9:1", "192.0.2.3:1", "192.0.2.1:1", "192.0.2.2:1")
}

func TestPeerLeavesWhoseProofIsNoLongerEnough(t *testing.T) {
	from := map[peers.Join]string{peers.JoinOpen: "192.0.2.1:1", peers.JoinCookie: "192.0.2.2:1", peers.JoinSecret: "192.0.2.3:1"}
	for asked, stay := range map[peers.Join][]string{
		peers.JoinOpen:   {from[peers.JoinOpen], from[peers.JoinCookie], from[peers.JoinSecret]},
		peers.JoinCookie: {from[peers.JoinCookie], from[peers.JoinSecret]},
		peers.JoinSecret: {from[peers.JoinSecret]},
	} {
		table := openTable(0, 0)
		for _, proof := range []peers.Join{peers.JoinOpen, peers.JoinCookie, peers.JoinSecret} {
			p, _ := table.Admit(addr(from[proof]), at(0), proof)
			if p.Proof() != proof {
				t.Errorf("want the proof %v, got %v", proof, p.Proof())
			}
		}
		table.SetOptions(peers.Options{Expiry: time.Minute, Access: []peers.Rule{joinRule("any", asked)}})
		wantPeers(t, "Peers, asked for "+asked.String(), table.Peers(), stay...)
		wantCounts(t, table, len(stay), 0)
	}
}

// Between the look and the proof the rule may have become another.
func TestProofThatIsNotEnoughIsRefused(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Access: []peers.Rule{joinRule("any", peers.JoinSecret)}}, start)
	wantVerdict(t, "Admit", proved(table, peers.JoinCookie), "192.0.2.1:1", at(0), peers.NeedsSecret)
	wantVerdict(t, "Admit", proved(table, peers.JoinOpen), "192.0.2.1:1", at(0), peers.NeedsSecret)
	wantVerdict(t, "Admit", proved(table, peers.JoinSecret), "192.0.2.1:1", at(0), peers.Joined)
}

func TestForgottenSecretCountsAsACookie(t *testing.T) {
	options := peers.Options{Expiry: time.Minute, Access: []peers.Rule{
		joinRule("192.0.2.0/24", peers.JoinCookie), joinRule("any", peers.JoinSecret),
	}}
	table := peers.New(options, start)
	inner := wantAdmitted(t, table, "192.0.2.1:1", at(0), peers.Joined)
	wantAdmitted(t, table, "198.51.100.1:1", at(0), peers.Joined)
	wantPeers(t, "removed", table.SetOptions(options))
	table.ForgetSecret()
	if inner.Proof() != peers.JoinCookie {
		t.Errorf("want a cookie, got %v", inner.Proof())
	}
	wantHeard(t, table, "198.51.100.1:1", at(1), peers.Known) // until options are set
	wantPeers(t, "removed", table.SetOptions(options), "198.51.100.1:1")
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1")
	wantAdmitted(t, table, "198.51.100.1:1", at(2), peers.Joined) // with the new one
	wantPeers(t, "removed", table.SetOptions(options))
}

// A reload that takes a peer into the static list and one that drops it again
// leave it where it was.
func TestProofOutlivesATimeAsStaticPeer(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Access: []peers.Rule{joinRule("any", peers.JoinSecret)}}, start)
	wantAdmitted(t, table, "192.0.2.1:1", at(0), peers.Joined)
	table.SetStatic(addrs("192.0.2.1:1", "192.0.2.2:1"), at(1))
	_, removed := table.SetStatic(nil, at(2))
	wantPeers(t, "removed", removed, "192.0.2.2:1")
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1")
}

func TestLowerLimitsRemoveNobody(t *testing.T) {
	table := openTable(0, 0)
	for _, from := range []string{"192.0.2.1:1", "192.0.2.1:2", "192.0.2.2:1"} {
		wantHeard(t, table, from, at(0), peers.Joined)
	}
	wantPeers(t, "removed", table.SetOptions(peers.Options{Expiry: time.Minute, MaxPerAddress: 1, Access: anyBoth}))
	wantHeard(t, table, "192.0.2.1:3", at(0), peers.AddressFull)
	wantHeard(t, table, "192.0.2.3:1", at(0), peers.Joined)
	wantPeers(t, "removed", table.SetOptions(peers.Options{Expiry: time.Minute, Max: 2, Access: anyBoth}))
	wantHeard(t, table, "192.0.2.4:1", at(0), peers.TableFull)
	for _, p := range table.Peers()[:3] {
		table.Forget(p)
	}
	wantHeard(t, table, "192.0.2.4:1", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.5:1", at(0), peers.TableFull)
}

func TestExpiryHoldsFromNowOn(t *testing.T) {
	table := openTable(0, 0)
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	table.SetOptions(peers.Options{Expiry: time.Hour, Access: anyBoth})
	wantPeers(t, "Expire", table.Expire(at(time.Hour-1)))
	wantPeers(t, "removed", table.SetOptions(peers.Options{Expiry: time.Second, Access: anyBoth}))
	wantPeers(t, "Expire", table.Expire(at(time.Second-1)))
	wantPeers(t, "Expire", table.Expire(at(time.Second)), "192.0.2.1:1")
}

func TestJoinRatesCanBeChanged(t *testing.T) {
	for name, limited := range map[string]peers.Options{
		"all":         {JoinsPerSecond: 1},
		"per address": {JoinsPerSecondPerAddress: 1},
	} {
		t.Run(name, func(t *testing.T) {
			limited.Expiry, limited.Access = time.Minute, anyBoth
			table := openTable(0, 0)
			port := uint16(0)
			join := func(now time.Time, want peers.Verdict) {
				t.Helper()
				port++
				if port == 7 { // is never a peer
					port++
				}
				wantHeard(t, table, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port).String(), now, want)
			}
			join(at(0), peers.Joined)
			join(at(0), peers.Joined)
			table.SetOptions(limited)
			join(at(0), peers.Joined)
			join(at(0), peers.JoinsTooFast)
			table.SetOptions(limited) // the same again forgets nothing
			join(at(0), peers.JoinsTooFast)
			table.SetOptions(peers.Options{Expiry: time.Minute, Access: anyBoth})
			join(at(0), peers.Joined)
			table.SetOptions(limited)
			join(at(2*time.Second), peers.Joined)
			join(at(2*time.Second), peers.JoinsTooFast)
		})
	}
}

func TestTurnoverCountsThoseWhoComeAndGo(t *testing.T) {
	table := openTable(0, 0)
	want := func(what string, wantJoined, wantLeft uint64) {
		t.Helper()
		if joined, left := table.Turnover(); joined != wantJoined || left != wantLeft {
			t.Fatalf("Turnover after %s: want %d and %d, got %d and %d", what, wantJoined, wantLeft, joined, left)
		}
	}
	want("nothing", 0, 0)
	table.SetStatic(addrs("192.0.2.9:1"), at(0))
	want("a static peer", 0, 0)
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.2:1", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.2:1", at(1), peers.Known)
	want("two joins", 2, 0)
	table.Forget(table.Lookup(addr("192.0.2.1:1")))
	want("a Forget", 2, 1)
	table.Expire(at(time.Hour))
	want("an Expire", 2, 2)
	table.Restore([]peers.Remembered{{Addr: addr("192.0.2.3:1"), Heard: at(time.Hour)}}, at(time.Hour))
	want("a Restore", 3, 2)
	table.SetOptions(peers.Options{Expiry: time.Minute})
	want("SetOptions", 3, 3)
}

// Options change while the datapath hears and others expire and look.
func TestOptionsChangeBesideTheDatapath(t *testing.T) {
	const senders, leastTurns = 400, 3000
	sets := []peers.Options{
		{Expiry: time.Second, Access: anyBoth},
		{Expiry: time.Minute, Max: 50, JoinsPerSecond: 1000, Access: []peers.Rule{rule("10.0.0.0/24", peers.MaySend), rule("any", peers.MayBoth)}},
		{Expiry: time.Second, MaxPerAddress: 1, JoinsPerSecondPerAddress: 5, Access: []peers.Rule{rule("10.0.0.0/25", peers.MayReceive), joinRule("any", peers.JoinCookie)}},
		{Expiry: time.Second, Access: []peers.Rule{rule("10.0.0.0/25", peers.MayNothing), joinRule("any", peers.JoinSecret)}},
	}
	var clock atomic.Int64
	now := func() time.Time { return at(time.Duration(clock.Load())) }
	table := peers.New(sets[0], start)
	stays := addr("192.0.2.200:1") // static all the time
	table.SetStatic([]netip.AddrPort{stays}, start)
	hear := func(turns *atomic.Int64) {
		for turns.Load() < leastTurns && !t.Failed() {
			for range 64 {
				from := nth(rand.IntN(senders))
				if p, verdict := table.Admit(from, now(), peers.Join(rand.IntN(3))); verdict.Refused() != (p == nil) || p != nil && p.Addr() != keptAt(p, from) {
					t.Errorf("Admit(%v): want its peer unless refused, got %v and %q", from, p, verdict)
				}
				clock.Add(int64(time.Millisecond))
			}
			if _, verdict := table.Heard(stays, now()); verdict != peers.Known {
				t.Errorf("Heard of a static peer: want %q, got %q", peers.Known, verdict)
			}
		}
	}
	change := func() {
		if rand.IntN(3) == 0 {
			table.ForgetSecret()
		}
		for _, p := range table.SetOptions(sets[rand.IntN(len(sets))]) {
			if p.Static() {
				t.Errorf("want static peers to stay, got %v removed", p.Addr())
			}
		}
	}
	look := func() {
		for _, p := range table.Expire(now()) {
			if p.Static() {
				t.Errorf("want static peers to stay, got %v expired", p.Addr())
			}
		}
		if list := table.Receivers(); !slices.IsSortedFunc(list, func(a, b *peers.Peer) int { return int(a.Number()) - int(b.Number()) }) {
			t.Error("want receivers in ascending order, got another")
		}
		if joined, left := table.Turnover(); left > joined {
			t.Errorf("Turnover: want no more gone than came, got %d and %d", joined, left)
		}
	}
	remember := func() {
		var list []peers.Remembered
		for _, p := range table.Peers() {
			heard, _ := table.LastHeard(p)
			list = append(list, peers.Remembered{Addr: p.Addr(), Joined: table.Joined(p), Heard: heard, Proof: p.Proof()})
		}
		table.Restore(list, now())
	}
	beside(t, hear, change, look, remember)
	wantConsistent(t, table)
	table.SetOptions(sets[1])
	wantConsistent(t, table)
	if receivers := table.Receivers(); slices.ContainsFunc(receivers, func(p *peers.Peer) bool { return !p.MayReceive() }) {
		t.Error("want receivers that may receive, got another")
	}
}
