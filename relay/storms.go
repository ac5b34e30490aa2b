package relay

import (
	"hash/maphash"
	"log/slog"
	"sync/atomic"
	"time"

	"udprelay/internal/storm"
)

// asksEvery is how often the socket is asked in a trial, in nanoseconds.
const asksEvery = int64(5e6)

// storms is the watch for loops, and what it needs to know.
type storms struct {
	watch *storm.Watch
	seed  maphash.Seed
	asked atomic.Int64 // see asksSocket
}

func newStorms() *storms { return &storms{watch: storm.New(), seed: maphash.MakeSeed()} }

// filterStorms takes out of the batch what goes round in a loop, and the few
// datagrams that are withheld to find out whether there is one.
func (r *Relay) filterStorms(b *batch, received bool, t *tally) {
	var hashes [maxBatch]uint64
	for i := range b.datagrams {
		hashes[i] = maphash.Bytes(r.storms.seed, b.datagrams[i].Payload)
	}
	kept := 0
	asks := r.storms.watch.AsksEmptied()
	if asks && !received && r.storms.asksSocket(b.at) {
		r.socket.wake()
	}
	r.storms.watch.Begin(b.at, asks && received && r.emptied())
	for i, d := range b.datagrams {
		origin := b.origins[i]
		reason := DropStorm
		switch r.storms.watch.Note(hashes[i], origin) {
		case storm.Pass:
			b.datagrams[kept], b.origins[kept] = d, origin
			kept++
			continue
		case storm.Withheld:
			reason = DropWithheld
		}
		t.dropFrom(d.From, origin, reason)
	}
	b.datagrams, b.origins = b.datagrams[:kept], b.origins[:kept]
	report(r.storms.watch.End(), r.log)
}

// asksSocket reports whether it is time to wake the receiving goroutine, so that
// it says whether anything waits: links have brought datagrams, and the socket
// may have none.
func (s *storms) asksSocket(at int64) bool {
	last := s.asked.Load()
	return at-last >= asksEvery && s.asked.CompareAndSwap(last, at)
}

// emptied reports whether nothing more waits to be relayed after the batch in
// hand. It is for the goroutine that receives.
func (r *Relay) emptied() bool { return !r.receiving.backlog.waiting() && r.socket.emptied() }

// report logs what the watch has found.
func report(events []storm.Event, log *slog.Logger) {
	for _, e := range events {
		peer := any(e.Addr)
		if e.Addr.Port() == 0 { // a sender, whatever its ports
			peer = e.Addr.Addr()
		}
		switch e.Kind {
		case storm.Suspected:
			log.Debug("a peer repeats what others send: looking for a loop", "peer", peer, "repeats_per_second", e.Rate)
		case storm.Cleared:
			log.Debug("no storm: a peer that repeats what others send produces it", "peer", peer, "repeats_per_second", e.Rate)
		case storm.Cut:
			log.Warn("storm cut: a peer returns what it is sent", "peer", peer,
				"repeats_per_second", e.Rate, "hint", advice[DropStorm])
		case storm.Released:
			log.Info("storm over: the peer is no longer cut", "peer", peer,
				"dropped", e.Dropped, "after", e.For.Round(time.Millisecond))
		case storm.Talking:
			log.Warn("two peers answer each other, perhaps in a loop", "peer", peer, "other", e.Other,
				"datagrams_per_second", e.Rate, "hint", talkAdvice)
		}
	}
}

// talkAdvice is what an operator can do about two peers that answer each other.
const talkAdvice = "if this is not intended, stop one of them; limits.peer_datagrams_per_second bounds it"

// A Talk is two peers that answer each other, see [storm.Talk].
type Talk = storm.Talk

// Talks returns the pairs of peers that answer each other at the moment, more
// than a thousand times per second, with payloads that differ: perhaps in a
// loop, which the relay cannot tell from a conversation, and leaves alone. Any
// goroutine may call it.
func (r *Relay) Talks() []Talk { return r.storms.watch.Talks() }
