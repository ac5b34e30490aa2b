package relay

import (
	"net/netip"
	"slices"

	"udprelay/peers"
)

const (
	// maxBatch is how many datagrams one receive call may bring. It is also
	// the longest train, for kernels before 6.9 split no more than 64
	// (UDP_MAX_SEGMENTS).
	maxBatch = 64

	// maxDatagram is the space for one datagram in bytes: a UDP length field
	// can say no more (RFC 768), header included.
	maxDatagram = 65535
)

// A Datagram is one UDP payload and the address that it came from.
type Datagram struct {
	Payload []byte
	From    netip.AddrPort
}

// A batch is the datagrams of one receive call, or of one hand-over by a link.
// It belongs to one goroutine, which uses it again and again.
type batch struct {
	datagrams []Datagram      // what is to be relayed, in order
	origins   []*peers.Peer   // for each datagram, who it came from; nil: a link that is no peer
	sources   []*peers.Source // for each datagram, the local address it was sent to
	at        int64           // when it came, in nanoseconds since the relay was made
	number    uint32          // how many there were before it, modulo 2³²

	sent     *sentLog      // what is sent of it is remembered there
	members  []*Attachment // the members that are to get it, in ascending order of number; nearly always nobody
	speakers []*peers.Peer // the origins, each once, in ascending order of number
}

func newBatch() *batch {
	return &batch{
		datagrams: make([]Datagram, 0, maxBatch),
		origins:   make([]*peers.Peer, 0, maxBatch),
		sources:   make([]*peers.Source, 0, maxBatch),
		speakers:  make([]*peers.Peer, 0, maxBatch),
	}
}

// reset empties the batch for the next one.
func (b *batch) reset() {
	b.number++
	b.datagrams = b.datagrams[:0]
	b.origins = b.origins[:0]
	b.sources = b.sources[:0]
	b.speakers = b.speakers[:0]
}

// keep makes datagram i the kept-th of the batch, with its origin.
func (b *batch) keep(kept, i int, origin *peers.Peer) {
	b.datagrams[kept] = b.datagrams[i]
	b.origins = append(b.origins, origin)
}

// speaks notes that origin has a datagram in the batch.
func (b *batch) speaks(origin *peers.Peer) {
	at, found := slices.BinarySearchFunc(b.speakers, origin, byNumber)
	if !found {
		b.speakers = slices.Insert(b.speakers, at, origin)
	}
}

// joined makes p the origin of what its address has said in the batch so far:
// the peer that was there may have expired since.
func (b *batch) joined(p *peers.Peer) {
	for i, origin := range b.origins {
		if origin.Addr() == p.Addr() {
			b.origins[i] = p
			b.speaks(p)
		}
	}
}

func byNumber(a, b *peers.Peer) int {
	switch {
	case a.Number() < b.Number():
		return -1
	case a.Number() > b.Number():
		return 1
	}
	return 0
}

// bytes returns the size of all payloads together.
func (b *batch) bytes() (total int) {
	for i := range b.datagrams {
		total += len(b.datagrams[i].Payload)
	}
	return total
}
