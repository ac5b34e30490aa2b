package relay

import (
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Link takes part in the relay without being a UDP peer: a cluster, a
// gateway, a recorder.
type Link interface {
	// Name names the link in logs and counters.
	Name() string

	// Deliver is handed each batch that the link did not bring itself. Calls
	// come one at a time, and those with datagrams of one origin in their
	// order. It must not block, for the datapath waits, must not call a method
	// of an Attachment, and must neither keep nor change the batch or its
	// payloads.
	Deliver(batch []Datagram)
}

// An Attachment is a link's place in a relay.
type Attachment struct {
	relay *Relay
	link  Link

	deliver  sync.Mutex // held during Link.Deliver
	detached atomic.Bool

	bring  sync.Mutex // held during Bring; guards what follows
	batch  *batch
	sender sender
	tally  tally
}

// ErrDetached is returned to a link that brings datagrams to a relay that it
// has left.
var ErrDetached = errors.New("the link is detached from the relay")

// Attach makes l part of the relay.
func (r *Relay) Attach(l Link) *Attachment {
	a := &Attachment{relay: r, link: l, batch: newBatch(), sender: r.socket.newSender(nil)}
	r.attachMu.Lock()
	defer r.attachMu.Unlock()
	r.storeLinks(append(slices.Clone(r.links()), a))
	return a
}

// Detach takes the link out of the relay. When it returns, Deliver is not
// running and will not be called again.
func (a *Attachment) Detach() {
	a.deliver.Lock()
	a.detached.Store(true)
	a.deliver.Unlock()

	r := a.relay
	r.attachMu.Lock()
	defer r.attachMu.Unlock()
	r.storeLinks(slices.DeleteFunc(slices.Clone(r.links()), func(other *Attachment) bool { return other == a }))
}

// Bring relays datagrams, in order, to every peer and to every other link.
// Empty datagrams are passed over. The payloads are no longer needed when it
// returns. The error is [ErrDetached], or net.ErrClosed if the relay is; a relay
// that is stopped meanwhile takes all that it was brought, see [Relay.Run].
func (a *Attachment) Bring(datagrams []Datagram) error {
	a.bring.Lock()
	defer a.bring.Unlock()
	if a.detached.Load() {
		return ErrDetached
	}
	if !a.relay.bringing.begin() {
		return net.ErrClosed // also if there is nobody to send to
	}
	defer a.relay.bringing.end()
	for chunk := range slices.Chunk(datagrams, maxBatch) {
		a.batch.reset()
		a.batch.at = a.relay.since(time.Now())
		for _, d := range chunk {
			a.tally.Received++
			a.tally.ReceivedBytes += uint64(len(d.Payload))
			if len(d.Payload) == 0 {
				a.tally.KeepAlives++
				continue
			}
			a.batch.datagrams = append(a.batch.datagrams, d)
			a.batch.origins = append(a.batch.origins, nil)
		}
		if err := a.relay.relay(a.batch, a.sender, a, &a.tally); err != nil {
			return err
		}
	}
	return nil
}

// handOver gives the batch to every link but the one that brought it.
func (r *Relay) handOver(b *batch, brought *Attachment) {
	for _, a := range r.links() {
		if a == brought {
			continue
		}
		a.deliver.Lock()
		if !a.detached.Load() {
			a.link.Deliver(b.datagrams)
		}
		a.deliver.Unlock()
	}
}

func (r *Relay) links() []*Attachment {
	if links := r.attached.Load(); links != nil {
		return *links
	}
	return nil
}

func (r *Relay) storeLinks(links []*Attachment) { r.attached.Store(&links) }
