package relay

import (
	"net/netip"
	"sync/atomic"

	"udprelay/peers"
)

// A socket is the way in and out. There is one for Linux, with trains, and the
// plain loop for everything else.
type socket interface {
	// receive waits for datagrams and puts those that are there into b, which
	// is empty, with datagrams and sources set. One goroutine calls it.
	receive(b *batch) error

	// interrupt makes a receive that waits return an error, now and from then
	// on.
	interrupt()

	// close closes the socket. Nobody may be in receive; senders may be at
	// work, and get net.ErrClosed.
	close() error

	// newSender returns a way out for one goroutine.
	newSender() sender

	// way says in words how datagrams leave.
	way() string

	// kernelDrops returns how many datagrams the kernel has dropped because
	// the receive queue was full, modulo 2³²; false if it does not say.
	kernelDrops() (uint32, bool)
}

// A sender delivers batches.
type sender interface {
	// send sends each datagram of b to each of the receivers, in ascending
	// order of number, but to its origin, and counts into t. The error is
	// net.ErrClosed or wraps it; all others cost only the datagram they met.
	send(b *batch, receivers []*peers.Peer, t *tally) error
}

// Sources are the local addresses that peers have sent to. On a host with
// several, a reply must leave from the one that the peer knows, or its NAT,
// firewall or connected socket drops it. They have numbers, from 1, for
// peers.Path.Source; 0 lets the kernel choose.
type sources struct {
	list atomic.Pointer[[]source] // appended to by the receiving goroutine
	last source                   // of that goroutine: what was looked up last
}

type source struct {
	addr    netip.Addr // unmapped
	number  uint32
	control []byte // the control message that names it to the kernel
}

// maxSources bounds them: all of 127.0.0.0/8 is local to a host.
const maxSources = 1024

// numberOf returns the number of the local address addr, or 0 if none can be
// had: addr is no unicast address, or there are too many.
func (s *sources) numberOf(addr netip.Addr, control func(netip.Addr) []byte) uint32 {
	if addr == s.last.addr {
		return s.last.number
	}
	if !addr.IsValid() || addr.IsMulticast() || addr.IsUnspecified() || addr == broadcast {
		return 0
	}
	list := s.load()
	for i := range list {
		if list[i].addr == addr {
			s.last = list[i]
			return s.last.number
		}
	}
	if len(list) == maxSources {
		return 0
	}
	s.last = source{addr, uint32(len(list) + 1), control(addr)}
	list = append(list, s.last)
	s.list.Store(&list)
	return s.last.number
}

// control returns the control message that makes a datagram to p leave from the
// address that p knows, or nil if none is needed.
func (s *sources) control(p *peers.Peer, h *host) []byte {
	number := p.Path.Source.Load()
	if number == 0 {
		return nil
	}
	source := &s.load()[number-1]
	if h.chooses(source.addr, p.Addr().Addr()) {
		return nil
	}
	return source.control
}

func (s *sources) load() []source {
	if list := s.list.Load(); list != nil {
		return *list
	}
	return nil
}

// broadcast is the limited broadcast address (RFC 919).
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
