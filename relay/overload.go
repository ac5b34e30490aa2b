package relay

import (
	"net/netip"
	"sync/atomic"
	"time"

	"udprelay/internal/fairqueue"
	"udprelay/peers"
)

// To receive a datagram costs little and to send it to everyone much. When more
// comes in than can leave, the kernel's receive queue fills up and loses
// datagrams without regard to their origin: one peer that floods the relay would
// cost all others most of theirs. So before that happens, what waits in the
// kernel is received and waits in a queue that divides what can leave fairly
// among the origins. Until it is empty again, the socket is read whenever a few
// messages have been sent, so that nothing is lost in the kernel.
//
// Without overload all this costs nothing: datagrams leave from where they were
// received.

const (
	// overloadBytes bounds the payload of a batch that comes from the backlog.
	overloadBytes = 1 << 20

	// maxTakeIn is how many batches are received before some are sent.
	maxTakeIn = 16
)

// A backlog is what was received and waits for its turn to be sent. It belongs
// to the goroutine that receives.
type backlog struct {
	queue    *fairqueue.Queue[*peers.Peer] // nil: it was never needed
	payloads []byte                        // of the batch that is being sent
	received *batch                        // what is received meanwhile
	charge   func(origin *peers.Peer, datagrams int)
	takeIn   func() // Relay.takeIn

	balancing atomic.Bool // there are datagrams or limits, or were lately
	balanced  int64       // when the limits were adjusted
}

// waiting reports whether there is an overload.
func (l *backlog) waiting() bool { return l.queue != nil && l.queue.Len() > 0 }

// add adds the datagrams of b.
func (l *backlog) add(b *batch) {
	for i, d := range b.datagrams {
		origin := b.origins[i]
		l.queue.Push(origin.Addr(), d.From.Port(), origin, d.Payload)
	}
}

// next fills b with those whose turn it is.
func (l *backlog) next(b *batch, at int64) {
	b.reset()
	b.at = at
	l.payloads = l.payloads[:0]
	for l.waiting() && len(b.datagrams) < maxBatch && len(l.payloads) < overloadBytes {
		begin := len(l.payloads)
		from, origin, payloads := l.queue.Next(l.payloads)
		l.payloads = payloads
		b.datagrams = append(b.datagrams, Datagram{Payload: payloads[begin:len(payloads):len(payloads)], From: from})
		b.origins = append(b.origins, origin)
		b.speaks(origin)
	}
}

// makeBacklog makes a backlog that holds so many bytes.
func (r *Relay) makeBacklog(bytes int) {
	l, t := &r.receiving.backlog, &r.receiving.tally
	l.queue = fairqueue.New(bytes, func(origin *peers.Peer, datagrams int) {
		t.dropOf(origin, DropOverload, datagrams)
	})
	l.charge = func(origin *peers.Peer, datagrams int) {
		t.Received += uint64(datagrams)
		origin.Path.Counts.Received.Add(uint64(datagrams))
		t.dropOf(origin, DropOverload, datagrams)
	}
	l.payloads = make([]byte, 0, overloadBytes+maxDatagram)
	l.received = newBatch()
	l.takeIn = r.takeIn
}

// overloaded adds what was received last to the backlog, and makes one if need be.
func (r *Relay) overloaded(b *batch) {
	l := &r.receiving.backlog
	if l.queue == nil {
		// As much as the kernel has room for, so that nothing is lost that it
		// would have kept.
		r.makeBacklog(r.socket.buffers().Receive)
	}
	if !l.balancing.Load() {
		l.balancing.Store(true)
		l.balanced = b.at
	}
	l.add(b)
}

// balance adjusts what is let in of those that send too much, if it is time.
func (r *Relay) balance(now time.Time) {
	l, at := &r.receiving.backlog, r.since(now)
	if !l.balancing.Load() || at-l.balanced < int64(fairqueue.AdjustEvery) {
		return
	}
	limits := l.queue.Adjust(time.Duration(at-l.balanced), r.chargeKeptOut(at))
	l.balanced = at
	if !r.socket.limit(limits) {
		limits = nil
	}
	l.balancing.Store(len(limits) > 0 || l.waiting())
}

// chargeKeptOut counts what the limits have kept out, and returns how it stands
// with the receive queue.
func (r *Relay) chargeKeptOut(at int64) fairqueue.Outside {
	l, t := &r.receiving.backlog, &r.receiving.tally
	t.at = at
	keptOut, outside := r.socket.pressure()
	if left := l.queue.Charge(int(keptOut), l.charge); left > 0 {
		t.Received += uint64(left)
		t.drop(DropOverload, left, netip.AddrPort{})
	}
	return outside
}

// liftLimits removes the limits: another relay may have the socket next.
func (r *Relay) liftLimits() {
	if r.receiving.backlog.balancing.Load() {
		r.socket.limit(nil)
		r.chargeKeptOut(r.since(time.Now()))
		r.counters.publish(&r.receiving.tally)
	}
}

// takeIn adds to the backlog what waits in the kernel. It is called while there
// is an overload, also by a sender within a batch.
func (r *Relay) takeIn() {
	l, now := &r.receiving.backlog, time.Now()
	r.balance(now)
	for range maxTakeIn {
		b := l.received
		b.reset()
		r.socket.poll(b)
		count := len(b.datagrams)
		if count > 0 {
			r.admit(b, now, &r.receiving.tally)
			l.add(b)
		}
		if count < maxBatch {
			return
		}
	}
}
