package capture

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"sync/atomic"
)

// A queue holds datagrams between one goroutine that puts and one that takes,
// in a ring of bytes. Neither waits for the other.
type queue struct {
	ring []byte

	// Bytes since the beginning. A datagram is written before put is, and read
	// before taken is.
	put, taken atomic.Uint64

	// Of the goroutine that puts.
	next  uint64 // put, with what is not published yet
	limit uint64 // how far it may write, as it last looked
}

// An entry is what is kept of a datagram besides its payload.
type entry struct {
	stored  int    // bytes of the payload that are kept
	payload int    // its length
	at      int64  // Unix time in nanoseconds
	missing uint64 // datagrams between this one and the one before it in the queue
	sum     uint16 // of all of the payload, if not all is kept
	from    netip.AddrPort
}

// entryBytes is what an entry takes in the ring.
const entryBytes = 48

func newQueue(size int) *queue { return &queue{ring: make([]byte, size), limit: uint64(size)} }

// add puts a datagram of which e.stored bytes are kept, and reports whether
// there was room. It is not taken before publish.
func (q *queue) add(e *entry, payload []byte) bool {
	size := uint64(entryBytes + e.stored)
	if q.next+size > q.limit {
		q.limit = q.taken.Load() + uint64(len(q.ring))
		if q.next+size > q.limit {
			return false
		}
	}
	var head [entryBytes]byte
	order := binary.LittleEndian
	order.PutUint16(head[0:], uint16(e.stored))
	order.PutUint32(head[4:], uint32(e.payload))
	order.PutUint64(head[8:], uint64(e.at))
	order.PutUint64(head[16:], e.missing)
	order.PutUint16(head[24:], e.sum)
	order.PutUint16(head[26:], e.from.Port())
	if e.from.Addr().Is4() {
		head[2] = 4
	} else if zone := e.from.Addr().Zone(); zone != "" {
		number, _ := strconv.ParseUint(zone, 10, 32) // the relay's are numbers
		order.PutUint32(head[28:], uint32(number))
	}
	var addr [16]byte // of none: zeros
	if e.from.IsValid() {
		addr = e.from.Addr().As16()
	}
	copy(head[32:], addr[:])
	q.write(q.next, head[:])
	q.write(q.next+entryBytes, payload[:e.stored])
	q.next += size
	return true
}

// publish lets what was added be taken.
func (q *queue) publish() { q.put.Store(q.next) }

// take copies the next datagram into e and what is kept of its payload into
// payload, and reports whether there was one.
func (q *queue) take(e *entry, payload []byte) bool {
	at := q.taken.Load()
	if at == q.put.Load() {
		return false
	}
	var head [entryBytes]byte
	q.read(at, head[:])
	order := binary.LittleEndian
	e.stored = int(order.Uint16(head[0:]))
	e.payload = int(order.Uint32(head[4:]))
	e.at = int64(order.Uint64(head[8:]))
	e.missing = order.Uint64(head[16:])
	e.sum = order.Uint16(head[24:])
	addr := netip.AddrFrom16([16]byte(head[32:]))
	if head[2] == 4 {
		addr = addr.Unmap()
	} else if zone := order.Uint32(head[28:]); zone != 0 {
		addr = addr.WithZone(strconv.FormatUint(uint64(zone), 10))
	}
	e.from = netip.AddrPortFrom(addr, order.Uint16(head[26:]))
	q.read(at+entryBytes, payload[:e.stored])
	q.taken.Store(at + entryBytes + uint64(e.stored))
	return true
}

// write and read copy at a position of the ring, also around its end.
func (q *queue) write(at uint64, p []byte) {
	n := copy(q.ring[at%uint64(len(q.ring)):], p)
	copy(q.ring, p[n:])
}

func (q *queue) read(at uint64, p []byte) {
	n := copy(p, q.ring[at%uint64(len(q.ring)):])
	copy(p[n:], q.ring)
}
