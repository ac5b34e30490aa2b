package relay

import (
	"net/netip"
	"time"

	"udprelay/peers"
)

// A Member is a link that is a peer: a client of a gateway, at the other end of
// a connection. It is judged, limited, counted, held and listed as every peer.
//
// What it is handed by Deliver it must account for, sooner or later, by
// [Attachment.Delivered] and [Attachment.Dropped].
type Member interface {
	Link

	// Gone is called once, when the peer has left the table of peers, whatever
	// the reason: it was kicked or banned, new rules do not let it in, or it
	// was detached. It must not wait, nor call a method of the relay, of its
	// table or of an Attachment.
	Gone()
}

// Member returns a place for m, which it takes by [Attachment.Admit].
func (e *Entrance) Member(m Member) *Attachment {
	return &Attachment{relay: e.relay, link: m, entrance: e}
}

// Admit makes a member, at the other end of a connection from addr, a peer of
// the relay, if it may be one; see [peers.Table.Connect]. Else the verdict says
// why, and it may be tried again. Who is admitted is to be detached when the
// connection has ended. Any goroutine may call it, but one after the other.
func (a *Attachment) Admit(addr netip.AddrPort, transport peers.Transport, proof peers.Join) peers.Verdict {
	r := a.relay
	member := a.link.(Member)
	gone := func() {
		a.detached.Store(true)
		member.Gone()
	}
	r.attachMu.Lock() // or the members would not be in the order of their numbers
	defer r.attachMu.Unlock()
	p, verdict, _ := r.table.Connect(unmap(addr), transport, time.Now(), proof, gone)
	if verdict.Refused() {
		return verdict
	}
	a.peer = p
	r.storeAttached(func(now *attached) { now.members = append(now.members, a) })
	r.log.Debug("peer joined", "peer", p.Addr(), "transport", transport)
	return verdict
}

// Peer returns the peer that a member is once it is admitted, and nil for other
// links.
func (a *Attachment) Peer() *peers.Peer { return a.peer }

// Delivered counts datagrams, with so many bytes of payload in all, that a
// member was handed and has given to the kernel. Any goroutine may call it, also
// when the member is detached.
func (a *Attachment) Delivered(datagrams, bytes int) {
	a.relay.counters.delivered.Add(uint64(datagrams))
	a.relay.counters.deliveredBytes.Add(uint64(bytes))
	a.peer.Path.Counts.Delivered.Add(uint64(datagrams))
	a.peer.Path.Counts.DeliveredBytes.Add(uint64(bytes))
}

// Dropped counts datagrams that a member was handed and that do not leave for
// it, for a reason that is one [Drop.OnTheWayOut]. Any goroutine may call it,
// also when the member is detached.
func (a *Attachment) Dropped(reason Drop, datagrams int) {
	if datagrams > 0 {
		a.dropped(reason, datagrams)
	}
}

// dropped is Dropped. A tally needs stack, which those who call only in case
// should not have to keep.
func (a *Attachment) dropped(reason Drop, datagrams int) {
	t := tally{at: a.relay.since(time.Now())}
	t.dropOf(a.peer, reason, datagrams)
	a.relay.counters.publish(&t)
}

// seat notes which members are to get the batch.
func (r *Relay) seat(b *batch) {
	clear(b.members)
	b.members = b.members[:0]
	now := r.attached.Load()
	if now == nil {
		return
	}
	for _, m := range now.members {
		if m.peer.MayReceive() && !m.detached.Load() {
			b.members = append(b.members, m)
		}
	}
}
