package relay

import (
	"fmt"
	"testing"
)

// Senders beyond those that are kept are relayed all the same, and so is each that
// comes back after it made room.
func TestMoreSendersThanAreKeptAreAllRelayed(t *testing.T) {
	needLoopback(t)
	const count, part = 10_000, 50
	r := startRelay(t, ways[0], on4, sendOnly(1))
	listener := newPeer(t, r, near(r))
	before := r.Peers().Peers()
	crowd := newCrowd(t, r.Addr(), count)
	for round := range 2 {
		for from := 0; from < count; from += part {
			text := func(i int) string { return fmt.Sprintf("round %d from %d", round, i) }
			for i := from; i < from+part; i++ {
				crowd.say(t, i, i+1, []byte(text(i)))
			}
			for i := from; i < from+part; i++ {
				listener.wants(text(i))
			}
		}
	}
	checkNoDrops(t, r)
	if after := r.Peers().Peers(); len(after) != 1 || after[0] != before[0] {
		t.Errorf("want the listener to keep its place; got %d peers", len(after))
	}
	if got := len(r.Peers().Senders()); got != 4096 {
		t.Errorf("want 4096 senders kept; got %d", got)
	}
}
