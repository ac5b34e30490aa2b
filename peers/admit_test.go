package peers_test

import (
	"testing"
	"time"

	"udprelay/peers"
)

func TestSenderIsAskedForTheProofOfItsRule(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Access: []peers.Rule{
		joinRule("192.0.2.1", peers.JoinOpen), joinRule("192.0.2.0/24", peers.JoinCookie), joinRule("any", peers.JoinSecret),
	}}, start)
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	for range 3 { // asking changes nothing, so that it can go on
		for from, want := range map[string]peers.Verdict{
			"192.0.2.2:1": peers.NeedsCookie, "192.0.3.1:1": peers.NeedsSecret, "[fe80::1%eth0]:1": peers.NeedsSecret,
		} {
			wantHeard(t, table, from, at(time.Second), want)
			if p := table.Lookup(addr(from)); p != nil {
				t.Errorf("Lookup(%s): want nil, got a peer", from)
			}
		}
	}
	wantPeers(t, "Peers", table.Peers(), "192.0.2.1:1")
	wantPeers(t, "Receivers", table.Receivers(), "192.0.2.1:1")
	wantCounts(t, table, 1, 0)
}

func TestProofAdmitsAPeerThatIsLikeAnyOther(t *testing.T) {
	for _, join := range []peers.Join{peers.JoinOpen, peers.JoinCookie, peers.JoinSecret} {
		t.Run(join.String(), func(t *testing.T) {
			r := joinRule("any", join)
			r.May = peers.MayReceive
			table := peers.New(peers.Options{Expiry: time.Minute, Access: []peers.Rule{r}}, start)
			p := wantAdmitted(t, table, "192.0.2.1:1", at(time.Second), peers.Joined)
			if p.May() != peers.MayReceive || p.Static() || !table.Joined(p).Equal(at(time.Second)) {
				t.Errorf("want learned, may receive, joined %v; got static %v, may %v, joined %v", at(time.Second), p.Static(), p.May(), table.Joined(p))
			}
			if again := wantHeard(t, table, "192.0.2.1:1", at(2*time.Second), peers.Known); again != p {
				t.Errorf("want the same peer, %p, got %p", p, again)
			}
			if again := wantAdmitted(t, table, "192.0.2.1:1", at(3*time.Second), peers.Known); again != p {
				t.Errorf("want the same peer, %p, got %p", p, again)
			}
			wantLastHeard(t, table, p, at(3*time.Second))
			wantCounts(t, table, 1, 0)
			wantPeers(t, "Expire", table.Expire(at(time.Minute+3*time.Second)), "192.0.2.1:1")
		})
	}
}

// The proof was for one stay.
func TestPeerThatExpiredIsAskedForTheProofAgain(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Access: []peers.Rule{joinRule("any", peers.JoinCookie)}}, start)
	wantAdmitted(t, table, "192.0.2.1:1", at(0), peers.Joined)
	table.Expire(at(time.Minute))
	wantHeard(t, table, "192.0.2.1:1", at(time.Minute), peers.NeedsCookie)
	wantAdmitted(t, table, "192.0.2.1:1", at(time.Minute), peers.Joined)
}

func TestProofOpensNoOtherDoor(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Max: 2, MaxPerAddress: 1, Access: []peers.Rule{
		rule("192.0.2.9", peers.MayNothing), joinRule("192.0.2.0/24", peers.JoinSecret),
	}}, start)
	for _, refused := range []struct {
		from string
		want peers.Verdict
	}{
		{"192.0.2.9:1", peers.RefusedByRule}, {"198.51.100.1:1", peers.RefusedByRule},
		{"192.0.2.1:0", peers.NeverAPeer}, {"192.0.2.1:7", peers.NeverAPeer}, {"239.0.0.1:1", peers.NeverAPeer},
	} {
		wantAdmitted(t, table, refused.from, at(0), refused.want)
		wantHeard(t, table, refused.from, at(0), refused.want)
	}
	wantCounts(t, table, 0, 0)
	wantAdmitted(t, table, "192.0.2.1:1", at(0), peers.Joined)
	wantAdmitted(t, table, "192.0.2.1:2", at(0), peers.AddressFull)
	wantAdmitted(t, table, "192.0.2.2:1", at(0), peers.Joined)
	wantAdmitted(t, table, "192.0.2.3:1", at(0), peers.TableFull)
	wantCounts(t, table, 2, 0)
}

// Nobody works for a proof that would be of no use.
func TestLimitsAreJudgedBeforeTheProofIsAsked(t *testing.T) {
	for join, asks := range map[peers.Join]peers.Verdict{peers.JoinCookie: peers.NeedsCookie, peers.JoinSecret: peers.NeedsSecret} {
		table := peers.New(peers.Options{Expiry: time.Minute, Max: 2, MaxPerAddress: 1, Access: []peers.Rule{joinRule("any", join)}}, start)
		wantAdmitted(t, table, "192.0.2.1:1", at(0), peers.Joined)
		wantHeard(t, table, "192.0.2.1:2", at(0), peers.AddressFull)
		wantHeard(t, table, "192.0.2.2:1", at(0), asks)
		wantAdmitted(t, table, "192.0.2.2:1", at(0), peers.Joined)
		wantHeard(t, table, "192.0.2.3:1", at(0), peers.TableFull)
		table.Expire(at(time.Minute))
		wantHeard(t, table, "192.0.2.3:1", at(time.Minute), asks)
	}
}

// It never gave a proof for as long as it was static.
func TestDroppedStaticPeerDoesNotStayWhereAProofIsWanted(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Access: []peers.Rule{
		joinRule("192.0.2.1", peers.JoinCookie), joinRule("192.0.2.2", peers.JoinSecret), joinRule("any", peers.JoinOpen),
	}}, start)
	static := []string{"192.0.2.1:1", "192.0.2.2:1", "192.0.2.3:1"}
	table.SetStatic(addrs(static...), at(0))
	for _, from := range static { // static peers are asked for nothing
		wantHeard(t, table, from, at(time.Second), peers.Known)
	}
	_, removed := table.SetStatic(nil, at(2*time.Second))
	wantPeers(t, "removed", removed, "192.0.2.1:1", "192.0.2.2:1")
	wantPeers(t, "Peers", table.Peers(), "192.0.2.3:1")
	wantHeard(t, table, "192.0.2.1:1", at(2*time.Second), peers.NeedsCookie)
	wantHeard(t, table, "192.0.2.2:1", at(2*time.Second), peers.NeedsSecret)
	wantCounts(t, table, 1, 0)
}
