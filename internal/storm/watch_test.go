package storm

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"udprelay/peers"
)

func newSim(peerCount int) (*sim, *simRelay) {
	s := &sim{}
	return s, s.newRelay(true, peerCount)
}

func TestEchoesAreCut(t *testing.T) {
	for echoes := 2; echoes <= 3; echoes++ {
		for _, roundTrip := range []int64{50 * microsecond, millisecond, 50 * millisecond} {
			t.Run(fmt.Sprintf("%d/%v", echoes, time.Duration(roundTrip)), func(t *testing.T) {
				t.Parallel()
				s, r := newSim(200)
				r.unique = true
				for range echoes {
					r.echo(roundTrip)
				}
				got := 0 // by one of the ordinary peers
				r.connect(func(payloads []uint64) { got += len(payloads) })
				next := numbers()
				for i := range 20 {
					r.sends(r.peers[10+i], 100*millisecond, int64(i)*millisecond, 6*second, next)
				}
				heartbeats(r, 6*second)
				s.run(6 * second)
				r.log(t)
				t.Logf("%d passed for the fourth time or more, heartbeats among them", r.loops)
				for i := range echoes {
					if kinds := r.kinds(r.peers[i]); !slices.Equal(kinds, []Kind{Held, Cut}) {
						t.Errorf("want the echo held and cut, got %v", kinds)
					}
				}
				for _, e := range r.events {
					if e.Number > uint64(echoes) {
						t.Fatalf("want ordinary peers untouched, got %+v", e)
					}
				}
				for p, count := range r.dropped {
					if p.Number() > uint64(echoes) {
						t.Fatalf("want nothing of %v dropped, got %d", p.Addr(), count)
					}
				}
				before := r.received
				rest := got
				s.run(s.now + second)
				t.Logf("received %d, %d in the second after the senders stopped; an ordinary peer got %d, then %d", before, r.received-before, rest, got-rest)
				if got-rest > 64 {
					t.Errorf("want nothing to circulate when nobody sends, got %d", got-rest)
				}
			})
		}
	}
}

func TestHonestTrafficIsNotTouched(t *testing.T) {
	const end = 4 * second
	for _, test := range []struct {
		name  string
		begin func(s *sim, r *simRelay)
	}{
		{"a hundred heartbeats", func(s *sim, r *simRelay) { heartbeats(r, end) }},
		{"redundant senders", func(s *sim, r *simRelay) {
			for i := range 2 {
				r.sends(r.peers[i], 200*microsecond, int64(i)*90*microsecond, end, numbers())
			}
		}},
		{"seven redundant senders", func(s *sim, r *simRelay) {
			for i := range 7 {
				r.sends(r.peers[i], 200*microsecond, int64(i)*20*millisecond, end, numbers())
			}
		}},
		{"one that sends the same", func(s *sim, r *simRelay) {
			r.sends(r.peers[0], 10*microsecond, 0, end, always(7))
		}},
		{"a burst after a stall", func(s *sim, r *simRelay) {
			heartbeats(r, end)
			for _, at := range []int64{second, second + 95*millisecond, 3 * second} {
				s.after(at, func() {
					r.space = 1 << 20
					for range 100 {
						for _, p := range r.peers[50:150] {
							r.arrive(p, 1<<60)
						}
					}
				})
			}
		}},
		{"the same from links", func(s *sim, r *simRelay) {
			r.sends(nil, 20*microsecond, 0, end, always(7))
			heartbeats(r, end)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, r := newSim(200)
			test.begin(s, r)
			s.run(end)
			r.wantUntouched(t)
		})
	}
}

// identical lets twenty peers send the same as fast as they can.
func identical(r *simRelay, to int64) []*peers.Peer {
	list := r.peers[100:120]
	for i, p := range list {
		r.sends(p, 200*microsecond, int64(i)*3*microsecond, to, always(7))
	}
	return list
}

// wantCleared fails the test unless these peers were held once and cleared, and
// no more of what they sent, so many a second, was dropped than probes take:
// those of three peers at most, for 0.6 s.
func wantCleared(t *testing.T, r *simRelay, list []*peers.Peer, perSecond uint64) {
	t.Helper()
	probed := 0
	for _, p := range list {
		if kinds := r.kinds(p); !slices.Equal(kinds, []Kind{Held, Cleared}) {
			t.Errorf("want %v held once and cleared; got %v", p.Addr(), kinds)
			continue
		}
		if r.dropped[p] == 0 {
			continue
		}
		probed++
		last := r.events[slices.IndexFunc(r.events, func(e timedEvent) bool { return e.Number == p.Number() && e.Kind == Cleared })]
		if last.Dropped != uint64(r.dropped[p]) || last.Dropped > perSecond*7/10 {
			t.Errorf("want 0.6 s of what %v sent dropped, and told; got %d, told %v", p.Addr(), r.dropped[p], last)
		}
	}
	if probed > 3 {
		t.Errorf("want three probes at most, got %d", probed)
	}
}

func TestTwentyIdenticalSendersAreCleared(t *testing.T) {
	s, r := newSim(200)
	list := identical(r, 6*second)
	s.run(6 * second)
	r.log(t)
	wantCleared(t, r, list, 5000)
	if r.watch.Held() != nil {
		t.Errorf("want nobody held in the end, got %d", len(r.watch.Held()))
	}
}

func TestLoopBesideTwentyIdenticalSendersIsCut(t *testing.T) {
	s, r := newSim(200)
	r.echo(millisecond)
	r.echo(millisecond)
	list := identical(r, 6*second)
	s.run(6 * second)
	r.log(t)
	wantCleared(t, r, list, 5000)
	for _, p := range r.peers[:2] {
		if kinds := r.kinds(p); !slices.Equal(kinds, []Kind{Held, Cut}) {
			t.Errorf("want %v held and cut, got %v", p.Addr(), kinds)
		}
	}
}

// The sender whose payload loops goes on during the trial.
func TestSenderWhoIsEchoedIsCleared(t *testing.T) {
	s, r := newSim(200)
	r.echo(millisecond)
	r.echo(millisecond)
	r.sends(r.peers[100], 50*microsecond, 0, 6*second, always(7))
	s.run(6 * second)
	r.log(t)
	wantCleared(t, r, r.peers[100:101], 20_000)
	for _, p := range r.peers[:2] {
		if kinds := r.kinds(p); !slices.Equal(kinds, []Kind{Held, Cut}) {
			t.Errorf("want %v held and cut, got %v", p.Addr(), kinds)
		}
	}
}

func TestLoopIsCutThoughTheTableIsFullOfOthers(t *testing.T) {
	s, r := newSim(200)
	r.cost = 2 * microsecond
	r.echo(millisecond)
	r.echo(millisecond)
	next := numbers()
	r.sends(r.peers[100], 25*microsecond, 0, 3*second, next) // 80,000 in 2 s
	s.run(3 * second)
	r.log(t)
	for _, p := range r.peers[:2] {
		if kinds := r.kinds(p); !slices.Equal(kinds, []Kind{Held, Cut}) {
			t.Errorf("want %v held and cut, got %v", p.Addr(), kinds)
		}
	}
	if kinds := r.kinds(r.peers[100]); kinds != nil || r.dropped[r.peers[100]] > 0 {
		t.Errorf("want the sender untouched, got %v", kinds)
	}
}

// A stall of this program during a trial is no silence of those on trial.
func TestStallDuringATrialConvictsNobody(t *testing.T) {
	w, list := newWatch(1), newPeers(2)
	now, held, kinds := int64(0), false, []Kind{}
	for now < 8*second {
		now += 200 * microsecond
		w.Begin(now)
		for _, p := range list {
			if w.Note(1, p) && w.find(p.Number()).probed == nil {
				t.Fatal("want nothing dropped but for a probe")
			}
		}
		for _, e := range w.End() {
			kinds = append(kinds, e.Kind)
		}
		if !held && w.Held() != nil {
			held = true
			now += 900 * millisecond
		}
	}
	if want := []Kind{Held, Held, Cleared, Cleared}; !slices.Equal(kinds, want) {
		t.Errorf("want %v, got %v", want, kinds)
	}
}

// Peers that come and go, all of whom storm, take no more than their place.
func TestStateIsBounded(t *testing.T) {
	w, list := newWatch(1), newPeers(3*maxAccounts)
	now := int64(0)
	for round := range 40 {
		from := round % 3 * maxAccounts
		for range 60 {
			now += 5 * millisecond
			w.Begin(now)
			for _, p := range list[from : from+maxAccounts] {
				w.Note(1, p)
			}
			if events := w.End(); len(events) > 2*maxAccounts {
				t.Fatalf("want at most %d events, got %d", 2*maxAccounts, len(events))
			}
			if len(w.accounts) > maxAccounts || len(w.Held()) > maxAccounts {
				t.Fatalf("want at most %d accounts, got %d, and %d held", maxAccounts, len(w.accounts), len(w.Held()))
			}
		}
	}
	for range 1300 {
		now += second
		w.Tick(now)
	}
	if len(w.accounts) > 0 || w.cuts > 0 || w.Held() != nil {
		t.Errorf("want nobody remembered, got %d, %d cut, %d held", len(w.accounts), w.cuts, len(w.Held()))
	}
}

func TestNothingIsDoneIfNoPayloadHasTwoOrigins(t *testing.T) {
	list := newPeers(20)
	rapid.Check(t, func(t *rapid.T) {
		w, now := newWatch(1), int64(0)
		for range rapid.IntRange(1, 100).Draw(t, "batches") {
			now += rapid.SampledFrom([]int64{0, 10, 10 * microsecond, 10 * millisecond, 99 * millisecond, second, 700 * second}).Draw(t, "pause")
			n := rapid.IntRange(1, 400).Draw(t, "datagrams")
			variety := rapid.Uint64Range(1, 100_000).Draw(t, "variety")
			step := rapid.Uint64Range(0, 7).Draw(t, "step")
			w.Begin(now)
			for i := range uint64(n) {
				payload := i * step % variety
				var origin *peers.Peer
				if at := payload % 21; at < 20 {
					origin = list[at]
				}
				if w.Note(hashOf(payload), origin) {
					t.Fatalf("want nothing dropped")
				}
			}
			if events := w.End(); events != nil || w.Held() != nil {
				t.Fatalf("want nothing done, got %+v", events)
			}
		}
	})
}

// Whatever comes: events of a peer follow each other as they must, those held
// are on trial, and only of who is cut something is dropped, and nothing that
// has not passed within 2 s.
func TestEventsAndDropsAgree(t *testing.T) {
	list := newPeers(8)
	drops, kinds := 0, map[Kind]int{}
	rapid.Check(t, func(t *rapid.T) {
		w, now := newWatch(1), int64(0)
		passed, state := map[uint64]int64{}, map[uint64]Kind{}
		take := func(events []Event) {
			for _, e := range events {
				kinds[e.Kind]++
				before, known := state[e.Number]
				if ok := map[Kind]bool{
					Held:     !known || before == Cleared || before == Released,
					Cut:      known && (before == Held || before == Released),
					Cleared:  known && before == Held,
					Released: known && before == Cut,
				}[e.Kind]; !ok {
					t.Fatalf("want %v not after %v (known: %v)", e.Kind, before, known)
				}
				state[e.Number] = e.Kind
			}
			held := 0
			for _, kind := range state {
				if kind == Held {
					held++
				}
			}
			if got := w.Held(); len(got) != held || !slices.IsSortedFunc(got, func(a, b *peers.Peer) int { return int(a.Number()) - int(b.Number()) }) {
				t.Fatalf("want %d held, in order, got %d", held, len(got))
			}
		}
		for range rapid.IntRange(1, 30).Draw(t, "stretches") {
			every := rapid.SampledFrom([]int64{20 * microsecond, 100 * microsecond, 500 * microsecond}).Draw(t, "every")
			count := rapid.IntRange(1, 6000).Draw(t, "datagrams")
			variety := rapid.Uint64Range(1, 50).Draw(t, "variety")
			obey := rapid.Bool().Draw(t, "who is held is silent")
			for i := range uint64(count) {
				now += every
				p := list[i%8*i/8%8]
				if obey && contains(w.Held(), p) {
					continue
				}
				w.Begin(now)
				a := w.find(p.Number())
				cut := a != nil && a.standing == isCut
				probed := a != nil && a.standing == onTrial && a.probed != nil
				payload := i % variety
				if w.Note(hashOf(payload), p) {
					drops++
					if at, ok := passed[payload]; !cut && !probed || !ok || now-at > 2*second+2*millisecond {
						t.Fatalf("want a drop only of a peer that is cut or probed and of what has passed, got one: cut %v, probed %v, passed %v", cut, probed, ok)
					}
					if probed && (len(a.probed) > probePayloads || a.probeFor >= probeWindows) {
						t.Fatalf("want a probe of 16 payloads for 0.6 s, got %d in window %d", len(a.probed), a.probeFor)
					}
				} else {
					passed[payload] = now
				}
				take(w.End())
			}
			if rapid.Bool().Draw(t, "pause") {
				now += rapid.SampledFrom([]int64{second, 5 * second, 100 * second, 700 * second}).Draw(t, "for")
				take(w.Tick(now))
			}
		}
	})
	t.Logf("%d drops, %v", drops, kinds)
	if drops == 0 || kinds[Cut] == 0 || kinds[Released] == 0 {
		t.Errorf("want drops and cuts to be met, got %d and %v", drops, kinds)
	}
}
