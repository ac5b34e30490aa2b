package relay

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// stopGrace is how long what was received before a stop may take to leave. What
// is left then is dropped and counted.
const stopGrace = time.Second

// A waker makes a receive that waits return: once, or for good when the relay
// is stopped. It does so by deadlines, which cost a receive nothing. The zero
// waker never wakes anyone.
type waker struct {
	stopBy atomic.Pointer[time.Time] // until when what is in hand is sent; nil: there is no stop

	mu          sync.Mutex // held while the deadline changes
	setDeadline func(time.Time) error
}

// longAgo is a deadline that is over.
var longAgo = time.Unix(1, 0)

// interrupt wakes who receives, now and from then on. What is in hand is sent
// until sendBy, of the first call.
func (w *waker) interrupt(sendBy time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopBy.CompareAndSwap(nil, &sendBy)
	w.setDeadline(longAgo)
}

// wake wakes who receives, once.
func (w *waker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.setDeadline(longAgo)
}

// goesOn is for who was woken, and reports whether it may receive again.
func (w *waker) goesOn() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopBy.Load() == nil && w.setDeadline(time.Time{}) == nil
}

// over reports whether the relay is stopped and nothing is to be sent any more.
func (w *waker) over() bool {
	by := w.stopBy.Load()
	return by != nil && time.Now().After(*by)
}

// A turn is something that the receiving loop is asked to answer.
type turn struct{ done chan struct{} }

// Turns are what the receiving loop is asked. Any goroutine may ask; the one of
// the loop answers, and nobody else.
type turns struct {
	asked atomic.Pointer[turn] // nearly always nil

	// meanwhile is called within batches, if it is not nil: in an overload. It
	// belongs to the loop.
	meanwhile func()
}

// ask returns a turn that is yet to be answered.
func (t *turns) ask() *turn {
	for {
		if asked := t.asked.Load(); asked != nil {
			return asked
		}
		mine := &turn{make(chan struct{})}
		if t.asked.CompareAndSwap(nil, mine) {
			return mine
		}
	}
}

// answer answers who has asked, if anyone has: the loop goes on. Nobody asks
// nil, which is what a sender has that is not of the loop.
func (t *turns) answer() {
	if t != nil && t.asked.Load() != nil {
		close(t.asked.Swap(nil).done)
	}
}

// between is called by the loop within a batch that takes long.
func (t *turns) between() {
	t.answer()
	if t != nil && t.meanwhile != nil {
		t.meanwhile()
	}
}

// Turn returns nil when the loop that receives and sends has gone on, which
// shows that it is alive: it has come round once more or, within a batch for
// very many receivers, which may take many seconds, has dealt with some more of
// them. It wakes the loop if it waits for datagrams, and disturbs it hardly if
// it does not. If the loop hangs, in a send or in a [Link], or Run was not
// called yet, the error is that of ctx when it ends; if Run has ended,
// [net.ErrClosed]. What links bring does not count. Any goroutine may call it.
func (r *Relay) Turn(ctx context.Context) error {
	asked := r.turns.ask()
	r.socket.wake()
	select {
	case <-asked.done:
		return nil
	case <-r.ended:
		return net.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A bringing is what links bring at the moment.
type bringing struct {
	mu    sync.Mutex
	count int           // calls of Bring
	idle  chan struct{} // closed when there are none; nil: the relay is not stopped
}

// begin reports whether the relay takes what a link brings. If so, end must be
// called.
func (b *bringing) begin() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.idle != nil {
		return false
	}
	b.count++
	return true
}

func (b *bringing) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.count--; b.count == 0 && b.idle != nil {
		close(b.idle)
	}
}

// stop takes nothing more from links, and waits for what they are bringing, at
// most for limit.
func (b *bringing) stop(limit time.Duration) {
	b.mu.Lock()
	b.idle = make(chan struct{})
	if b.count == 0 {
		close(b.idle)
	}
	b.mu.Unlock()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-b.idle:
	case <-timer.C: // a link hangs
	}
}
