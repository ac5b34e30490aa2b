package state

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

var sizes = []int{100, 10_000, 100_000}

func BenchmarkSave(b *testing.B) {
	for _, sync := range []bool{false, true} {
		for _, n := range sizes {
			b.Run(fmt.Sprintf("peers=%d/sync=%v", n, sync), func(b *testing.B) {
				name := filepath.Join(b.TempDir(), "peers")
				now := time.Now()
				s := manyPeers(n, now)
				b.ReportAllocs()
				for b.Loop() {
					if err := Save(name, s, now, sync); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("peers=%d", n), func(b *testing.B) {
			name := filepath.Join(b.TempDir(), "peers")
			now := time.Now()
			if err := Save(name, manyPeers(n, now), now, false); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Load(name, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The number of allocations does not grow with that of the peers.
func TestEncodingAllocatesLittle(t *testing.T) {
	now := moment{wall: time.Now()}
	s := manyPeers(1000, now.wall)
	b := encoded(t, s, now)
	if got := testing.AllocsPerRun(20, func() { b, _ = appendSnapshot(b[:0], s, now) }); got > 5 {
		t.Fatalf("want 5 allocations at most, got %v", got)
	}
}
