package peers_test

import (
	"sync"
	"testing"
	"unsafe"

	"udprelay/peers"
)

// What one goroutine counts for a peer must not slow down another that counts
// for the next.
func TestCountsFillACacheLine(t *testing.T) {
	if size := unsafe.Sizeof(peers.Counts{}); size != 64 {
		t.Errorf("want 64 bytes, got %d", size)
	}
}

func TestCountsOfSeveralGoroutinesAddUp(t *testing.T) {
	const goroutines, each = 8, 1000
	var counts peers.Counts
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for range each {
				counts.Drop(g%3, 2, 1)
				counts.Delivered.Add(1)
			}
		})
	}
	all.Wait()
	var want [peers.DropReasons]uint64
	for g := range goroutines {
		want[g%3] += 2 * each
	}
	if got := counts.Dropped(); got != want || counts.Delivered.Load() != goroutines*each {
		t.Errorf("want %v dropped and %d delivered, got %v and %d", want, goroutines*each, got, counts.Delivered.Load())
	}
}

// Only the first drop of a peer takes memory.
func TestCountingCostsNoAllocation(t *testing.T) {
	table := openTable(0, 0)
	p := wantHeard(t, table, "192.0.2.1:1", start, peers.Joined)
	if got := p.Path.Counts.Dropped(); got != [peers.DropReasons]uint64{} {
		t.Errorf("want no drops of a new peer, got %v", got)
	}
	allocs := testing.AllocsPerRun(100, func() {
		p.Path.Counts.Received.Add(1)
		p.Path.Counts.Drop(0, 1, 7)
		p.Path.Counts.Drop(peers.DropReasons-1, 1, 8)
	})
	if allocs != 0 {
		t.Errorf("want no allocation, got %v", allocs)
	}
}

func TestTheLastDropIsKnown(t *testing.T) {
	var counts peers.Counts
	if at, ever := counts.LastDrop(3); ever {
		t.Errorf("want no drop, got one at %d", at)
	}
	counts.Drop(3, 1, 100)
	counts.Drop(3, 1, 200)
	counts.Drop(4, 1, 300)
	for reason, want := range map[int]int64{3: 200, 4: 300} {
		if at, ever := counts.LastDrop(reason); at != want || !ever {
			t.Errorf("reason %d: want the last at %d, got %d, %v", reason, want, at, ever)
		}
	}
	if at, ever := counts.LastDrop(5); ever {
		t.Errorf("want no drop of another reason, got one at %d", at)
	}
}
