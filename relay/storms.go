package relay

import (
	"hash/maphash"
	"log/slog"
	"sync/atomic"
	"time"

	"udprelay/internal/storm"
	"udprelay/peers"
)

// linesPerMinute is how many lines the log gets about storms, at once or over
// the minute; what is left out is counted.
const linesPerMinute = 10

// Storms is the watch for loops, and what is said of them.
type storms struct {
	watch *storm.Watch
	seed  maphash.Seed

	cut cutPeers

	saying peers.Bucket  // bounds the log
	unsaid atomic.Uint64 // lines that were left out since the last
}

func newStorms() *storms { return &storms{watch: storm.New(), seed: maphash.MakeSeed()} }

// cutStorms takes out of the batch what goes round in a loop.
func (r *Relay) cutStorms(b *batch, t *tally) {
	var hashes [maxBatch]uint64
	for i := range b.datagrams {
		hashes[i] = maphash.Bytes(r.storms.seed, b.datagrams[i].Payload)
	}
	kept := 0
	r.storms.watch.Begin(b.at)
	for i, d := range b.datagrams {
		if r.storms.watch.Note(hashes[i], b.origins[i]) {
			if origin := b.origins[i]; origin != nil {
				t.dropOf(origin, DropStorm, 1)
			} else {
				t.drop(DropStorm, 1, d.From)
			}
			continue
		}
		b.datagrams[kept], b.origins[kept] = d, b.origins[i]
		kept++
	}
	b.datagrams, b.origins = b.datagrams[:kept], b.origins[:kept]
	r.storms.say(r.storms.watch.End(), b.at, r.log)
	b.held = r.storms.watch.Held()
}

// say logs what the watch has done.
func (s *storms) say(events []storm.Event, at int64, log *slog.Logger) {
	for _, e := range events {
		s.cut.note(e, at)
		if e.Kind == storm.Held {
			log.Debug("held to see whether it goes on repeating", "peer", e.Addr, "repeats_per_second", e.Repeats)
			continue
		}
		if !s.saying.Take(linesPerMinute, 1, at/60) {
			s.unsaid.Add(1)
			continue
		}
		var more []any
		if unsaid := s.unsaid.Swap(0); unsaid > 0 {
			more = []any{"such_lines_left_out", unsaid}
		}
		switch e.Kind {
		case storm.Cut:
			log.Warn("storm cut: a peer keeps bringing back what was relayed already", append([]any{"peer", e.Addr,
				"repeats_per_second", e.Repeats, "hint", advice[DropStorm]}, more...)...)
		case storm.Cleared:
			log.Info("no storm: a peer that repeats what others send does so on its own", append([]any{"peer", e.Addr,
				"repeats_per_second", e.Repeats}, more...)...)
		case storm.Released:
			log.Info("storm over: the peer is not cut any more", append([]any{"peer", e.Addr,
				"dropped", e.Dropped, "after", e.For.Round(time.Millisecond)}, more...)...)
		}
	}
}
