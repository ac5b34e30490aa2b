package peers_test

import (
	"testing"
	"time"

	"udprelay/peers"
)

func TestForgottenPeerIsGoneAndMayJoinAgain(t *testing.T) {
	table := openTable(3, 1)
	for _, from := range []string{"192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"} {
		wantHeard(t, table, from, at(0), peers.Joined)
	}
	all, p := table.Peers(), table.Lookup(addr("192.0.2.2:1"))
	if !table.Forget(p) {
		t.Error("Forget: want true, got false")
	}
	if got := table.Lookup(p.Addr()); got != nil {
		t.Errorf("Lookup after Forget: want nil, got %v", got.Addr())
	}
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1", "192.0.2.3:1")
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.1:1", "192.0.2.3:1")
	wantPeers(t, "the peers as they were", all, "192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1")
	wantCounts(t, table, 2, 0)
	if table.Forget(p) {
		t.Error("second Forget: want false, got true")
	}
	wantCounts(t, table, 2, 0)

	// Its places in the table and at its address are free again.
	again := wantHeard(t, table, "192.0.2.2:1", at(time.Second), peers.Joined)
	if again == p || again.Number() <= p.Number() {
		t.Errorf("want a new peer, got number %d after %d", again.Number(), p.Number())
	}
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1", "192.0.2.3:1", "192.0.2.2:1")
	// To forget the old peer does not forget the new one at its address.
	if table.Forget(p) {
		t.Error("Forget of the old peer: want false, got true")
	}
	wantCounts(t, table, 3, 0)
}

func TestStaticPeersAreNotForgotten(t *testing.T) {
	table := openTable(0, 0)
	added, _ := table.SetStatic(addrs("192.0.2.1:1"), at(0))
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Known)
	if table.Forget(added[0]) {
		t.Error("Forget of a static peer: want false, got true")
	}
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.1:1")
	wantCounts(t, table, 0, 1)
	table.SetStatic(nil, at(0)) // it goes on as a learned one
	if !table.Forget(added[0]) {
		t.Error("Forget of a peer that is static no more: want true, got false")
	}
	wantCounts(t, table, 0, 0)
}

func TestPeersOfAnotherTableAreNotForgotten(t *testing.T) {
	table, other := openTable(0, 0), openTable(0, 0)
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	if table.Forget(wantHeard(t, other, "192.0.2.1:1", at(0), peers.Joined)) || table.Forget(nil) {
		t.Error("Forget of what is not in the table: want false, got true")
	}
	wantCounts(t, table, 1, 0)
}

func TestForgettingAPeerThatMustProveItselfAsksForTheProofAgain(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Access: []peers.Rule{joinRule("any", peers.JoinSecret)}}, start)
	table.Forget(wantAdmitted(t, table, "192.0.2.1:1", at(0), peers.Joined))
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.NeedsSecret)
}
