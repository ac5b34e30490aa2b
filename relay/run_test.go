package relay

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"
)

func TestRunEndsWhenCancelled(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range []string{on4, on6, onAll} {
			t.Run(place, func(t *testing.T) {
				r := makeRelay(t, w, place, defaults())
				run(t, r)() // perhaps before it waits
				r = makeRelay(t, w, place, defaults())
				stop := run(t, r)
				newPeers(t, r, at(r, map[string]string{on4: "127.0.0.1", on6: "::1", onAll: "::1"}[place]), 2)
				stop() // while it waits
			})
		}
	})
}

func TestRunWithACancelledContextEndsAtOnce(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, on4, defaults())
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := r.Run(ctx); err != nil {
			t.Errorf("want no error; got %v", err)
		}
		rebind(t, r)
	})
}

const more = "more and more and more"

// load keeps r busy with it until the returned function is called.
func load(t *testing.T, r *Relay) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for _, c := range newPeers(t, r, near(r), 3) {
		all.Go(func() {
			for ctx.Err() == nil {
				c.conn.Write([]byte(more)) // refused once the relay is gone
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

func TestRunEndsWhenCancelledUnderConstantLoad(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, on4, defaults())
		stop := run(t, r)
		unload := load(t, r)
		defer unload()
		link := newRecorder("busy")
		r.Attach(link)
		link.take(t, 1000)
		stop()
	})
}

// rebind opens a second relay where r was.
func rebind(t *testing.T, r *Relay) *Relay {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(r.Addr()))
	if err != nil {
		t.Fatalf("want the port of a stopped relay to be free; got %v", err)
	}
	second, err := ways[0].make(conn, defaults())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { second.socket.close() })
	return second
}

func TestPortIsFreeWhenRunHasEnded(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range []string{on4, onAll} {
			r := makeRelay(t, w, place, defaults())
			stop := run(t, r)
			clients := newPeers(t, r, near(r), 2)
			stop()
			second := rebind(t, r)
			run(t, second)
			for _, c := range clients {
				c.join(second)
			}
			clients[0].send("to the second relay")
			clients[1].wants("to the second relay")
			if got := r.Stats(); got.Received != 2 {
				t.Errorf("want nothing received by a stopped relay; got %s", show(got))
			}
		}
	})
}

// When Run has ended its counts are complete.
func TestStatsAreCompleteWhenRunHasEnded(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, on4, defaults())
		link := newRecorder("counting")
		r.Attach(link)
		stop := run(t, r)
		unload := load(t, r)
		link.take(t, 100)
		stop()
		unload()
		s := r.Stats()
		// Three peers: each datagram goes to two. On a busy machine it is an overload.
		if s.Received != s.KeepAlives+s.Dropped[DropOverload]+s.Relayed || s.Delivered != 2*s.Relayed || s.DeliveredBytes != s.Delivered*uint64(len(more)) {
			t.Errorf("want twice as much delivered as relayed, and all received; got %s", show(s))
		}
	})
}

// A port that answers "unreachable" is the sign of a client that has gone.
func TestClientThatHasGoneCostsNothing(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range []string{on4, on6, onAll} {
			t.Run(place, func(t *testing.T) {
				r := startRelay(t, w, place, defaults())
				to := near(r)
				clients := newPeers(t, r, to, 5)
				for _, i := range []int{0, 2, 4} {
					clients[i].conn.Close()
				}
				for n := range 100 {
					text := fmt.Sprint(n)
					clients[1].send(text)
					clients[3].wants(text)
					clients[3].send(text + " back")
					clients[1].wants(text + " back")
				}
				// On a slow machine those that have gone are forgotten meanwhile.
				awaitStats(t, r, "200 datagrams delivered to all that are peers, as far as the kernel knows", func(s Stats) bool { return s.Relayed == 200 && s.Delivered == s.Due })
				checkNoDrops(t, r)
			})
		}
	})
}

func TestWaitingAndReceivingAlternate(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		clients := newPeers(t, r, near(r), 2)
		rounds := 5000 // each lets the relay wait again, most likely
		if raceEnabled {
			rounds = 500
		}
		began := time.Now()
		for n := range rounds {
			text := fmt.Sprint(n)
			clients[n%2].send(text)
			clients[1-n%2].wants(text)
		}
		t.Logf("%v a datagram, there and back", time.Since(began)/time.Duration(rounds))
	})
}
