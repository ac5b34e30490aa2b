package storm

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

func newSim(seed uint64) *sim { return &sim{random: rand.New(rand.NewPCG(seed, 1))} }

// newLooping returns a relay that counts loops.
func (s *sim) newLooping() *simRelay {
	r := s.newRelay(true, 200)
	r.unique = true
	return r
}

// A loop is a network in which datagrams go round, and its round trip.
type loop struct {
	name      string
	roundTrip int64
	build     func(s *sim, roundTrip int64)
}

var loops = []loop{
	{"2 echoes", 0, func(s *sim, d int64) { s.echoes(2, d) }},
	{"3 echoes", 0, func(s *sim, d int64) { s.echoes(3, d) }},
	{"4 echoes", 0, func(s *sim, d int64) { s.echoes(4, d) }},
	{"ring of 2", 0, func(s *sim, d int64) { s.ring(2, d) }},
	{"ring of 3", 0, func(s *sim, d int64) { s.ring(3, d) }},
	{"ring of 4", 0, func(s *sim, d int64) { s.ring(4, d) }},
	{"ring of 5", 0, func(s *sim, d int64) { s.ring(5, d) }},
	{"two rings that share a relay", 0, func(s *sim, d int64) {
		list := s.ring(3, d)
		b, c := s.newLooping(), s.newLooping()
		link(list[0], b, d/3)
		link(b, c, d/3)
		link(c, list[0], d/3)
	}},
	{"a link and a static peer at once", 0, func(s *sim, d int64) {
		a, b := s.newLooping(), s.newLooping()
		link(a, b, d/2)
		a.links = append(a.links, func(payloads []uint64) { s.after(d/2, func() { b.arrive(nil, payloads...) }) })
		b.links = append(b.links, func(payloads []uint64) { s.after(d/2, func() { a.arrive(nil, payloads...) }) })
	}},
	{"one way round 3 relays", 0, func(s *sim, d int64) {
		list := []*simRelay{s.newLooping(), s.newLooping(), s.newLooping()}
		for i, r := range list {
			linkOneWay(r, list[(i+1)%3], d/3)
		}
	}},
}

// echoes makes a relay with peers that echo.
func (s *sim) echoes(count int, delay int64) {
	r := s.newLooping()
	for range count {
		r.echo(max(delay, 50*microsecond))
	}
}

// ring makes relays of which each is linked with the next one.
func (s *sim) ring(count int, roundTrip int64) (list []*simRelay) {
	for range count {
		list = append(list, s.newLooping())
	}
	for i := range list {
		link(list[i], list[(i+1)%count], max(roundTrip/int64(count), 25*microsecond))
	}
	return list
}

// looped returns how many datagrams passed for the fourth time or more, and
// when the last of them did.
func (s *sim) looped() (count int, last int64) {
	for _, r := range s.relays {
		count += r.loops
		last = max(last, r.lastLoop)
	}
	return count, last
}

// A loop is cut within two seconds, or three round trips, of when it brings
// some 50 repeats per second.
func TestLoopsAreCut(t *testing.T) {
	for _, l := range loops {
		for _, roundTrip := range []int64{0, millisecond, 50 * millisecond, 300 * millisecond, 600 * millisecond, 1200 * millisecond, 2500 * millisecond, 5 * second} {
			for _, rate := range []int64{0, 20, 200} {
				t.Run(fmt.Sprintf("%s/%v/%d new per second", l.name, time.Duration(roundTrip), rate), func(t *testing.T) {
					t.Parallel()
					if raceEnabled && rate == 20 {
						return // it is tested without
					}
					if rate < 200 && roundTrip > 50*millisecond {
						return // it brings hardly any repeats in three round trips
					}
					s := newSim(uint64(roundTrip))
					l.build(s, roundTrip)
					within := max(2*second, 3*roundTrip)
					end := within + 2*second + roundTrip
					next := unique(3)
					observer := s.relays[0].connect(deaf)
					_ = observer
					for i, r := range s.relays {
						client := r.connect(deaf)
						if i == 0 {
							for range 20 {
								r.arrive(client, next())
							}
						}
						if rate > 0 && i < 2 {
							r.sends(client, second/rate, int64(i)*7*microsecond, end, next)
						}
					}
					s.run(end)
					count, last := s.looped()
					if last > within+roundTrip {
						for _, r := range s.relays {
							r.log(t)
						}
						t.Errorf("want nothing to go round after %v; the last of %d did at %v", time.Duration(within), count, time.Duration(last))
					}
					if testing.Verbose() {
						t.Logf("%d looped, the last at %v", count, time.Duration(last))
					}
				})
			}
		}
	}
}

// A loop brings more than a relay can take, and what waits may be all of one
// payload: it is cut nevertheless, and nobody is taken for honest.
func TestLoopsThatOverloadARelayAreCut(t *testing.T) {
	for _, cost := range []int64{5, 12, 25, 50} {
		for _, space := range []int{300, 4096, 11000} {
			for _, payloads := range []int{1, 3, 20} {
				if payloads == 3 && cost > 5 {
					continue // it takes far longer
				}
				for _, count := range []int{2, 3, 5} {
					t.Run(fmt.Sprintf("%d echoes, %d payloads, %d µs each, %d wait", count, payloads, cost, space), func(t *testing.T) {
						t.Parallel()
						if raceEnabled && cost < 25 {
							return // it is tested without
						}
						for seed := range seeds(6) {
							s := newSim(seed)
							s.echoes(count, 0)
							r := s.relays[0]
							r.watch = newWatch(seed + 100)
							r.cost, r.space = cost*microsecond, space
							next, client := unique(3), r.connect(deaf)
							for range payloads {
								r.arrive(client, next())
							}
							if payloads > 1 {
								r.sends(client, second/2, 0, 12*second, next)
							}
							s.run(12 * second)
							if count, last := s.looped(); last > 10*second {
								r.log(t)
								t.Fatalf("want nothing to go round after 10 s; with seed %d the last of %d did at %v", seed, count, time.Duration(last))
							}
							for _, e := range r.events {
								if e.Kind == Cleared {
									t.Fatalf("want nobody cleared; with seed %d %v is at %v", seed, e.Addr, time.Duration(e.at))
								}
							}
						}
					})
				}
			}
		}
	}
}
