// Package fairqueue keeps the datagrams that a relay has received and cannot send
// yet, and divides what it can send fairly among their origins.
//
// Each origin has a first-in, first-out queue. The queues take turns (deficit
// round robin, after RFC 8290 without its delay control), measured by what a
// datagram costs to send, so each origin gets its max-min fair share: what an
// origin leaves of its share goes to those that have more. An origin that sends
// less than its share waits for nobody: when its queue was empty, its next turn
// comes first.
//
// Memory is bounded. When it is full, the longest queue loses, to within a factor
// of two, so an origin that sends less than its share loses nothing.
//
// The package knows no sockets and no clock.
package fairqueue

import (
	"math/bits"
	"net/netip"
)

const (
	// cellSize is the unit of memory in bytes: a datagram takes one or more whole
	// cells. The kernel charges 768 bytes or more for a datagram that waits in a
	// socket, so a queue as large as the receive buffer holds as many datagrams.
	cellSize = 512

	// datagramCost is how many bytes of payload cost as much to send as a
	// datagram does in addition to its bytes.
	datagramCost = 1500

	// quantum is the cost that an origin may have sent in a turn: about a full
	// batch of short datagrams, so that trains stay long.
	quantum = 128 << 10

	// leastBytes is the smallest size of a queue: every datagram must fit.
	leastBytes = 1 << 20
)

// A Queue holds datagrams by origin, which is an address with a port, or with port
// 0 an address that uses any port. O is what its user knows an origin by. A Queue
// belongs to one goroutine.
type Queue[O any] struct {
	dropped func(origin O, datagrams int)

	memory []byte // of all cells
	cells  []cell
	unused int32 // the first cell that was never used; those after it were not, either
	free   int32 // the first in the list of cells that were used and are free
	used   int   // cells in use

	count  int // datagrams
	flows  map[netip.AddrPort]*flow[O]
	limits []Limit      // result of Adjust
	last   *flow[O]     // the one of the last Push, because datagrams come in runs
	fresh  turns[O]     // flows that were empty: their turn comes first
	others turns[O]     // the other flows
	spare  *flow[O]     // flows to be used again, linked by next
	sizes  [33]*flow[O] // flows by the bits of their number of cells, linked by longer and shorter
	filled uint64       // which of sizes are not empty
}

// A cell is a piece of a datagram. Cells are numbered from 1; 0 is none.
type cell struct {
	next     int32  // of the same datagram, or of the list of free cells
	datagram int32  // the first cell of the next datagram; valid in a datagram's first cell, as are size and port
	size     int32  // of the datagram in bytes
	port     uint16 // that it came from
}

// A flow is the queue of an origin.
type flow[O any] struct {
	from   netip.AddrPort
	origin O

	first, last int32 // datagrams, by their first cells; 0: none
	count       int   // datagrams
	cells       int
	deficit     int // what may be sent in this turn
	listed      bool
	fresh       bool
	next        *flow[O] // in the turns, or of those to be used again

	size        int // index in sizes
	left, right *flow[O]

	// Since the last Adjust, in datagrams. What was kept out is an estimate.
	pushed, keptOut, sent, lost int

	pass     float64 // see Limit; 1: there is none
	offered  float64 // datagrams per second that the origin sends
	rate     float64 // datagrams per second of it that are sent
	unpassed float64 // datagrams that are kept out between two Adjusts, by what passes
}

// turns is a list of flows, in the order of their turns.
type turns[O any] struct{ first, last *flow[O] }

func (t *turns[O]) add(f *flow[O]) {
	if f.next = nil; t.first == nil {
		t.first = f
	} else {
		t.last.next = f
	}
	t.last = f
}

func (t *turns[O]) takeFirst() {
	if t.first = t.first.next; t.first == nil {
		t.last = nil
	}
}

// New returns an empty queue that holds as many datagrams as fit into so many
// bytes, in whole cells. It calls dropped for datagrams that it drops.
func New[O any](bytes int, dropped func(origin O, datagrams int)) *Queue[O] {
	count := max(bytes, leastBytes) / cellSize
	return &Queue[O]{
		dropped: dropped,
		memory:  make([]byte, count*cellSize),
		cells:   make([]cell, 1+count),
		unused:  1,
		flows:   make(map[netip.AddrPort]*flow[O]),
	}
}

// Len returns how many datagrams wait.
func (q *Queue[O]) Len() int { return q.count }

// Push adds a copy of a datagram of the origin at from, which it has sent from
// port. If there is no room, the longest queue loses its oldest datagrams, or the
// new one if that is its own.
func (q *Queue[O]) Push(from netip.AddrPort, port uint16, origin O, payload []byte) {
	f := q.last
	if f == nil || f.from != from {
		f = q.flow(from)
		q.last = f
	}
	if !f.listed {
		f.listed, f.fresh, f.deficit = true, true, quantum
		q.fresh.add(f)
	}
	f.origin = origin
	f.pushed++
	need := max(1, (len(payload)+cellSize-1)/cellSize)
	for len(q.cells)-1-q.used < need {
		longest := q.sizes[bits.Len64(q.filled)-1]
		if longest.size <= f.size {
			f.lost++
			q.dropped(origin, 1)
			return
		}
		longest.lost++
		q.remove(longest)
		q.dropped(longest.origin, 1)
	}
	at := q.write(payload)
	q.cells[at].port = port
	if f.first == 0 {
		f.first = at
	} else {
		q.cells[f.last].datagram = at
	}
	f.last = at
	f.count++
	q.count++
	q.resize(f, f.cells+need)
}

// flow returns the flow of an origin.
func (q *Queue[O]) flow(from netip.AddrPort) *flow[O] {
	f := q.flows[from]
	if f != nil {
		return f
	}
	if f = q.spare; f != nil {
		q.spare = f.next
	} else {
		f = new(flow[O])
	}
	*f = flow[O]{from: from, pass: 1}
	q.flows[from] = f
	return f
}

// SetOrigin replaces what an origin is known by.
func (q *Queue[O]) SetOrigin(from netip.AddrPort, origin O) {
	if f := q.flows[from]; f != nil {
		f.origin = origin
	}
}

// Next removes the datagram whose turn it is, and appends its payload to into. From
// has the port that it came from. Next must not be called when there is none.
func (q *Queue[O]) Next(into []byte) (from netip.AddrPort, origin O, _ []byte) {
	for {
		list := &q.fresh
		if list.first == nil {
			list = &q.others
		}
		f := list.first
		if f.first != 0 && f.deficit > 0 {
			first := q.cells[f.first]
			into = q.read(f.first, into)
			f.deficit -= datagramCost + int(first.size)
			f.sent++
			q.remove(f)
			return netip.AddrPortFrom(f.from.Addr(), first.port), f.origin, into
		}
		list.takeFirst()
		if f.first == 0 && !f.fresh {
			f.listed = false
			continue
		}
		// A fresh flow that is empty stays for a round, or it could always be
		// fresh.
		if f.deficit <= 0 {
			f.deficit += quantum
		}
		f.fresh = false
		q.others.add(f)
	}
}

// remove removes the first datagram of f.
func (q *Queue[O]) remove(f *flow[O]) {
	at, last, count := f.first, f.first, 1
	for ; q.cells[last].next != 0; last = q.cells[last].next {
		count++
	}
	if f.first = q.cells[at].datagram; f.first == 0 {
		f.last = 0
	}
	q.cells[last].next = q.free
	q.free = at
	q.used -= count
	f.count--
	q.count--
	q.resize(f, f.cells-count)
}

// resize notes how many cells f has.
func (q *Queue[O]) resize(f *flow[O], cells int) {
	f.cells = cells
	size := bits.Len(uint(cells))
	if size == f.size {
		return
	}
	if f.size > 0 {
		if f.left != nil {
			f.left.right = f.right
		} else if q.sizes[f.size] = f.right; f.right == nil {
			q.filled &^= 1 << f.size
		}
		if f.right != nil {
			f.right.left = f.left
		}
	}
	f.size, f.left, f.right = size, nil, nil
	if size > 0 {
		if f.right = q.sizes[size]; f.right != nil {
			f.right.left = f
		}
		q.sizes[size] = f
		q.filled |= 1 << size
	}
}

// write copies a datagram into free cells and returns the first.
func (q *Queue[O]) write(payload []byte) (first int32) {
	size := len(payload)
	for last := int32(0); ; {
		at := q.free
		if at != 0 {
			q.free = q.cells[at].next
		} else {
			at = q.unused
			q.unused++
		}
		q.used++
		q.cells[at] = cell{size: int32(size)}
		if last == 0 {
			first = at
		} else {
			q.cells[last].next = at
		}
		last = at
		payload = payload[copy(q.bytes(at), payload):]
		if len(payload) == 0 {
			return first
		}
	}
}

// read appends the datagram in the cells from at on to into.
func (q *Queue[O]) read(at int32, into []byte) []byte {
	for left := int(q.cells[at].size); left > 0; left -= cellSize {
		into = append(into, q.bytes(at)[:min(left, cellSize)]...)
		at = q.cells[at].next
	}
	return into
}

// bytes returns the memory of a cell.
func (q *Queue[O]) bytes(at int32) []byte {
	return q.memory[int(at-1)*cellSize:][:cellSize:cellSize]
}
