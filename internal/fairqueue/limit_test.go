package fairqueue

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"
)

// A simulation of a relay that sends so many datagrams per interval, before
// which the limits are in force.
type simulation struct {
	*model
	random  *rand.Rand
	rates   map[int]int // datagrams per interval, by origin
	passes  map[int]float64
	keptOut map[int]int
	charged map[int]int
}

func newSimulation(t rapid.TB, seed uint64, rates map[int]int) *simulation {
	return &simulation{model: newModel(t, 1<<20), random: rand.New(rand.NewPCG(seed, 1)), rates: rates,
		passes: map[int]float64{}, keptOut: map[int]int{}, charged: map[int]int{}}
}

// binomial returns how many of so many pass by chance, about.
func (s *simulation) binomial(count int, pass float64) int {
	mean := float64(count) * pass
	passed := math.Round(mean + math.Sqrt(mean*(1-pass))*s.random.NormFloat64())
	return int(min(float64(count), max(0, passed)))
}

// interval returns how many datagrams were let in.
func (s *simulation) interval(capacity int) (in int) {
	keptOut := 0
	const slices = 10
	for slice := range slices {
		for from := range len(s.rates) {
			rate := s.rates[from]
			count := rate*(slice+1)/slices - rate*slice/slices
			passed := count
			if pass, limited := s.passes[from]; limited {
				passed = s.binomial(count, pass)
			}
			s.keptOut[from] += count - passed
			keptOut += count - passed
			in += passed
			for range passed {
				s.push(from, 200)
			}
		}
		for n := capacity / slices; n > 0 && s.queue.Len() > 0; n-- {
			s.take()
		}
	}
	charged := 0
	left := s.queue.Charge(keptOut, func(from, datagrams int) {
		s.charged[from] += datagrams
		charged += datagrams
	})
	if charged+left != keptOut || left > 0 {
		s.t.Fatalf("want all %d that were kept out charged; got %d, and %d left", keptOut, charged, left)
	}
	limits := s.queue.Adjust(AdjustEvery, Outside{})
	clear(s.passes)
	for _, l := range limits {
		if l.Pass <= 0 || l.Pass >= 1 {
			s.t.Fatalf("want a limit above 0 and below 1; got %v", l)
		}
		s.passes[numberOf(l.From)] = l.Pass
	}
	s.check()
	return in
}

// Flooders are limited to about what is sent of them, others not at all; what was
// kept out is charged to the right ones; and when the flood is over, so are the
// limits.
func TestLimitsHoldFloodersOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rates := map[int]int{}
		flooders, honest := rapid.IntRange(1, 5).Draw(t, "flooders"), rapid.IntRange(1, 20).Draw(t, "honest")
		const capacity = 200
		for n := range flooders {
			rates[n] = rapid.IntRange(2*capacity, 8*capacity).Draw(t, "flood")
		}
		for n := range honest {
			rates[flooders+n] = rapid.IntRange(0, capacity/(2*(flooders+honest))).Draw(t, "rate")
		}
		s := newSimulation(t, rapid.Uint64().Draw(t, "seed"), rates)
		const intervals, settled = 70, 35
		in, sentBefore := 0, map[int]int{}
		for i := range intervals {
			if i == settled {
				in = 0
				for n := range flooders {
					sentBefore[n] = s.sent[n]
				}
			}
			in += s.interval(capacity)
		}
		if most := 3 * capacity * (intervals - settled) / 2; in > most {
			t.Errorf("want at most %d datagrams let in where %d are sent; got %d", most, capacity*(intervals-settled), in)
		}
		left := capacity
		for n := range honest {
			n += flooders
			left -= rates[n]
			if s.dropped[n]+s.keptOut[n]+s.charged[n] > 0 {
				t.Errorf("want nothing of an honest origin lost; got %d dropped, %d kept out, %d charged", s.dropped[n], s.keptOut[n], s.charged[n])
			}
		}
		for n := range flooders {
			share := float64(left) / float64(flooders) * (intervals - settled)
			if got := float64(s.sent[n] - sentBefore[n]); got < 0.7*share {
				t.Errorf("want a flooder to get what is left, about %.0f; got %.0f", share, got)
			}
			if got, want := float64(s.charged[n]), float64(s.keptOut[n]); got < 0.7*want-500 || got > 1.3*want+500 {
				t.Errorf("want about %.0f charged to a flooder; got %.0f", want, got)
			}
		}
		for n := range flooders {
			rates[n] = 1
		}
		for range 60 {
			s.interval(capacity)
		}
		if len(s.passes) > 0 || len(s.queue.flows) > len(rates) {
			t.Errorf("want no limits when the flood is over; got %v", s.passes)
		}
	})
}

// Where datagrams are lost before they can be pushed, those that send the most
// are limited at once.
func TestAnOverflowLimitsThoseThatSendTheMost(t *testing.T) {
	m := newModel(t, 8<<20)
	for range 1000 {
		m.push(0, 200)
		m.push(1, 200)
	}
	for n := range 10 {
		m.push(2+n, 200)
	}
	limits := m.queue.Adjust(AdjustEvery, Outside{Overflow: true})
	if len(limits) != 2 {
		t.Fatalf("want the two that flood limited; got %v", limits)
	}
	for _, l := range limits {
		if n := numberOf(l.From); n > 1 || l.Pass > 0.2 {
			t.Errorf("want the flooders 0 and 1 limited to less than a fifth; got %d to %v", n, l.Pass)
		}
	}
}

// More origins than can be limited flood: the limits are for those that send the
// most.
func TestNoMoreLimitsThanThereMayBe(t *testing.T) {
	m := newModel(t, 8<<20)
	for n := range 2 * mostLimits {
		for range 100 + n {
			m.push(n, 200)
		}
	}
	for n := range 4 * mostLimits {
		m.push(2*mostLimits+n, 200)
	}
	limits := m.queue.Adjust(AdjustEvery, Outside{Overflow: true})
	if len(limits) != mostLimits {
		t.Fatalf("want %d limits; got %d", mostLimits, len(limits))
	}
	for _, l := range limits {
		if n := numberOf(l.From); n < mostLimits {
			t.Errorf("want only those limited that send the most; got origin %d", n)
		}
	}
	if left := m.queue.Charge(0, nil); left != 0 {
		t.Errorf("want nothing left of nothing; got %d", left)
	}
}
