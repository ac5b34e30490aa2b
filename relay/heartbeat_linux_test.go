package relay

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// A hundred honest peers that each repeat one identical heartbeat fifty times a
// second look a little like a storm. They are never touched, also not beside a
// ring of relays that the heartbeats go round in.
func TestHonestHeartbeatsAreNotTouched(t *testing.T) {
	for _, ringed := range []bool{false, true} {
		t.Run(fmt.Sprintf("beside a ring=%t", ringed), func(t *testing.T) {
			count := 1
			if ringed {
				count = 3
			}
			ring := newRelayRing(t, ways[0], count)
			r := ring.relays[0]
			const peers, each = 100, 150
			sinks := newSinks(t, "127.0.0.1", peers)
			beat := func(text string) {
				for _, s := range sinks {
					if _, err := s.conn.WriteToUDPAddrPort([]byte(text), r.Addr()); err != nil {
						t.Fatal(err)
					}
				}
			}
			beat("") // join
			awaitStats(t, r, "100 keep-alives", func(s Stats) bool { return s.KeepAlives == peers })
			next := time.Now()
			for range each {
				beat("alive")
				next = next.Add(20 * time.Millisecond)
				time.Sleep(time.Until(next))
			}
			// What the kernel has dropped at the relay is not the watch's doing.
			const want = each * (peers - 1)
			await(t, func() bool {
				lost := r.Stats().Dropped[DropReceiveQueueFull]
				return !slices.ContainsFunc(sinks, func(s *sink) bool { return uint64(s.count())+lost < want })
			}, func() string {
				return fmt.Sprintf("want all of %d heartbeats at each peer, but those that the kernel dropped; got %s", want, show(r.Stats()))
			})
			awaitEnd(t, 10, ring.relays...)
			s := r.Stats()
			t.Log(show(s))
			if !ringed {
				for i, sink := range sinks {
					if got := sink.count(); got > want {
						t.Errorf("want at most %d heartbeats at peer %d; got %d", want, i, got)
					}
				}
				if n := slices.Max(s.Dropped[:]); n != s.Dropped[DropReceiveQueueFull] {
					t.Errorf("want nothing dropped; got %s", show(s))
				}
				if lines := ring.books[0].lines("storm"); len(lines) > 0 {
					t.Errorf("want no word of a storm; got %q", lines)
				}
				return
			}
			awaitCut(t, ring.books, ring.relays[0].Addr(), ring.relays[1].Addr(), ring.relays[2].Addr())
		})
	}
}
