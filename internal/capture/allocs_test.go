//go:build !race

// Under the race detector allocations are not those of the program alone.

package capture

import "testing"

// TestDeliverAllocatesNothing is about the relay's side of a recording.
func TestDeliverAllocatesNothing(t *testing.T) {
	peer, err := ParsePeer("198.51.100.0/24")
	if err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string]Options{
		"all":           {To: relay4},
		"filtered, cut": {To: relay4, Peers: []Peer{peer}, SnapLen: 60},
		"no room":       {To: relay4, Queue: leastQueue},
	} {
		r := newRecorder(t, options)
		batch := append(from(origin4, numbered(60)...), from(origin6, "a", "b")...)
		var e entry
		buf := make([]byte, maxPacket)
		full := name == "no room"
		n := testing.AllocsPerRun(1000, func() {
			r.Deliver(batch)
			for !full && r.queue.take(&e, buf) {
			}
		})
		if n != 0 {
			t.Errorf("%s: want no allocations, got %v a batch", name, n)
		}
		if dropped := r.Stats().Dropped > 0; dropped != full {
			t.Errorf("%s: want drops: %v, got %v", name, full, dropped)
		}
	}
}
