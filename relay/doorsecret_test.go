package relay

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"udprelay/peers"
)

// Whoever proves that he knows the old secret while it changes is no peer in
// the end: he joins before and is forgotten, or comes too late.
func TestOldSecretLetsNobodyInBesideTheChange(t *testing.T) {
	rounds := 100
	if raceEnabled {
		rounds = 30
	}
	eachWay(t, func(t *testing.T, w way) {
		options := guarded(peers.JoinSecret)
		options.Secret = []byte("secret 0")
		r := startGuarded(t, w, on4, options)
		forgotten := 0
		for round := range rounds {
			c := newClient(t, near(r))
			proof := proofOf(c.askCookie(), fmt.Sprint("secret ", round))
			before := r.Stats().Received
			options.Secret = fmt.Append(nil, "secret ", round+1)
			var all sync.WaitGroup
			all.Go(func() { forgotten += r.Apply(options) })
			c.send(proof)
			all.Wait()
			awaitStats(t, r, "the proof received", func(s Stats) bool { return s.Received > before })
			if r.Peers().Lookup(c.addr) != nil {
				t.Fatalf("want no peer by the old secret; got one in round %d", round)
			}
		}
		t.Logf("%d of %d joined in time to be forgotten", forgotten, rounds)
	})
}

// The rule may come to ask for more between the look at it and the proof.
func TestProofForTheRuleOfBeforeIsAnsweredLikeNone(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := guarded(peers.JoinSecret)
		options.Secret = []byte("secret")
		r := makeGuarded(t, w, on4, options)
		c := newClient(t, near(r))
		now := time.Now()
		var counts tally
		ask := func(payload string, needs peers.Verdict) (*peers.Peer, peers.Verdict) {
			return r.prove(&Datagram{Payload: []byte(payload), From: c.addr}, needs, nil, now, &counts)
		}
		ask("udprelay join\n", peers.NeedsSecret)
		cookie := c.getCookie()
		p, verdict := ask(proofOf(cookie, ""), peers.NeedsCookie)
		if p != nil || verdict != peers.NeedsSecret || counts.Dropped[DropUnproven] != 2 || sumDrops(counts.Stats) != 2 {
			t.Errorf("want no peer, %q, 2 unproven; got %v, %q, %s", peers.NeedsSecret, p, verdict, show(counts.Stats))
		}
		if again := c.getCookie(); again != cookie {
			t.Errorf("want the same cookie as answer; got %q", again)
		}
		p, verdict = ask(proofOf(cookie, "secret"), verdict)
		if p == nil || verdict != peers.Joined || p.Proof() != peers.JoinSecret {
			t.Errorf("want a peer with the secret; got %v, %q", p, verdict)
		}
	})
}
