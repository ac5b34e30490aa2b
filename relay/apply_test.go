package relay

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"time"

	"udprelay/peers"
)

func TestNewRulesHoldWhileTheRelayRuns(t *testing.T) {
	needLoopback(t)
	eachWay(t, func(t *testing.T, w way) {
		options := defaults()
		r := startRelay(t, w, on4, options)
		var clients []*client
		for i := range 3 {
			c := newClientAt(t, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)}), 0), r.Addr())
			c.join(r)
			clients = append(clients, c)
		}
		options.Peers.Access = []peers.Rule{rule("127.0.0.2", peers.MayNothing), rule("127.0.0.3", peers.MaySend), rule("any", peers.MayBoth)}
		if got := r.Apply(options); got != 1 {
			t.Errorf("want 1 peer forgotten; got %d", got)
		}
		clients[0].send("refused")
		clients[1].send("from who may only send")
		clients[2].wants("from who may only send")
		clients[2].send("to nobody")
		awaitStats(t, r, "one datagram refused, one delivered", func(s Stats) bool {
			return s.Dropped[DropRule] == 1 && s.Delivered == 1 && s.Received == 6
		})
		if got := r.Apply(defaults()); got != 0 {
			t.Errorf("want nobody forgotten; got %d", got)
		}
		clients[0].join(r)
		clients[1].join(r) // it was a sender meanwhile, of which the port is not kept
		clients[2].send("to all")
		clients[0].wants("to all")
		clients[1].wants("to all")
	})
}

func TestNewLimitsHoldWhileTheRelayRuns(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := defaults()
		r := startRelay(t, w, on4, options)
		clients := newPeers(t, r, near(r), 2)
		clients[0].send("without limits")
		clients[1].wants("without limits")
		for reason, limits := range map[Drop]Limits{
			DropPeerRate: {PeerDatagrams: 1}, DropEgressLimit: {EgressBytes: 1},
		} {
			options.Limits = limits
			r.Apply(options)
			// Each takes at least a second of what may pass.
			for count := 0; count < 100 && r.Stats().Dropped[reason] == 0; count++ {
				sent := r.Stats().Received + 1
				clients[0].send(fmt.Sprint("limited ", count))
				awaitStats(t, r, "it received", func(s Stats) bool { return s.Received >= sent })
			}
			if r.Stats().Dropped[reason] == 0 {
				t.Errorf("want drops as %v; got %s", reason, show(r.Stats()))
			}
		}
		r.Apply(defaults())
		clients[1].send("without limits again")
		for clients[0].receive() != "without limits again" {
		}
	})
}

func TestNewSecretIsTheOneThatCounts(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := guarded(peers.JoinSecret)
		options.Secret = []byte("old")
		r := startGuarded(t, w, on4, options)
		clients := []*client{newClient(t, near(r)), newClient(t, near(r)), newClient(t, near(r))}
		clients[0].prove(r, "old")
		cookie := clients[1].askCookie()
		if got := r.Apply(options); got != 0 {
			t.Errorf("want nobody forgotten with the same secret; got %d", got)
		}
		options.Secret = []byte("new")
		if got := r.Apply(options); got != 1 {
			t.Errorf("want 1 peer forgotten, who knows the old secret; got %d", got)
		}
		options.Secret[0] = '?' // is the caller's
		if got := r.Remember(); len(got) != 0 {
			t.Errorf("want no peer; got %v", got)
		}
		bad := r.Stats().Dropped[DropBadProof]
		clients[1].send(proofOf(cookie, "old"))
		awaitStats(t, r, "a bad proof", func(s Stats) bool { return s.Dropped[DropBadProof] == bad+1 })
		clients[1].getCookie()
		clients[1].send(proofOf(cookie, "new")) // the cookie is as good as before
		await(t, func() bool { return r.Peers().Lookup(clients[1].addr) != nil }, "want a peer by the new secret; it is none")
		clients[0].prove(r, "new")
		if p := r.Peers().Lookup(clients[0].addr); p.Proof() != peers.JoinSecret {
			t.Errorf("want a peer that has proved %v; got %v", peers.JoinSecret, p.Proof())
		}
		// Where a cookie is enough, the old secret was one.
		options.Secret, options.Peers.Access = []byte("newest"), []peers.Rule{joining("any", peers.JoinCookie)}
		if got := r.Apply(options); got != 0 {
			t.Errorf("want nobody forgotten; got %d", got)
		}
	})
}

// keepHouse looks as often as the expiry asks, not as the previous one did.
func TestNewExpiryHoldsWhileTheRelayRuns(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := defaults()
		r := startRelay(t, w, on4, options)
		newPeers(t, r, near(r), 3)
		options.Peers.Expiry = 30 * time.Millisecond
		began := time.Now()
		if got := r.Apply(options); got != 0 {
			t.Errorf("want nobody forgotten at once; got %d", got)
		}
		await(t, func() bool { return len(r.Peers().Peers()) == 0 }, "want the peers to expire; they do not")
		t.Logf("expired after %v", time.Since(began))
	})
}

func TestExpiryIsLookedAtOftenEnough(t *testing.T) {
	for expiry, want := range map[time.Duration]time.Duration{
		0: 10 * time.Millisecond, time.Millisecond: 10 * time.Millisecond, time.Second: 100 * time.Millisecond, time.Minute: time.Second, time.Hour: time.Second,
	} {
		if got := expireEvery(expiry); got != want {
			t.Errorf("want a look every %v for an expiry of %v; got %v", want, expiry, got)
		}
	}
}

func TestOwnAddressStaysForbiddenWhateverIsApplied(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, on4, defaults())
		options := defaults()
		options.Peers.Own = func(netip.AddrPort) bool { return false }
		r.Apply(options)
		if p, verdict := r.Peers().Heard(r.Addr(), time.Now()); p != nil || verdict != peers.NeverAPeer {
			t.Errorf("want %q; got %q", peers.NeverAPeer, verdict)
		}
	})
}

// Reloads, turns and looks beside traffic cost nobody a datagram.
func TestOptionsChangeUnderLoad(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		clients := newPeers(t, r, near(r), 3)
		link := r.Attach(newRecorder("bringing"))
		done := make(chan struct{})
		var all sync.WaitGroup
		others := func(what func(n int)) {
			all.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-done:
						return
					default:
						what(n)
					}
				}
			})
		}
		others(func(n int) {
			options := defaults()
			options.Limits = Limits{PeerDatagrams: n % 2 * 1e9, EgressBytes: n % 3 * 1e9}
			options.Secret = []byte{byte(n)}
			options.SendBuffer += n % 2 << 12
			options.Peers.Expiry += time.Duration(n)
			if got := r.Apply(options); got != 0 {
				t.Errorf("want nobody forgotten; got %d", got)
			}
		})
		others(func(int) {
			if err := r.Turn(t.Context()); err != nil {
				t.Errorf("want a turn; got %v", err)
			}
			r.Remember()
		})
		for n := range 300 {
			text := fmt.Sprint(n)
			clients[n%3].send(text)
			clients[(n+1)%3].wants(text)
			clients[(n+2)%3].wants(text)
			bring(t, link, text+" brought")
			for _, c := range clients {
				c.wants(text + " brought")
			}
		}
		close(done)
		all.Wait()
		checkNoDrops(t, r)
	})
}

// A reload may come as the relay stops.
func TestOptionsThatComeTooLateDoNoHarm(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		var log bytes.Buffer
		options := defaults()
		options.Logger = slog.New(slog.NewTextHandler(&log, nil))
		r := makeRelay(t, w, on4, options)
		stop := run(t, r)
		newPeers(t, r, near(r), 2)
		stop()
		options.ReceiveBuffer /= 2
		options.SendBuffer /= 2
		options.Peers.Access = nil
		if got := r.Apply(options); got != 2 {
			t.Errorf("want 2 peers forgotten; got %d", got)
		}
		if log.Len() != 0 {
			t.Errorf("want nothing logged; got %s", &log)
		}
	})
}
