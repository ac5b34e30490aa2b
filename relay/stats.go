package relay

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"udprelay/peers"
)

// A Drop is a reason why a datagram did not arrive.
type Drop uint8

const (
	// On the way in, counted once a datagram.

	DropRule             Drop = iota // no access rule lets its sender in
	DropBanned                       // its sender is banned
	DropTableFull                    // its sender is unknown and the table of peers is full
	DropAddressFull                  // its sender is unknown and its address has too many peers
	DropNeverAPeer                   // its sender can be no peer: port 0, multicast, the relay itself, …
	DropMayNotSend                   // its sender may only receive
	DropUnproven                     // its sender has to prove itself first
	DropBadProof                     // it is a proof that is forged, replayed, too old or not whole
	DropJoinRate                     // its sender is unknown, and too many join at the moment
	DropPeerRate                     // its sender is over Limits.PeerDatagrams or PeerBytes
	DropStorm                        // it goes round in a loop: its sender brings back what was relayed already
	DropWithheld                     // it is one of a few that are withheld to find out whether it goes round in a loop
	DropOverload                     // more comes in than can leave, and its sender is over its fair share
	DropReceiveQueueFull             // the kernel's receive queue was full, or, seldom, the checksum was wrong

	// On the way out, counted once a receiver.

	DropEgressLimit  // the relay is over Limits.EgressBytes
	DropQuarantined  // the network says that the receiver cannot be reached
	DropTooBig       // longer than the way to the receiver can carry (EMSGSIZE)
	DropFiltered     // a firewall on this machine forbids it (EPERM)
	DropUnreachable  // no route to the receiver (ENETUNREACH, EHOSTUNREACH, …)
	DropNoBuffer     // the kernel's send buffer, or its table of neighbours, was full (EAGAIN, ENOBUFS)
	DropQueueFull    // the receiver is connected to a gateway, and too slow: its queue was full
	DropDisconnected // the connection of the receiver ended before it was sent
	DropStopped      // the relay was stopped, and there was no time left for it
	DropSendFailed   // any other error of the send call

	drops
)

// Each peer has room to count all of them.
const _ = uint(peers.DropReasons - drops)

// String returns the reason as one word, as metrics and logs name it.
func (d Drop) String() string {
	return [drops]string{
		"rule", "banned", "table_full", "address_full", "never_a_peer", "may_not_send",
		"unproven", "bad_proof", "join_rate", "peer_rate", "storm", "withheld", "overload", "receive_queue_full",
		"egress_limit", "quarantined", "too_big", "filtered", "unreachable", "no_buffer", "queue_full", "disconnected", "stopped", "send_failed",
	}[d]
}

// OnTheWayOut reports whether drops of this reason are counted once a receiver,
// not once a datagram.
func (d Drop) OnTheWayOut() bool { return d >= DropEgressLimit }

// Drops returns every reason there is.
func Drops() []Drop {
	list := make([]Drop, drops)
	for i := range list {
		list[i] = Drop(i)
	}
	return list
}

// Stats are counts since the relay was made. When nothing is under way, two
// equations hold to the datagram:
//
//	Received = KeepAlives + the drops on the way in, but DropReceiveQueueFull + Relayed
//	Due      = Delivered + the drops on the way out
//
// In the first each datagram counts once. In the second each counts once for
// every receiver that it was to reach: for each datagram of Relayed, the peers
// that may receive at that moment, but its origin if that is one of them. What
// links bring is received and relayed as what peers send is; what they are
// handed is no part of the second equation, for a [Link] takes all of it, unless
// it is a [Member], which is one of the receivers. The
// drops in the receive queue were never received, and an answer to a sender
// that has to prove itself is not delivered. See [Drop.OnTheWayOut].
//
// The counts of a batch appear one after the other when it has left.
type Stats struct {
	Received, ReceivedBytes   uint64 // datagrams and payload bytes that came in, whatever became of them; bytes lack what the kernel keeps out in an overload
	KeepAlives                uint64 // of Received, the empty ones and the proofs that let their senders join
	Relayed                   uint64 // of Received, those that were to be sent: admitted, within Limits.PeerDatagrams and PeerBytes, and cut by no storm; some may be over Limits.EgressBytes
	NoReceiver                uint64 // of Relayed, those that there was no receiver for
	Due                       uint64 // receivers that the datagrams of Relayed were to reach
	Delivered, DeliveredBytes uint64 // datagrams and payload bytes given to the kernel, once a receiver

	Answers, AnswerBytes uint64 // datagrams and payload bytes sent to those that have to prove themselves
	StrayErrors          uint64 // errors of the network (ICMP) that match nothing that was sent; forged, or late

	Dropped [drops]uint64 // by Drop; Received has no part of DropReceiveQueueFull

	// Reported counts what the network reported about datagrams of Delivered, by
	// Report. It is no part of the equations: the network may report one twice,
	// and does not report all that it loses.
	Reported [reports]uint64
}

// A tally is what one goroutine has counted and not yet published.
type tally struct {
	Stats
	whom [drops]netip.AddrPort // whom the last drop of each kind met
	at   int64                 // when the batch in hand came, in nanoseconds since the relay was made
}

// drop counts n datagrams that were dropped, for a reason, coming from or
// going to whom.
func (t *tally) drop(reason Drop, n int, whom netip.AddrPort) {
	t.Dropped[reason] += uint64(n)
	t.whom[reason] = whom
}

// dropOf is drop for datagrams of p or for p, and counts them there as well.
func (t *tally) dropOf(p *peers.Peer, reason Drop, n int) {
	t.drop(reason, n, p.Addr())
	p.Path.Counts.Drop(int(reason), uint64(n), t.at)
}

// dropFrom is drop for a datagram that came from an address, and counts it for its
// origin as well; nil: a link brought it.
func (t *tally) dropFrom(from netip.AddrPort, origin *peers.Peer, reason Drop) {
	t.drop(reason, 1, from)
	if origin != nil {
		origin.Path.Counts.Drop(int(reason), 1, t.at)
	}
}

// add adds what another tally has.
func (t *tally) add(other *tally) {
	t.Delivered += other.Delivered
	t.DeliveredBytes += other.DeliveredBytes
	for reason, n := range other.Dropped {
		if n > 0 {
			t.Dropped[reason] += n
			t.whom[reason] = other.whom[reason]
		}
	}
}

// due counts what is to be relayed to receivers.
func (t *tally) due(b *batch, receivers []*peers.Peer) {
	others := counting{receivers: receivers, members: b.members}
	for _, origin := range b.origins {
		to := others.than(origin)
		t.Due += uint64(to)
		if to == 0 {
			t.NoReceiver++
		}
	}
	t.Relayed += uint64(len(b.datagrams))
}

// unaccounted returns how many deliveries were due that are neither delivered
// nor dropped.
func (t *tally) unaccounted() int {
	left := t.Due - t.Delivered
	for reason := DropEgressLimit; reason < drops; reason++ {
		left -= t.Dropped[reason]
	}
	return int(left)
}

// counters are published tallies.
type counters struct {
	received, receivedBytes, keepAlives, relayed, noReceiver, due, delivered, deliveredBytes, answers, answerBytes, strayErrors atomic.Uint64

	dropped  [drops]atomic.Uint64
	reported [reports]atomic.Uint64 // counted at once, for no batch may follow

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
	add(&c.receivedBytes, t.ReceivedBytes)
	add(&c.keepAlives, t.KeepAlives)
	add(&c.relayed, t.Relayed)
	add(&c.noReceiver, t.NoReceiver)
	add(&c.due, t.Due)
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
	// Last, and Stats reads it first: what is received shows with what became of it.
	add(&c.received, t.Received)
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
		Relayed: c.relayed.Load(), NoReceiver: c.noReceiver.Load(), Due: c.due.Load(),
		Delivered: c.delivered.Load(), DeliveredBytes: c.deliveredBytes.Load(),
		Answers: c.answers.Load(), AnswerBytes: c.answerBytes.Load(), StrayErrors: c.strayErrors.Load(),
	}
	for i := range s.Dropped {
		s.Dropped[i] = c.dropped[i].Load()
	}
	for i := range s.Reported {
		s.Reported[i] = c.reported[i].Load()
	}
	return s
}

// Buffers are those of the socket, in bytes as the kernel counts them: with its
// own bookkeeping, which is more than the payload (socket(7)). All are 0 where
// the system does not say (Linux before 4.12, other systems).
type Buffers struct {
	Receive, ReceiveUsed int // what may wait to be received, and what does
	Send, SendUsed       int // what may wait to leave, and what does
}

// Buffers returns how full the buffers of the socket are. Any goroutine may call
// it.
func (r *Relay) Buffers() Buffers { return r.socket.buffers() }
