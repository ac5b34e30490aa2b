package relay

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"udprelay/peers"
)

// A Link takes part in the relay without being a UDP peer: a cluster, a
// gateway, a recorder.
type Link interface {
	// Name names the link in logs and counters.
	Name() string

	// Deliver is handed each batch that the link did not bring itself. Calls
	// come one at a time, and those with datagrams of one origin in their
	// order. It must not block, for the datapath waits, must neither keep nor
	// change the batch or its payloads, and of an Attachment it may call
	// Delivered and Dropped only.
	Deliver(batch []Datagram)
}

// An Attachment is a link's place in a relay.
type Attachment struct {
	relay    *Relay
	link     Link
	entrance *Entrance
	peer     *peers.Peer // which a member is; nil: the link is none

	deliver  sync.Mutex  // held during Link.Deliver
	detached atomic.Bool // nothing is brought any more, and nothing delivered
}

// An Entrance is where links bring what they have: one batch after the other. A
// link has its own, and the members of a gateway share one.
type Entrance struct {
	relay *Relay

	mu     sync.Mutex // guards what follows
	batch  *batch
	sender sender
	tally  tally
}

// Entrance returns a new one, for members.
func (r *Relay) Entrance() *Entrance {
	return &Entrance{relay: r, batch: newBatch(), sender: r.socket.newSender(nil)}
}

// attached is all that is.
type attached struct {
	links   []*Attachment // those that are no peers
	members []*Attachment // the others, in ascending order of number
}

// ErrDetached is returned to a link that brings datagrams to a relay that it
// has left.
var ErrDetached = errors.New("the link is detached from the relay")

// Attach makes l part of the relay.
func (r *Relay) Attach(l Link) *Attachment {
	a := &Attachment{relay: r, link: l, entrance: r.Entrance()}
	r.attachMu.Lock()
	defer r.attachMu.Unlock()
	r.storeAttached(func(now *attached) { now.links = append(now.links, a) })
	return a
}

// Detach takes the link out of the relay; a member leaves the table of peers,
// too. When it returns, Deliver is not running and will not be called again.
func (a *Attachment) Detach() {
	a.deliver.Lock()
	a.detached.Store(true)
	a.deliver.Unlock()

	r := a.relay
	r.attachMu.Lock()
	defer r.attachMu.Unlock()
	if now := r.attached.Load(); now == nil || !slices.Contains(now.links, a) && !slices.Contains(now.members, a) {
		return // it has been, or was never admitted
	}
	gone := func(other *Attachment) bool { return other == a }
	if a.peer == nil {
		r.storeAttached(func(now *attached) { now.links = slices.DeleteFunc(now.links, gone) })
		return
	}
	r.table.Forget(a.peer)
	r.storeAttached(func(now *attached) { now.members = slices.DeleteFunc(now.members, gone) })
}

// Bring relays datagrams, in order, to every peer and to every other link. What
// a member brings is what its peer sends: it is judged and counted as that, and
// From need not be set. Empty datagrams are passed over; those of a member are
// keep-alives. The payloads are no longer needed when it returns. The error is
// [ErrDetached], or net.ErrClosed if the relay is; a relay that is stopped
// meanwhile takes all that it was brought, see [Relay.Run].
func (a *Attachment) Bring(datagrams []Datagram) error {
	r := a.relay
	a.entrance.mu.Lock()
	defer a.entrance.mu.Unlock()
	if a.detached.Load() {
		return ErrDetached
	}
	if !r.bringing.begin() {
		return net.ErrClosed // also if there is nobody to send to
	}
	defer r.bringing.end()
	for chunk := range slices.Chunk(datagrams, maxBatch) {
		if err := a.bring(chunk, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// bring relays a batch.
func (a *Attachment) bring(datagrams []Datagram, now time.Time) error {
	r, b, t := a.relay, a.entrance.batch, &a.entrance.tally
	b.reset()
	b.at = r.since(now)
	t.at = b.at
	for _, d := range datagrams {
		size := len(d.Payload)
		t.Received++
		t.ReceivedBytes += uint64(size)
		switch {
		case a.peer != nil:
			d.From = a.peer.Addr()
			if !admits(a.peer, size, t) {
				continue
			}
		case size == 0:
			t.KeepAlives++
			continue
		}
		b.datagrams = append(b.datagrams, d)
		b.origins = append(b.origins, a.peer)
	}
	if a.peer != nil {
		r.table.Refresh(a.peer, now)
		a.peer.Path.Counts.Received.Add(t.Received)
		a.peer.Path.Counts.ReceivedBytes.Add(t.ReceivedBytes)
		b.speaks(a.peer)
	}
	r.filter(b, false, t)
	return r.relay(b, a.entrance.sender, a, t)
}

// handOver gives the batch to its members and to every link, but the one that
// brought it.
func (r *Relay) handOver(b *batch, brought *Attachment, t *tally) {
	for _, m := range b.members {
		if m == brought {
			continue
		}
		if reason, out := b.leavesOut(m.peer); out {
			t.dropOf(m.peer, reason, len(b.datagrams))
		} else if !m.hand(b) {
			t.dropOf(m.peer, DropDisconnected, len(b.datagrams))
		}
	}
	for _, a := range r.links() {
		if a != brought {
			a.hand(b)
		}
	}
}

// hand hands the batch to the link, and reports whether it is attached.
func (a *Attachment) hand(b *batch) bool {
	a.deliver.Lock()
	defer a.deliver.Unlock()
	if a.detached.Load() {
		return false
	}
	a.link.Deliver(b.datagrams)
	return true
}

func (r *Relay) links() []*Attachment {
	if now := r.attached.Load(); now != nil {
		return now.links
	}
	return nil
}

// storeAttached publishes what change makes of a copy of what is attached. The
// caller holds attachMu.
func (r *Relay) storeAttached(change func(*attached)) {
	now := new(attached)
	if before := r.attached.Load(); before != nil {
		now.links, now.members = slices.Clone(before.links), slices.Clone(before.members)
	}
	change(now)
	r.attached.Store(now)
}
