package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

const (
	// A connection that is lost is made again after leastPause, and after twice
	// as long each time that fails, up to mostPause, give or take a half at
	// random.
	leastPause = 250 * time.Millisecond
	mostPause  = 15 * time.Second

	// settleAfter is how long a connection has to last, unless a payload comes
	// over it, for the client to be let in as far as is known: a relay that does
	// not want a client ends its connection at once.
	settleAfter = time.Second

	// writeWithin is how long a relay may take nothing of what is sent to it.
	writeWithin = 10 * time.Second

	// closeWithin is how long what has been sent may take to arrive when the
	// client closes.
	closeWithin = time.Second
)

// A wire is one connection to a relay. Calls of receive do not overlap, nor do
// those of send, but receive, send and close may.
type wire interface {
	// receive waits for a datagram and returns its length; what does not fit is
	// lost.
	receive(datagram []byte) (int, error)

	// send sends a datagram. It takes at most writeWithin, after which the wire
	// is of no more use.
	send(payload []byte) error

	// close waits until the relay has got what was sent, at most until a time,
	// and ends calls of receive and send that wait.
	close(until time.Time)
}

// What connection.Read and connection.Write return besides datagrams.
var (
	errAway = errors.New("the connection is lost")      // from Read once for each loss
	errBack = errors.New("there is another connection") // from Read once; resume lets it be written to
)

// A connection is the conn of a client that reaches its relay by connections,
// each made when the one before is lost.
type connection struct {
	// Never change after newConnection.
	relay   string
	dial    func(context.Context) (wire, error)
	jitter  func(time.Duration) time.Duration
	changed func()          // Lost returns something else
	ctx     context.Context // done: it is closed
	cancel  context.CancelFunc
	wake    chan struct{} // holds one; for Read
	running sync.WaitGroup
	once    sync.Once // Close

	mu       sync.Mutex // guards what follows
	wire     wire       // nil: there is none
	usable   bool       // resume has been called
	settled  bool       // the client is in, as far as is known
	settling *time.Timer
	pause    time.Duration // before the next try
	lost     *LostError    // nil: nothing is lost, or it has been made good
	away     bool          // Read has to return errAway
	back     bool          // and errBack
}

// newConnection returns the connection that goes on with first, which was made
// by dial. Calls of changed come from any goroutine.
func newConnection(relay string, first wire, dial func(context.Context) (wire, error), jitter func(time.Duration) time.Duration, changed func()) *connection {
	c := &connection{relay: relay, dial: dial, jitter: jitter, changed: changed, wake: make(chan struct{}, 1), usable: true, pause: leastPause}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.use(first)
	return c
}

// use makes w the wire. The caller holds mu, or is newConnection.
func (c *connection) use(w wire) {
	c.wire, c.settled = w, false
	c.settling = time.AfterFunc(settleAfter, func() { c.settle(w) })
}

// settle notes that the client is in, over w unless that is nil.
func (c *connection) settle(w wire) {
	c.mu.Lock()
	if c.settled || c.wire == nil || w != nil && w != c.wire {
		c.mu.Unlock()
		return
	}
	c.settled, c.pause = true, leastPause
	c.settling.Stop()
	regained := c.lost != nil
	c.lost = nil
	c.mu.Unlock()
	if regained {
		c.changed()
	}
}

// lostError returns why there is no connection that lasts, or nil.
func (c *connection) lostError() *LostError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

// Read waits for a datagram. It returns errAway after a connection was lost, and
// errBack when there is another one.
func (c *connection) Read(datagram []byte) (int, error) {
	for {
		c.mu.Lock()
		w, away, back := c.wire, c.away, c.back
		c.away = false
		c.back = back && away
		c.mu.Unlock()
		switch {
		case c.ctx.Err() != nil:
			return 0, net.ErrClosed
		case away:
			return 0, errAway
		case back:
			return 0, errBack
		case w == nil:
			select {
			case <-c.wake:
			case <-c.ctx.Done():
			}
			continue
		}
		n, err := w.receive(datagram)
		if err == nil {
			return n, nil
		}
		c.lose(w, err)
	}
}

// Write sends a datagram, or returns errAway: it may not have arrived.
func (c *connection) Write(payload []byte) (int, error) {
	c.mu.Lock()
	w, usable := c.wire, c.usable
	c.mu.Unlock()
	switch {
	case c.ctx.Err() != nil:
		return 0, net.ErrClosed
	case w == nil || !usable:
		return 0, errAway
	}
	if err := w.send(payload); err != nil {
		c.lose(w, err)
		return 0, errAway
	}
	return len(payload), nil
}

// resume lets Write write to the connection that Read has told of.
func (c *connection) resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.usable = c.wire != nil && !c.away
}

// lose notes that w is lost, and begins to make another one.
func (c *connection) lose(w wire, err error) {
	c.mu.Lock()
	if c.wire != w || c.ctx.Err() != nil {
		c.mu.Unlock()
		return
	}
	c.settling.Stop()
	problem, hint := explain(err)
	c.lost = &LostError{Relay: c.relay, Problem: problem, Hint: hint, TurnedAway: !c.settled}
	switch {
	case c.lost.TurnedAway && hint == "":
		c.lost.Hint = turnedAwayHint
	case !c.lost.TurnedAway && hint == turnedAwayHint:
		c.lost.Hint = "" // it did let it in
	}
	c.wire, c.usable, c.away, c.back = nil, false, true, false
	c.running.Go(func() {
		w.close(time.Now())
		c.again()
	})
	c.mu.Unlock()
	signal(c.wake)
	c.changed()
}

// again dials until there is a connection, or c is closed.
func (c *connection) again() {
	for c.waitOut() {
		w, err := c.dial(c.ctx)
		c.mu.Lock()
		if c.ctx.Err() != nil {
			c.mu.Unlock()
			if err == nil {
				w.close(time.Now())
			}
			return
		}
		if err == nil {
			c.use(w)
			c.back = true
			c.mu.Unlock()
			signal(c.wake)
			return
		}
		if failed := (*ConnectError)(nil); errors.As(err, &failed) {
			c.lost = &LostError{Relay: c.relay, Problem: failed.Problem, Hint: failed.Hint}
		}
		c.mu.Unlock()
	}
}

// waitOut waits for the pause before a try, and reports whether c is still open.
func (c *connection) waitOut() bool {
	c.mu.Lock()
	timer := time.NewTimer(c.jitter(c.pause))
	c.pause = min(2*c.pause, mostPause)
	c.mu.Unlock()
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// Close ends the connection, once the relay has got what was sent or a second
// has passed. The error is nil.
func (c *connection) Close() error {
	c.once.Do(func() {
		c.mu.Lock()
		c.cancel()
		w := c.wire
		c.settling.Stop()
		c.mu.Unlock()
		if w != nil {
			w.close(time.Now().Add(closeWithin))
		}
		c.running.Wait()
	})
	return nil
}
