package storm

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"udprelay/peers"
)

const ringed = 2 // neighbours of each relay in a ring of three, who are its first peers

// A ring is three relays, each linked with the two others, that have clients.
type ring struct {
	*sim
	mend func()
	next func() uint64
}

func newRing(roundTrip int64, watches [3]bool) *ring {
	r := &ring{sim: &sim{}, next: numbers()}
	for _, watch := range watches {
		r.newRelay(watch, 200).unique = true
	}
	link(r.relays[0], r.relays[1], roundTrip/2)
	link(r.relays[1], r.relays[2], roundTrip/2)
	r.mend = link(r.relays[2], r.relays[0], roundTrip/2)
	return r
}

// fresh lets a client of each relay send new payloads, so many a second.
func (r *ring) fresh(rate int, from, to int64) {
	for i, relay := range r.relays {
		client := relay.connect(func([]uint64) {})
		if rate > 0 {
			relay.sends(client, second/int64(rate), from+int64(i)*7*microsecond, to, r.next)
		}
	}
}

func (r *ring) lastLoop() (last int64, loops int) {
	last = -1
	for _, relay := range r.relays {
		last = max(last, relay.lastLoop)
		loops += relay.loops
	}
	return last, loops
}

func TestRingIsBroken(t *testing.T) {
	all := [3]bool{true, true, true}
	for _, test := range []struct {
		roundTrip int64
		rate      int
		watches   [3]bool
	}{
		{50 * microsecond, 0, all}, {50 * microsecond, 100, all}, {50 * microsecond, 5000, all},
		{millisecond, 0, all}, {millisecond, 100, all}, {millisecond, 5000, all},
		{100 * millisecond, 100, all}, {100 * millisecond, 5000, all},
		// One relay that watches does for two that do not.
		{50 * microsecond, 100, [3]bool{true, false, false}}, {millisecond, 100, [3]bool{true, false, false}},
		{millisecond, 5000, [3]bool{true, false, false}}, {100 * millisecond, 100, [3]bool{true, false, false}},
	} {
		t.Run(fmt.Sprintf("%v/%d a second/%v", time.Duration(test.roundTrip), test.rate, test.watches), func(t *testing.T) {
			t.Parallel()
			const end = 9 * second / 2
			r := newRing(test.roundTrip, test.watches)
			for _, relay := range r.relays {
				if relay.watch != nil {
					relay.watch.patience = mostPatience // the worst
				}
			}
			r.fresh(test.rate, 0, end)
			r.relays[0].arrive(r.relays[0].peers[150], r.next()) // the first of all
			var late uint64                                      // the first payload of those that come after 3 s
			r.after(3*second, func() { late = r.next() + 1 })
			r.run(end)
			last, loops := r.lastLoop()
			r.relays[0].log(t)
			t.Logf("%d datagrams looped, the last after %v", loops, time.Duration(last))
			if last > 2*second || loops == 0 {
				t.Errorf("want the loop to end within 2s, got the last of %d datagrams after %v", loops, time.Duration(last))
			}
			// Who came after that has passed everywhere, and at relays that
			// watch no more often than it has ways there.
			missing, most := 0, 0
			underWay := r.next() - uint64(test.rate)
			for n := late; n < underWay; n++ {
				for _, relay := range r.relays {
					if relay.passed[n] == 0 {
						missing++
					}
					most = max(most, relay.passed[n])
				}
			}
			if missing > 0 || most > 3 {
				t.Errorf("want each of the later payloads to pass everywhere 1 to 3 times, got %d that did not and %d times", missing, most)
			}
			t.Logf("later payloads passed at most %d times", most)
		})
	}
}

// Where datagrams go round one way only, each payload comes from one neighbour
// again and again, and only the first time from the one who sent it.
func TestRingOfOneDirectionIsBroken(t *testing.T) {
	for _, watches := range [][3]bool{{true, true, true}, {true, false, false}} {
		t.Run(fmt.Sprint(watches), func(t *testing.T) {
			r := &ring{sim: &sim{}, next: numbers()}
			for _, watch := range watches {
				r.newRelay(watch, 200).unique = true
			}
			for i, relay := range r.relays {
				linkOneWay(relay, r.relays[(i+1)%3], 25*microsecond)
			}
			client := r.relays[0].connect(func([]uint64) {})
			for range 20 {
				r.relays[0].arrive(client, r.next())
			}
			r.run(4 * second)
			last, loops := r.lastLoop()
			r.relays[0].log(t)
			t.Logf("%d datagrams looped, the last after %v", loops, time.Duration(last))
			if last > 2*second || loops == 0 {
				t.Errorf("want the loop to end within 2s, got the last of %d datagrams after %v", loops, time.Duration(last))
			}
		})
	}
}

// A slow loop of one datagram is no storm.
func TestSlowLoopOfLittleIsLeftAlone(t *testing.T) {
	r := newRing(100*millisecond, [3]bool{true, true, true})
	r.fresh(0, 0, 0)
	r.relays[0].arrive(r.relays[0].peers[150], r.next())
	r.run(10 * second)
	for _, relay := range r.relays {
		relay.wantUntouched(t)
	}
	t.Logf("relay 0 received %d in 10s", r.relays[0].received)
}

// Of a ring that lasts, little leaks: once a minute the cut is tried without.
func TestLittleLeaksWhileTheRingLasts(t *testing.T) {
	for _, rate := range []int{20, 300} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			t.Parallel()
			const end = 70 * second
			r := newRing(millisecond, [3]bool{true, true, true})
			r.fresh(rate, 0, end)
			r.run(3 * second)
			_, first := r.lastLoop()
			r.run(end)
			_, loops := r.lastLoop()
			received := 0
			for _, relay := range r.relays {
				received += relay.received
			}
			r.relays[0].log(t)
			longest := time.Duration(0)
			for _, relay := range r.relays {
				for i := range ringed {
					released := int64(-1)
					for _, e := range relay.events {
						switch {
						case e.Number != relay.peers[i].Number():
						case e.Kind == Released:
							released = e.at
						case e.Kind == Cut && released >= 0:
							longest = max(longest, time.Duration(e.at-released))
						}
					}
				}
			}
			t.Logf("looped: %d in the first storm, %d in the 67s after; received %d in all; longest time uncut %v", first, loops-first, received, longest)
			if longest > 500*time.Millisecond {
				t.Errorf("want a relapse to be cut within 0.5s, got %v", longest)
			}
			if most := 2 * 3 * 60_000; loops-first > most {
				t.Errorf("want at most %d datagrams to loop afterwards, got %d", most, loops-first)
			}
		})
	}
}

func TestCutIsReleasedWhenTheRingIsMended(t *testing.T) {
	for _, rate := range []int{0, 100, 1000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			t.Parallel()
			r := newRing(millisecond, [3]bool{true, true, true})
			r.fresh(rate, 0, 12*second)
			r.relays[0].arrive(r.relays[0].peers[150], r.next())
			r.run(4 * second)
			r.mend()
			r.run(12 * second)
			latest := int64(0)
			for _, relay := range r.relays {
				for i := range ringed {
					kinds := relay.kinds(relay.peers[i])
					if slices.Contains(kinds, Cut) && kinds[len(kinds)-1] != Released {
						t.Errorf("want %v released, got %v", relay.peers[i].Addr(), kinds)
					}
				}
				for _, e := range relay.events {
					if e.Kind == Released {
						latest = max(latest, e.at)
					}
				}
			}
			r.relays[0].log(t)
			if latest == 0 || latest > 7200*millisecond {
				t.Errorf("want the last release within 3.2s of 4s, got %v", time.Duration(latest))
			}
			t.Logf("last release at %v", time.Duration(latest))
		})
	}
}

// heartbeats lets a hundred clients of the relay each send the same payload 50
// times a second, and returns them.
func heartbeats(r *simRelay, to int64) []*peers.Peer {
	list := r.peers[50:150]
	for i, p := range list {
		r.sends(p, 20*millisecond, int64(i)*200*microsecond, to, always(1<<60))
	}
	return list
}

func TestHeartbeatsBesideARingAreNotTouched(t *testing.T) {
	const end = 5 * second
	r := newRing(millisecond, [3]bool{true, true, true})
	r.fresh(100, 0, end)
	list := heartbeats(r.relays[0], end)
	r.run(end)
	relay := r.relays[0]
	relay.log(t)
	for _, p := range list {
		if kinds := relay.kinds(p); kinds != nil || relay.dropped[p] > 0 {
			t.Fatalf("want %v untouched, got %v and %d dropped", p.Addr(), kinds, relay.dropped[p])
		}
	}
	for i := range ringed {
		if kinds := relay.kinds(relay.peers[i]); !slices.Contains(kinds, Cut) {
			t.Errorf("want %v cut, got %v", relay.peers[i].Addr(), kinds)
		}
	}
	before := relay.received
	r.run(end + second)
	t.Logf("received %d, and %d after the senders have stopped", before, relay.received-before)
}

// Heartbeats of clients on both sides come from the neighbour as one's own:
// after the ring is mended there is a trial, which clears it.
func TestNeighbourWithHeartbeatsIsClearedAfterTheRing(t *testing.T) {
	if raceEnabled {
		t.Log("this takes long with the race detector, and is tested without it")
		return
	}
	const end = 66 * second
	r := newRing(millisecond, [3]bool{true, true, true})
	r.fresh(20, 0, end)
	heartbeats(r.relays[0], end)
	for i, p := range r.relays[1].peers[50:80] {
		r.relays[1].sends(p, 20*millisecond, int64(i)*170*microsecond, end, always(1<<60))
	}
	r.run(3 * second)
	r.mend()
	r.run(end)
	relay := r.relays[0]
	relay.log(t)
	kinds := relay.kinds(relay.peers[0])
	if len(kinds) == 0 || kinds[len(kinds)-1] != Cleared {
		t.Errorf("want the neighbour cleared in the end, got %v", kinds)
	}
}

// Two relays that are no ring, with the same heartbeats on both sides, look
// like a loop to each other.
func TestRelaysWithTheSameHeartbeatsClearEachOther(t *testing.T) {
	s := &sim{}
	a, b := s.newRelay(true, 200), s.newRelay(true, 200)
	if a.watch.patience == b.watch.patience {
		t.Fatal("want relays that are not equally patient")
	}
	link(a, b, millisecond)
	heartbeats(a, 8*second)
	heartbeats(b, 8*second)
	s.run(8 * second)
	for _, r := range s.relays {
		r.log(t)
		wantCleared(t, r, r.peers[:1], 5000)
		for p, n := range r.dropped {
			if p != r.peers[0] {
				t.Errorf("want nothing of the clients dropped, got %d of %v", n, p.Addr())
			}
		}
	}
}

// Where relays are slow and much waits, the repeats go on for long after
// nothing is sent to who brings them.
func TestLoopThroughLongQueuesIsBroken(t *testing.T) {
	r := newRing(millisecond, [3]bool{true, true, true})
	for _, relay := range r.relays {
		relay.cost, relay.space = 50*microsecond, 6000 // 0.3 s
	}
	r.fresh(100, 0, 8*second)
	r.run(8 * second)
	last, loops := r.lastLoop()
	for _, relay := range r.relays {
		relay.log(t)
	}
	t.Logf("%d datagrams looped, the last after %v", loops, time.Duration(last))
	if last > 3*second {
		t.Errorf("want the loop to end within 3s, got %v", time.Duration(last))
	}
}
