package relay

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// A Drop is a reason why a datagram did not arrive.
type Drop uint8

const (
	// On the way in, counted once a datagram.

	DropRule             Drop = iota // no access rule lets its sender in
	DropTableFull                    // its sender is unknown and the table of peers is full
	DropAddressFull                  // its sender is unknown and its address has too many peers
	DropNeverAPeer                   // its sender can be no peer: port 0, multicast, the relay itself, …
	DropMayNotSend                   // its sender may only receive
	DropUnproven                     // its sender has to prove itself first
	DropBadProof                     // it is a proof that is forged, replayed, too old or not whole
	DropJoinRate                     // its sender is unknown, and too many join at the moment
	DropPeerRate                     // its sender is over Limits.PeerDatagrams or PeerBytes
	DropStorm                        // it goes round in a loop: its sender brings back what was relayed already
	DropReceiveQueueFull             // the kernel's receive queue was full, or, seldom, the checksum was wrong

	// On the way out, counted once a receiver.

	DropEgressLimit // the relay is over Limits.EgressBytes
	DropQuarantined // the network says that the receiver cannot be reached
	DropHeld        // the receiver is left out for a moment, to see whether it only brings back what it gets
	DropTooBig      // longer than the way to the receiver can carry (EMSGSIZE)
	DropFiltered    // a firewall on this machine forbids it (EPERM)
	DropUnreachable // no route to the receiver (ENETUNREACH, EHOSTUNREACH, …)
	DropNoBuffer    // the kernel's send buffer was full (EAGAIN, ENOBUFS)
	DropStopped     // the relay was stopped, and there was no time left for it
	DropSendFailed  // any other error of the send call

	drops
)

// String returns the reason as one word, as metrics and logs name it.
func (d Drop) String() string {
	return [drops]string{
		"rule", "table_full", "address_full", "never_a_peer", "may_not_send",
		"unproven", "bad_proof", "join_rate", "peer_rate", "storm", "receive_queue_full",
		"egress_limit", "quarantined", "held", "too_big", "filtered", "unreachable", "no_buffer", "stopped", "send_failed",
	}[d]
}

// Drops returns every reason there is.
func Drops() []Drop {
	list := make([]Drop, drops)
	for i := range list {
		list[i] = Drop(i)
	}
	return list
}

// Stats are counts since the relay was made.
type Stats struct {
	Received, ReceivedBytes   uint64 // datagrams and payload bytes that came in, whatever became of them
	KeepAlives                uint64 // of Received, the empty ones and the proofs that let their senders join
	Delivered, DeliveredBytes uint64 // datagrams and payload bytes given to the kernel, once a receiver

	Answers, AnswerBytes uint64 // datagrams and payload bytes sent to those that have to prove themselves
	StrayErrors          uint64 // errors of the network (ICMP) that match nothing that was sent; forged, or late

	Dropped [drops]uint64 // by Drop; Received has no part of DropReceiveQueueFull
}

// A tally is what one goroutine has counted and not yet published.
type tally struct {
	Stats
	whom [drops]netip.AddrPort // whom the last drop of each kind met
}

// drop counts n datagrams that were dropped, for a reason, coming from or
// going to whom.
func (t *tally) drop(reason Drop, n int, whom netip.AddrPort) {
	t.Dropped[reason] += uint64(n)
	t.whom[reason] = whom
}

// counters are published tallies.
type counters struct {
	received, receivedBytes, keepAlives, delivered, deliveredBytes, answers, answerBytes, strayErrors atomic.Uint64

	dropped [drops]atomic.Uint64

	mu   sync.Mutex
	whom [drops]netip.AddrPort // guarded by mu: whom the last drop of each kind met
}

// publish adds t to the counters and empties it. It is called once a batch.
func (c *counters) publish(t *tally) {
	add := func(counter *atomic.Uint64, n uint64) {
		if n != 0 {
			counter.Add(n)
		}
	}
	add(&c.received, t.Received)
	add(&c.receivedBytes, t.ReceivedBytes)
	add(&c.keepAlives, t.KeepAlives)
	add(&c.delivered, t.Delivered)
	add(&c.deliveredBytes, t.DeliveredBytes)
	add(&c.answers, t.Answers)
	add(&c.answerBytes, t.AnswerBytes)
	add(&c.strayErrors, t.StrayErrors)
	for i, n := range t.Dropped {
		if n != 0 {
			c.dropped[i].Add(n)
			c.mu.Lock()
			c.whom[i] = t.whom[i]
			c.mu.Unlock()
		}
	}
	*t = tally{}
}

// lastDropped returns whom the last drop of the kind met, if that is known.
func (c *counters) lastDropped(reason Drop) netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.whom[reason]
}

// Stats returns the counts so far. Those of a batch appear when it has left.
func (r *Relay) Stats() Stats {
	c := &r.counters
	s := Stats{
		Received: c.received.Load(), ReceivedBytes: c.receivedBytes.Load(), KeepAlives: c.keepAlives.Load(),
		Delivered: c.delivered.Load(), DeliveredBytes: c.deliveredBytes.Load(),
		Answers: c.answers.Load(), AnswerBytes: c.answerBytes.Load(), StrayErrors: c.strayErrors.Load(),
	}
	for i := range s.Dropped {
		s.Dropped[i] = c.dropped[i].Load()
	}
	return s
}
