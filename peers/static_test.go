package peers_test

import (
	"testing"
	"time"

	"udprelay/peers"
)

func TestStaticPeerIsNotHeardUntilItSpeaks(t *testing.T) {
	table := openTable(0, 0)
	added, removed := table.SetStatic(addrs("192.0.2.1:1"), at(time.Second))
	wantPeers(t, "added by SetStatic", added, "192.0.2.1:1")
	wantPeers(t, "removed by SetStatic", removed)
	p := added[0]
	if !p.Static() || p.May() != peers.MayBoth || !table.Joined(p).Equal(at(time.Second)) {
		t.Errorf("want static, may both, joined %v; got static %v, may %v, joined %v", at(time.Second), p.Static(), p.May(), table.Joined(p))
	}
	if when, ever := table.LastHeard(p); ever || !when.IsZero() {
		t.Errorf("LastHeard: want the zero time and false, got %v and %v", when, ever)
	}
	wantHeard(t, table, "192.0.2.1:1", at(time.Minute), peers.Known)
	wantLastHeard(t, table, p, at(time.Minute))
}

func TestStaticPeersNeedNoRule(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Access: []peers.Rule{
		rule("192.0.2.1", peers.MaySend), rule("192.0.2.2", peers.MayNothing),
	}}, start)
	static := []string{"192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"}
	table.SetStatic(addrs(static...), at(0))
	for _, from := range static {
		if p := wantHeard(t, table, from, at(0), peers.Known); p.May() != peers.MayBoth {
			t.Errorf("%s: want it to do both, got %v", from, p.May())
		}
	}
	wantPeers(t, "Receivers", table.Receivers(), static...)
}

func TestStaticPeersCountNeitherToMaxNorToMaxPerAddress(t *testing.T) {
	table := openTable(2, 1)
	table.SetStatic(addrs("192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3"), at(0))
	wantCounts(t, table, 0, 3)
	wantHeard(t, table, "192.0.2.1:4", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.1:5", at(0), peers.AddressFull)
	wantHeard(t, table, "192.0.2.2:1", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.3:1", at(0), peers.TableFull)
	added, _ := table.SetStatic(addrs("192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.1:6"), at(0))
	wantPeers(t, "added to a full table by SetStatic", added, "192.0.2.1:6")
	wantCounts(t, table, 2, 4)
}

func TestSetStaticSaysWhatChanged(t *testing.T) {
	table := openTable(0, 0)
	added, removed := table.SetStatic(addrs("192.0.2.2:1", "192.0.2.1:1", "192.0.2.2:1"), at(0))
	wantPeers(t, "added", added, "192.0.2.2:1", "192.0.2.1:1")
	wantPeers(t, "removed", removed)
	added, removed = table.SetStatic(addrs("192.0.2.1:1", "192.0.2.2:1"), at(0))
	wantPeers(t, "added by the same list", added)
	wantPeers(t, "removed by the same list", removed)
	added, removed = table.SetStatic(addrs("192.0.2.3:1"), at(0))
	wantPeers(t, "added by another list", added, "192.0.2.3:1")
	wantPeers(t, "removed by another list", removed, "192.0.2.2:1", "192.0.2.1:1")
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.3:1")
	wantCounts(t, table, 0, 1)
}

func TestStaticChangeExpiresNobody(t *testing.T) {
	table := openTable(0, 0)
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.2:1", at(time.Second), peers.Joined)
	for _, static := range [][]string{{"192.0.2.3:1"}, {"192.0.2.4:1"}, {}} {
		table.SetStatic(addrs(static...), at(time.Minute))
	}
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1", "192.0.2.2:1")
	wantPeers(t, "Expire", table.Expire(at(time.Minute)), "192.0.2.1:1")
}

func TestLearnedPeerThatBecomesStaticStaysWhoItIs(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Max: 1, MaxPerAddress: 1, Access: []peers.Rule{rule("any", peers.MayReceive)}}, start)
	p := wantHeard(t, table, "192.0.2.1:1", at(time.Second), peers.Joined)
	source := new(peers.Source)
	p.Path.Source.Store(source)
	number := p.Number()
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.1:1")

	added, removed := table.SetStatic(addrs("192.0.2.1:1"), at(2*time.Second))
	wantPeers(t, "added", added, "192.0.2.1:1")
	wantPeers(t, "removed", removed)
	if added[0] != p || table.Lookup(p.Addr()) != p || p.Number() != number || p.Path.Source.Load() != source {
		t.Errorf("want the same peer, %p number %d, got %p number %d", p, number, added[0], p.Number())
	}
	if !p.Static() || p.May() != peers.MayBoth || !table.Joined(p).Equal(at(time.Second)) {
		t.Errorf("want static, may both, joined when it did; got static %v, may %v, joined %v", p.Static(), p.May(), table.Joined(p))
	}
	wantLastHeard(t, table, p, at(time.Second))
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.1:1")
	wantPeers(t, "Expire", table.Expire(at(time.Hour)))
	wantCounts(t, table, 0, 1)
	wantHeard(t, table, "192.0.2.1:2", at(time.Hour), peers.Joined) // its place among the learned is free
}

func TestStaticPeerThatIsDropped(t *testing.T) {
	const heard = 10 * time.Second
	tests := []struct {
		name   string
		access string // who may receive
		silent bool
		when   time.Duration
		stays  bool
	}{
		{"goes on as learned if it was heard", "any", false, heard + time.Minute - 1, true},
		{"is gone when its time is over", "any", false, heard + time.Minute, false},
		{"is gone if it never spoke", "any", true, heard, false},
		{"is gone if no rule lets it in", "192.0.2.2", false, heard, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table := peers.New(peers.Options{Expiry: time.Minute, Access: []peers.Rule{rule(test.access, peers.MayReceive)}}, start)
			added, _ := table.SetStatic(addrs("192.0.2.1:1"), at(0))
			p := added[0]
			if !test.silent {
				wantHeard(t, table, "192.0.2.1:1", at(heard), peers.Known)
			}
			_, removed := table.SetStatic(nil, at(test.when))
			if !test.stays {
				wantPeers(t, "removed", removed, "192.0.2.1:1")
				wantPeers(t, "Receivers", table.Receivers())
				wantPeers(t, "Peers", table.Peers())
				wantCounts(t, table, 0, 0)
				return
			}
			wantPeers(t, "removed", removed)
			wantCounts(t, table, 1, 0)
			if got := table.Lookup(p.Addr()); got != p || p.Static() || p.May() != peers.MayReceive {
				t.Errorf("want the same peer, learned, with what the rule lets it do; got %p for %p, static %v, may %v", got, p, p.Static(), p.May())
			}
			wantLastHeard(t, table, p, at(heard))
			wantPeers(t, "Expire", table.Expire(at(heard+time.Minute)), "192.0.2.1:1")
		})
	}
}

func TestDroppedStaticPeersKeepToTheLimits(t *testing.T) {
	drop := func(max, maxPerAddress int, static ...string) *peers.Table {
		table := openTable(max, maxPerAddress)
		table.SetStatic(addrs(static...), at(0))
		for _, from := range static {
			wantHeard(t, table, from, at(0), peers.Known)
		}
		wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
		table.SetStatic(nil, at(0))
		return table
	}
	table := drop(2, 0, "192.0.2.2:1", "192.0.2.3:1")
	wantPeers(t, "Peers with Max 2", table.Peers(), "192.0.2.2:1", "192.0.2.1:1")
	wantCounts(t, table, 2, 0)
	table = drop(0, 1, "192.0.2.1:2", "192.0.2.3:1")
	wantPeers(t, "Peers with MaxPerAddress 1", table.Peers(), "192.0.2.3:1", "192.0.2.1:1")
	wantCounts(t, table, 2, 0)
}

// A learned peer that becomes static leaves its place to one that is static no
// more, in the same change.
func TestStaticChangeMayExchangePlaces(t *testing.T) {
	table := openTable(1, 1)
	table.SetStatic(addrs("192.0.2.1:1"), at(0))
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Known)
	wantHeard(t, table, "192.0.2.1:2", at(0), peers.Joined)
	added, removed := table.SetStatic(addrs("192.0.2.1:2"), at(0))
	wantPeers(t, "added", added, "192.0.2.1:2")
	wantPeers(t, "removed", removed)
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1", "192.0.2.1:2")
	wantCounts(t, table, 1, 1)
}
