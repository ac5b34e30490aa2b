package peers_test

import (
	"math"
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

func TestPeerExpiresAtTheEdgeAndNotBefore(t *testing.T) {
	table := openTable(0, 0)
	p := wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	wantPeers(t, "Expire a moment before", table.Expire(at(time.Minute-1)))
	wantHeard(t, table, "192.0.2.1:1", at(time.Minute-1), peers.Known)
	wantPeers(t, "Expire a minute after it joined", table.Expire(at(time.Minute)))
	wantPeers(t, "Expire a moment before, again", table.Expire(at(2*time.Minute-2)))
	wantPeers(t, "Expire at the edge", table.Expire(at(2*time.Minute-1)), "192.0.2.1:1")
	if got := table.Lookup(p.Addr()); got != nil {
		t.Errorf("Lookup after Expire: want nil, got %v", got.Addr())
	}
	wantPeers(t, "Peers", table.Peers())
	wantPeers(t, "Receivers", table.Receivers())
	wantCounts(t, table, 0, 0)
	if again := wantHeard(t, table, "192.0.2.1:1", at(2*time.Minute), peers.Joined); again == p || again.Number() <= p.Number() {
		t.Errorf("want who comes back to be a new peer, got number %d after %d", again.Number(), p.Number())
	}
}

func TestPeerTellsOfItselfAfterItHasLeft(t *testing.T) {
	table := openTable(0, 0)
	wantHeard(t, table, "192.0.2.1:1", at(time.Second), peers.Joined)
	p := table.Expire(at(2 * time.Minute))[0]
	if want, got := addr("192.0.2.1:1"), p.Addr(); got != want {
		t.Errorf("Addr: want %v, got %v", want, got)
	}
	if p.May() != peers.MayBoth || p.Static() {
		t.Errorf("want learned, may both; got static %v, may %v", p.Static(), p.May())
	}
	wantLastHeard(t, table, p, at(time.Second))
}

func TestOnlyItsOwnDatagramsKeepAPeer(t *testing.T) {
	table := openTable(0, 0)
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.1:2", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.2:1", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.1:2", at(59*time.Second), peers.Known)
	wantPeers(t, "Expire", table.Expire(at(time.Minute)), "192.0.2.1:1", "192.0.2.2:1")
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:2")
}

// A look at the clock that comes late must not forget who has just spoken.
func TestExpireWithAnEarlierTimeForgetsNobody(t *testing.T) {
	table := openTable(0, 0)
	wantHeard(t, table, "192.0.2.1:1", at(time.Minute), peers.Joined)
	wantPeers(t, "Expire", table.Expire(at(0)))
}

func TestStaticPeersNeverExpire(t *testing.T) {
	table := openTable(0, 0)
	table.SetStatic(addrs("192.0.2.1:1", "192.0.2.2:1"), at(0))
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Known)
	wantPeers(t, "Expire", table.Expire(at(100*365*24*time.Hour)))
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1", "192.0.2.2:1")
}

func TestExpireReturnsTheForgottenInOrderAndKeepsTheRestInOrder(t *testing.T) {
	table := openTable(0, 0)
	for _, from := range []string{"192.0.2.5:1", "192.0.2.3:1", "192.0.2.4:1", "192.0.2.1:1", "192.0.2.2:1"} {
		wantHeard(t, table, from, at(0), peers.Joined)
	}
	wantHeard(t, table, "192.0.2.2:1", at(time.Second), peers.Known)
	wantHeard(t, table, "192.0.2.3:1", at(time.Second), peers.Known)
	wantPeers(t, "Expire", table.Expire(at(time.Minute)), "192.0.2.5:1", "192.0.2.4:1", "192.0.2.1:1")
	wantPeers(t, "Peers", table.Peers(), "192.0.2.3:1", "192.0.2.2:1")
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.3:1", "192.0.2.2:1")
}

func TestListsThatWereGivenAwayStayAsTheyWere(t *testing.T) {
	table := openTable(0, 0)
	for _, from := range []string{"192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"} {
		wantHeard(t, table, from, at(0), peers.Joined)
	}
	wantHeard(t, table, "192.0.2.3:1", at(time.Second), peers.Known)
	all, receivers := table.Peers(), table.Receivers()
	table.Expire(at(time.Minute))
	for i := range 100 { // beyond any room that is left in the old lists
		table.Heard(nth(i), at(time.Minute))
	}
	table.SetStatic(addrs("192.0.2.3:1", "192.0.2.4:1"), at(time.Minute))
	wantPeers(t, "the peers as they were", all, "192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1")
	wantPeers(t, "the receivers as they were", receivers, "192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1")
}

// Who embeds the package may want no expiry at all.
func TestLongestExpiryForgetsNobodyButTheSilent(t *testing.T) {
	table := peers.New(peers.Options{Expiry: math.MaxInt64, Access: anyBoth}, start)
	table.SetStatic(addrs("192.0.2.1:1", "192.0.2.2:1"), at(0))
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Known)
	wantHeard(t, table, "192.0.2.3:1", at(0), peers.Joined)
	wantPeers(t, "Expire", table.Expire(at(time.Hour)))
	_, removed := table.SetStatic(nil, at(time.Hour))
	wantPeers(t, "removed by SetStatic", removed, "192.0.2.2:1")
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1", "192.0.2.3:1")
}

func TestAPeerWhoseAddressBecomesTheRelaysOwnIsForgotten(t *testing.T) {
	var own netip.AddrPort
	table := peers.New(peers.Options{
		Expiry: time.Minute,
		Access: anyBoth,
		Own:    func(a netip.AddrPort) bool { return a == own },
	}, start)
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.2:1", at(0), peers.Joined)
	if gone := table.Expire(at(time.Second)); gone != nil {
		t.Fatalf("want nobody to be forgotten, got %v", gone[0].Addr())
	}
	own = addr("192.0.2.1:1")
	gone := table.Expire(at(time.Second))
	if len(gone) != 1 || gone[0].Addr() != own {
		t.Fatalf("want just %v to be forgotten, got %d peers", own, len(gone))
	}
	wantHeard(t, table, "192.0.2.1:1", at(time.Second), peers.NeverAPeer)
	wantHeard(t, table, "192.0.2.2:1", at(time.Second), peers.Known)
}
