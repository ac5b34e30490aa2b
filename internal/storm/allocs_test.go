package storm

import (
	"testing"

	"udprelay/peers"
)

func TestWithoutEventsNothingIsAllocated(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates: this is tested without it")
		return
	}
	list := newPeers(100)
	w := newWatch(1)
	now, payload := int64(0), uint64(0)
	// Two seconds of 5,000 identical datagrams per second, 50 from each peer, and
	// as many that differ.
	round := func() {
		for range 2 * 50 {
			for i, p := range list {
				now += 200 * microsecond
				w.Begin(now, true)
				payload++
				w.Note(hashOf(0), p)
				w.Note(hashOf(payload), list[i/2])
				w.End()
			}
		}
		w.Tick(now)
	}
	round() // opens accounts, and clears them
	if allocs := testing.AllocsPerRun(5, round); allocs != 0 {
		t.Errorf("want no allocations, got %v", allocs)
	}
	// Nor while a peer is cut.
	cutTwo(t, w, list, &now)
	drops := 0
	cut := func() {
		for range 1000 {
			payload++
			now += 100 * microsecond
			w.Begin(now, true)
			w.Note(hashOf(payload), list[5])
			if w.Note(hashOf(payload), list[0]) == Returned {
				drops++
			}
			w.End()
		}
	}
	if allocs := testing.AllocsPerRun(5, cut); allocs != 0 || drops != 6000 {
		t.Errorf("want no allocations and 6000 drops, got %v and %d", allocs, drops)
	}
}

// cutTwo makes list[0] and list[1] echo what a client sends until both are cut.
func cutTwo(t testing.TB, w *Watch, list []*peers.Peer, now *int64) {
	t.Helper()
	cuts := 0
	var given []uint64
	for n := range uint64(50_000) {
		*now += 100 * microsecond
		w.Begin(*now, true)
		for _, hash := range given {
			w.Note(hash, list[0])
			w.Note(hash, list[1])
		}
		given = given[:0]
		if n%10 == 0 {
			if hash := hashOf(1<<61 + n); w.Note(hash, list[99]) == Pass {
				given = append(given, hash)
			}
		}
		for _, e := range w.End() {
			if e.Kind == Cut {
				cuts++
			}
		}
		if cuts == 2 {
			return
		}
	}
	t.Fatalf("want 2 peers cut, got %d", cuts)
}

func BenchmarkNote(b *testing.B) {
	list := newPeers(100)
	run := func(b *testing.B, w *Watch, now int64, payload func(n int) uint64, origin func(n int) int) {
		b.ReportAllocs()
		n := 0
		for b.Loop() { // an operation is a batch of 64
			now += 64 * 5 * microsecond
			w.Begin(now, false)
			for range 64 {
				w.Note(hashOf(payload(n)), list[origin(n)])
				n++
			}
			w.End()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/datagram")
	}
	differ := func(n int) uint64 { return uint64(n) }
	b.Run("all differ", func(b *testing.B) { run(b, New(), 0, differ, func(n int) int { return n / 8 % 100 }) })
	b.Run("all the same, one origin", func(b *testing.B) {
		run(b, New(), 0, func(int) uint64 { return 0 }, func(int) int { return 3 })
	})
	b.Run("heartbeats", func(b *testing.B) {
		run(b, New(), 0, func(int) uint64 { return 0 }, func(n int) int { return n % 100 })
	})
	b.Run("redundant, beside a cut", func(b *testing.B) {
		w, now := newWatch(1), int64(0)
		cutTwo(b, w, list, &now)
		run(b, w, now, func(n int) uint64 { return uint64(n / 2) }, func(n int) int { return n % 2 })
	})
}
