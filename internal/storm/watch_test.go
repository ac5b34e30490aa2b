package storm

import (
	"fmt"
	"slices"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"udprelay/peers"
)

// Two sites, each a relay, are linked by static peers. Their sensors send the
// same payload.
func TestLinkedSitesWithTheSamePayloadsLoseNextToNothing(t *testing.T) {
	for _, control := range []int64{0, 100} {
		t.Run(fmt.Sprintf("control stream of %d per second", control), func(t *testing.T) {
			t.Parallel()
			for seed := range seeds(6) {
				s := newSim(seed)
				a, b := s.newRelay(true, 200), s.newRelay(true, 200)
				a.watch, b.watch = newWatch(seed+10), newWatch(seed+50)
				link(a, b, 500*microsecond)
				const end = 30 * second
				for _, site := range []struct {
					r       *simRelay
					sensors int
				}{{a, 30}, {b, 3}} {
					for i, p := range site.r.clients(site.sensors) {
						site.r.sends(p, 50*millisecond, int64(i)*1700*microsecond, end, always(constant))
					}
				}
				if control > 0 {
					a.sends(a.clients(1)[0], second/control, 0, end, unique(4))
				}
				s.run(end)
				for _, r := range s.relays {
					r.costs(t, 2, 200) // one may have to be repeated, if both relays begin at the same time
				}
				if t.Failed() {
					for _, r := range s.relays {
						r.log(t)
					}
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

// What a peer that is cut produces passes, and it goes on to receive.
func TestOnlyWhatIsReturnedIsDropped(t *testing.T) {
	s := newSim(7)
	r := s.newLooping()
	echoes := []*peers.Peer{r.echo(millisecond), r.echo(millisecond)}
	client := r.connect(deaf)
	r.sends(client, 10*millisecond, 0, 20*second, unique(1))
	s.run(3 * second)
	for _, p := range echoes {
		if kinds := r.kinds(p); !slices.Contains(kinds, Cut) {
			r.log(t)
			t.Fatalf("want %v cut; got %v", p.Addr(), kinds)
		}
	}
	got := 0
	r.ways[2] = func(payloads []uint64) {
		for _, payload := range payloads {
			if payload>>32 == 2 {
				got++
			}
		}
	}
	lost, due := r.receivers[0].lost, r.receivers[0].due
	sent := 0
	own := unique(2)
	r.sends(echoes[0], 5*millisecond, s.now, 5*second, func() uint64 { sent++; return own() })
	s.run(6 * second)
	if sent == 0 || got != sent {
		t.Errorf("want all of %d datagrams that the echo has produced relayed; got %d", sent, got)
	}
	// The other echo brings back what the first produces: that is lost for it.
	if lost, due := r.receivers[0].lost-lost, r.receivers[0].due-due; due-lost < 290 {
		t.Errorf("want the echo to receive what the client sends; it lost %d of %d", lost, due)
	}
}

// While a ring lasts, little leaks, and when it is mended the cut ends.
func TestCutLastsAsLongAsTheRing(t *testing.T) {
	s := newSim(3)
	list := make([]*simRelay, 3)
	for i := range list {
		list[i] = s.newLooping()
	}
	link(list[0], list[1], 300*microsecond)
	link(list[1], list[2], 300*microsecond)
	mend := link(list[2], list[0], 300*microsecond)
	next := unique(1)
	const ring, end = 130 * second, 200 * second
	r := list[0]
	r.sends(r.connect(deaf), 10*millisecond, 0, end, next)
	s.run(3 * second)
	first, _ := s.looped()
	s.run(ring)
	all, _ := s.looped()
	received := 0
	for _, r := range list {
		received += r.received
	}
	t.Logf("%d datagrams looped at first, %d in the 127 s after; %d were received in all", first, all-first, received)
	if all-first > 2*first+20_000 {
		t.Errorf("want little to loop while the ring is cut; got %d at first and %d later", first, all-first)
	}
	mend()
	s.run(end)
	for _, r := range list {
		if r.watch.cuts != 0 {
			r.log(t)
			t.Errorf("want no peer cut a minute after the ring was mended; %d are", r.watch.cuts)
		}
	}
}

// A peer that was in a loop, and is cleared later, is not expected to bring as
// much as the loop did: when the loop is back, it is cut again.
func TestPeersThatAreClearedAfterALoopAreWatched(t *testing.T) {
	s := newSim(4)
	r := s.newLooping()
	looping := true
	var echoes []*peers.Peer
	for i := range 2 {
		p := r.connect(nil)
		echoes = append(echoes, p)
		r.ways[i] = func(payloads []uint64) {
			if looping {
				s.after(millisecond, func() { r.arrive(p, payloads...) })
			}
		}
	}
	client := r.connect(deaf)
	const honest, again = 10 * second, 40 * second
	r.sends(client, 5*millisecond, 0, honest, unique(1))
	s.run(honest)
	if kinds := r.kinds(echoes[0]); !slices.Contains(kinds, Cut) {
		t.Fatalf("want %v cut; got %v", echoes[0].Addr(), kinds)
	}
	looping = false
	for i, p := range echoes {
		r.sends(p, 10*millisecond, honest+5*second+int64(i)*millisecond, again, always(constant))
	}
	s.run(again)
	if kinds := r.kinds(echoes[0]); kinds[len(kinds)-1] != Cleared {
		t.Fatalf("want %v cleared at last; got %v", echoes[0].Addr(), kinds)
	}
	looping = true
	r.sends(client, 5*millisecond, again, again+5*second, unique(2))
	s.run(again + 5*second)
	if r.lastLoop > again+2*second {
		r.log(t)
		t.Errorf("want nothing to go round 2 s after the loop is back; the last datagram did after %v", time.Duration(r.lastLoop-again))
	}
}

// Two peers that answer each other, with a payload that changes each time, are
// reported, and nothing else happens to them.
func TestPeersThatAnswerEachOtherAreReported(t *testing.T) {
	s := newSim(5)
	r := s.newRelay(true, 20)
	var a, b *peers.Peer
	n := uint64(0)
	answer := func(p **peers.Peer) func([]uint64) {
		return func(payloads []uint64) {
			for _, payload := range payloads {
				if payload>>32 != 9 {
					continue
				}
				// Processes are not equally fast all the time.
				delay := 20 * microsecond
				if s.now/(70*millisecond)%3 == 0 {
					delay = 35 * microsecond
				}
				s.after(s.jitter(delay), func() { n++; r.arrive(*p, 9<<32+n) })
			}
		}
	}
	a, b = r.connect(answer(&a)), r.connect(answer(&b))
	client := r.connect(deaf)
	r.arrive(client, 9<<32)
	// Steady senders of the same rate do not answer each other.
	for i := range 2 {
		r.sends(r.connect(deaf), 500*microsecond, 0, 20*second, unique(uint64(20+i)))
	}
	s.run(10 * second)
	talks := r.watch.Talks()
	if len(talks) != 1 || talks[0].A != a.Addr() || talks[0].B != b.Addr() || talks[0].PerSecond < 5000 {
		t.Errorf("want %v and %v reported; got %v", a.Addr(), b.Addr(), talks)
	}
	events := 0
	for _, e := range r.events {
		if e.Kind == Talking && e.Addr == a.Addr() && e.Other == b.Addr() {
			events++
		} else {
			t.Errorf("want no other event; got %v", e)
		}
	}
	if events != 1 || len(r.returned)+len(r.withheld) > 0 {
		t.Errorf("want one event and nothing dropped; got %d, %v, %v", events, r.returned, r.withheld)
	}
	r.sim.queue = nil // they fall silent
	s.run(12 * second)
	r.watch.Tick(s.now)
	s.run(14 * second)
	r.watch.Tick(s.now)
	if talks := r.watch.Talks(); len(talks) > 0 {
		t.Errorf("want none reported when they are silent; got %v", talks)
	}
}

func TestMemoryIsAboutAMebibyte(t *testing.T) {
	const most = 1<<20 + 40<<10
	if size := unsafe.Sizeof(Watch{}); size > most {
		t.Errorf("want at most %d bytes, got %d", most, size)
	}
}

func TestStateIsBounded(t *testing.T) {
	list := newPeers(3000)
	w := newWatch(1)
	for now := int64(0); now < 2*second; now += 10 * millisecond {
		w.Begin(now, true)
		for range 2 {
			for _, p := range list {
				w.Note(hashOf(1), p)
			}
		}
		w.End()
		if len(w.accounts) > maxAccounts {
			t.Fatalf("want at most %d accounts; got %d", maxAccounts, len(w.accounts))
		}
	}
	for now := 2 * second; now < 30*60*second; now += second {
		w.Tick(now)
	}
	if len(w.accounts) != 0 {
		t.Errorf("want no account after half an hour of silence; got %d", len(w.accounts))
	}
}

// If no payload comes from two origins, nothing happens, whatever comes.
func TestNothingIsDroppedIfNoPayloadHasTwoOrigins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := newPeers(20)
		w := newWatch(rapid.Uint64().Draw(t, "seed"))
		now := int64(0)
		for range rapid.IntRange(1, 300).Draw(t, "batches") {
			now += rapid.Int64Range(0, 300*millisecond).Draw(t, "pause")
			w.Begin(now, rapid.Bool().Draw(t, "emptied"))
			for range rapid.IntRange(0, 64).Draw(t, "count") {
				i := rapid.IntRange(0, len(list)-1).Draw(t, "origin")
				payload := rapid.IntRange(0, 5).Draw(t, "payload")
				if v := w.Note(hashOf(uint64(i*100+payload)), list[i]); v != Pass {
					t.Fatalf("want it to pass; got %d", v)
				}
			}
			for _, e := range w.End() {
				if e.Kind != Talking {
					t.Fatalf("want no event; got %v", e)
				}
			}
		}
	})
}

// Whatever comes, in whatever order: only peers that were cut lose what they
// return, and events come in an order that makes sense.
func TestEventsAndVerdictsAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := newPeers(6)
		w := newWatch(rapid.Uint64().Draw(t, "seed"))
		now := int64(0)
		standings := map[uint64]Kind{}
		check := func(events []Event) {
			for _, e := range events {
				before, known := standings[e.Number]
				ok := true
				switch e.Kind {
				case Suspected:
					ok = !known || before != Cut
				case Cut:
					ok = before == Suspected
				case Released:
					ok = before == Cut
				case Cleared:
					ok = before == Suspected || before == Released
				}
				if !ok {
					t.Fatalf("want no %v after %v of peer %d", e.Kind, before, e.Number)
				}
				if e.Kind != Talking {
					standings[e.Number] = e.Kind
				}
			}
		}
		for range rapid.IntRange(1, 60).Draw(t, "stretches") {
			pause := rapid.Int64Range(0, 20*millisecond).Draw(t, "pause")
			payloads := rapid.IntRange(1, 40).Draw(t, "payloads")
			origins := rapid.IntRange(1, len(list)).Draw(t, "origins")
			silent := rapid.Int64Range(0, 3*second).Draw(t, "silent") * int64(rapid.IntRange(0, 1).Draw(t, "is silent"))
			for n := range 60 {
				now += pause
				w.Begin(now, n%3 > 0)
				cut := map[uint64]bool{}
				for number, kind := range standings {
					cut[number] = kind == Cut
				}
				for i := range origins {
					p := list[i]
					v := w.Note(hashOf(uint64(n*payloads%97)), p)
					if v == Returned && !cut[p.Number()] {
						t.Fatalf("want nothing of peer %d dropped as returned, for it is not cut", p.Number())
					}
				}
				check(w.End())
			}
			now += silent
			check(w.Tick(now))
		}
	})
}
