package relay

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// A crew shares out the receivers of each batch among several senders, of which
// the first is the goroutine's that has the batch.
//
// The receivers are cut into small pieces, and each sender takes one after the
// other until none is left. So who wakes late or is slow takes fewer, and nobody
// waits longer than for the piece that another one has in hand. When send
// returns the batch has left for everyone: a receiver gets batches in their
// order, whoever sends them, the crew holds no memory of a batch but the one in
// hand, and nothing is copied.
type crew struct {
	first   sender
	turns   *turns // of the first
	others  []*hand
	working sync.WaitGroup // goroutines of others

	// Of the batch in hand. Whoever has taken a piece may read it.
	batch  *batch
	to     share
	size   int // receivers in a piece
	pieces int

	left   atomic.Int64  // pieces that nobody has taken; 0 or less: none
	taking atomic.Int32  // others that take pieces
	rest   chan struct{} // has an entry when the last of them has stopped
}

// A hand is one of the others of a crew. What it counts belongs to its goroutine
// while it takes pieces, and else to the one that has the batch.
type hand struct {
	sender sender
	wake   chan struct{} // has an entry when there are pieces
	tally  tally
	err    error
}

// newCrew makes one of so many senders as there are. The others work from start
// to stop.
func newCrew(turns *turns, first sender, others ...sender) *crew {
	c := &crew{first: first, turns: turns, rest: make(chan struct{}, 1)}
	for _, s := range others {
		c.others = append(c.others, &hand{sender: s, wake: make(chan struct{}, 1)})
	}
	return c
}

// start starts the others. Without it the first does all.
func (c *crew) start() {
	for _, h := range c.others {
		c.working.Go(func() {
			for range h.wake {
				c.help(h)
			}
		})
	}
}

// stop ends the others. Nothing is sent any more.
func (c *crew) stop() {
	for _, h := range c.others {
		close(h.wake)
	}
	c.working.Wait()
}

const (
	// piecesEach is into how many pieces a sender's even share is cut: it waits
	// for others at the end for no longer than such a part of it.
	piecesEach = 8

	// leastPiece is how many datagrams leave with a piece, at least: to take one
	// costs less than one of them.
	leastPiece = 16
)

// send sends b to everyone in the share, see [sender].
func (c *crew) send(b *batch, to share, t *tally) error {
	c.size = max(1, to.count/(piecesEach*(1+len(c.others))), leastPiece/max(1, len(b.datagrams)))
	if c.pieces = (to.count + c.size - 1) / c.size; c.pieces < 2 || len(c.others) == 0 {
		return c.first.send(b, to, t)
	}
	c.batch, c.to = b, to
	for _, h := range c.others {
		h.tally.at = t.at
	}
	c.left.Store(int64(c.pieces))
	for i := range min(len(c.others), c.pieces-1) {
		select {
		case c.others[i].wake <- struct{}{}:
		default: // it has been told
		}
	}
	err := c.take(c.first, c.turns, t)
	for c.taking.Load() > 0 {
		<-c.rest
	}
	for _, h := range c.others {
		t.add(&h.tally)
		if h.tally = (tally{at: t.at}); err == nil {
			err = h.err
		}
	}
	return err
}

// help takes pieces for h, if there are some.
func (c *crew) help(h *hand) {
	// Before it takes one, so that send waits for it.
	c.taking.Add(1)
	if err := c.take(h.sender, nil, &h.tally); err != nil {
		h.err = err
	}
	if c.taking.Add(-1) == 0 {
		select {
		case c.rest <- struct{}{}:
		default:
		}
	}
}

// take sends piece after piece until none is left, or the socket is closed. What
// it reads of the batch was written before there were pieces left.
func (c *crew) take(s sender, turns *turns, t *tally) error {
	for more := false; ; more = true {
		left := c.left.Add(-1)
		if left < 0 {
			return nil
		}
		at := (c.pieces - 1 - int(left)) * c.size
		piece := c.to.part(at, min(c.size, c.to.count-at))
		piece.more = more
		if err := s.send(c.batch, piece, t); err != nil {
			c.left.Store(0)
			return err
		}
		// With many peers a batch takes long.
		runtime.Gosched()
		turns.between()
	}
}
