package gateway

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"udprelay/internal/framing"
	"udprelay/peers"
	"udprelay/relay"
)

const (
	// stuckAfter is how long a client may take nothing of what is sent to it.
	stuckAfter = 10 * time.Second

	// flushWithin is how long a client has to take what waits for it when its
	// connection ends.
	flushWithin = time.Second

	// leaveWithin is how long all of that may take when the gateway is closed:
	// a stop of the relay must not depend on its clients.
	leaveWithin = 80 * time.Millisecond

	// lingerWithin is how long a client that goes on sending is then waited for
	// to take note of the end.
	lingerWithin = 300 * time.Millisecond

	// maxBatch is how many datagrams of a client are relayed together, if so
	// many are there; minBatch what there is always room for.
	maxBatch = 64
	minBatch = 4

	// pieceSize is how many bytes of what waits are sent, and then counted, at
	// once.
	pieceSize = 64 << 10
)

// A wire is the connection to a client. Receive is called by one goroutine and
// send by one, which may be another.
type wire interface {
	// receive waits for a datagram, and appends it and those that are there
	// already to batch, up to its capacity. They are good until the next call.
	// The error is io.EOF when the client has said that nothing more comes,
	// BadFrame when it has said something that is none.
	receive(batch []relay.Datagram) ([]relay.Datagram, error)

	// send writes frames, and returns how many bytes of them have left, in whole
	// frames. It gives up when the client takes nothing for stuckAfter, with
	// os.ErrDeadlineExceeded.
	send(frames []byte) (sent int, err error)

	// close ends the connection at once, and calls of receive and send that
	// wait. Why is told to the client where the protocol has a word for it. Any
	// goroutine may call it, also again.
	close(why Reason)

	// abort cuts the connection, also while close waits for the client. Any
	// goroutine may call it.
	abort()
}

// A client is one that is connected, and a [relay.Member] once it is admitted.
type client struct {
	gateway   *Gateway
	wire      wire
	addr      netip.AddrPort
	transport peers.Transport
	way       way
	encrypted bool
	shown     []byte // the secret, if it came with the handshake
	queue     *queue
	heard     atomic.Int64  // when it sent something last, as Gateway.now returns it
	refused   peers.Verdict // why it was not let in, if it was not

	ctx context.Context // done: it is to end, and the cause is a Reason
	end context.CancelCauseFunc

	place *relay.Attachment
}

// newClient returns the client at the other end of a wire.
func (l *listener) newClient(w wire, addr netip.AddrPort, transport peers.Transport) *client {
	g := l.gateway
	c := &client{gateway: g, wire: w, way: l.way, addr: addr, transport: transport, queue: newQueue(g.options.Load().Queue)}
	c.encrypted = transport == peers.TLS || transport == peers.SecureWebSocket
	c.ctx, c.end = context.WithCancelCause(context.Background())
	c.place = g.entrance.Member(c)
	c.heard.Store(g.now())
	return c
}

// Name implements [relay.Link].
func (c *client) Name() string { return c.transport.String() }

// Deliver implements [relay.Link].
func (c *client) Deliver(batch []relay.Datagram) {
	full, tooBig := c.queue.add(batch)
	if full > 0 {
		why := relay.DropQueueFull
		if c.ctx.Err() != nil {
			why = relay.DropDisconnected
		}
		c.place.Dropped(why, full)
	}
	c.place.Dropped(relay.DropTooBig, tooBig)
}

// Gone implements [relay.Member].
func (c *client) Gone() { c.end(TakenOut) }

// why returns why the client has ended, which it has.
func (c *client) why() Reason {
	why := Broken
	errors.As(context.Cause(c.ctx), &why)
	return why
}

// run serves the client until its connection has ended, and returns why it has.
func (c *client) run() Reason {
	proving := context.AfterFunc(c.ctx, func() { c.wire.close(c.why()) })
	why := c.prove()
	proving()
	if why != 0 {
		c.end(why)
		c.wire.close(c.why())
		return c.why()
	}
	// What waits for it is written, if the end is a graceful one, before the
	// connection is closed, which ends the reading.
	var flushing *time.Timer
	ended := make(chan struct{})
	context.AfterFunc(c.ctx, func() {
		defer close(ended)
		c.place.Detach()
		if !c.why().graceful() {
			c.wire.close(c.why())
			return
		}
		flushing = time.AfterFunc(flushWithin, func() { c.wire.close(c.why()) })
	})
	var reading sync.WaitGroup
	reading.Go(c.read) // its stack stays small, for this one has done much already
	c.write()
	reading.Wait()
	<-ended
	if flushing != nil {
		flushing.Stop()
	}
	return c.why()
}

// read brings what the client sends until nothing more comes.
func (c *client) read() {
	batch := make([]relay.Datagram, 0, minBatch)
	for {
		var err error
		batch, err = c.wire.receive(batch[:0])
		if len(batch) > 0 {
			c.heard.Store(c.gateway.now())
			if lost := c.place.Bring(batch); errors.Is(lost, relay.ErrDetached) {
				c.end(TakenOut) // if it has not ended already, and so was detached
				return
			} else if lost != nil {
				c.end(Stopped)
				return
			}
		}
		if err != nil {
			c.end(reasonOf(err))
			return
		}
		batch = resized(batch)
	}
}

// resized returns room for the next batch: more if this one was full, less if
// it was nearly empty, for most clients say little most of the time.
func resized(batch []relay.Datagram) []relay.Datagram {
	switch room := cap(batch); {
	case len(batch) == room && room < maxBatch:
		return make([]relay.Datagram, 0, 4*room)
	case len(batch) < room/16:
		return make([]relay.Datagram, 0, room/4)
	}
	return batch
}

// write writes what waits until the connection ends.
func (c *client) write() {
	for ended := false; !ended; {
		select {
		case <-c.queue.more:
		case <-c.ctx.Done():
			c.queue.close() // nothing comes after what is taken now
			ended = true
		}
		frames := c.queue.take()
		lost := ended && !c.why().graceful()
		for len(frames) > 0 && !lost {
			piece := frames[:pieceOf(frames)]
			sent, err := c.wire.send(piece)
			c.place.Delivered(framing.Count(piece[:sent]))
			c.queue.sent(sent)
			frames = frames[sent:]
			if lost = err != nil; lost {
				c.end(reasonOf(err))
			}
		}
		left, _ := framing.Count(frames)
		c.place.Dropped(relay.DropDisconnected, left)
		c.queue.sent(len(frames))
		c.queue.release()
	}
	c.wire.close(c.why())
}

// pieceOf returns how many bytes the first of frames have that are to be sent
// together: as many as fit into pieceSize, at least one. Frames are whole.
func pieceOf(frames []byte) (size int) {
	for {
		_, rest, more := framing.Next(frames[size:])
		next := len(frames) - len(rest)
		if !more || size > 0 && next > pieceSize {
			return size
		}
		size = next
	}
}

// reasonOf says what an error of a wire means.
func reasonOf(err error) Reason {
	why := Broken
	switch {
	case errors.As(err, &why):
	case errors.Is(err, io.EOF):
		why = Left
	case errors.Is(err, os.ErrDeadlineExceeded):
		why = Stuck
	}
	return why
}
