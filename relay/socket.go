package relay

import (
	"log/slog"
	"net/netip"
	"time"

	"udprelay/internal/fairqueue"
	"udprelay/peers"
)

// A socket is the way in and out. There is one for Linux, with trains, and the
// plain loop for everything else.
type socket interface {
	// receive waits for datagrams and puts those that are there into b, which
	// is empty, with datagrams and sources set. What does not fit comes with
	// the next call, until which the payloads stay. One goroutine calls it. It
	// tells failed what the network says of datagrams that were sent, with
	// what it quotes of them; a system may not say. Failed returns whether such
	// a datagram was sent.
	receive(b *batch, failed func(to netip.AddrPort, what Report, quote []byte) bool) error

	// holds reports whether there are datagrams that were received and not yet
	// put into a batch. The goroutine that receives calls it.
	holds() bool

	// emptied reports whether nothing more waited in the kernel after the last
	// receive. The goroutine that receives calls it.
	emptied() bool

	// crowded reports whether so much waits in the kernel that datagrams may be
	// lost there soon. The goroutine that receives calls it after receive.
	crowded() bool

	// poll is receive, but it does not wait, and tells the function of the last
	// receive. It brings nothing if the relay is stopped, except what was
	// received before.
	poll(b *batch)

	// limit lets in only part of what some origins send, and all of the others,
	// until the next call. False: it cannot. The goroutine that receives calls
	// it, and pressure.
	limit(list []fairqueue.Limit) bool

	// pressure returns how many datagrams the limits have kept out since the
	// last call, and how it stands with the receive queue.
	pressure() (keptOut uint64, outside fairqueue.Outside)

	// answer sends a datagram to one that is no peer, and reports whether it
	// left. It gives way to what is sent to peers. The goroutine that receives
	// calls it.
	answer(to netip.AddrPort, source *peers.Source, payload []byte) bool

	// interrupt makes a receive that waits return an error, now and from then
	// on. What is not sent by then is dropped and counted as DropStopped.
	interrupt(sendBy time.Time)

	// wake makes a receive that waits return with an empty batch. One that
	// does not wait may do so, too; what there is to receive stays there.
	wake()

	// close closes the socket. Nobody may be in receive; senders may be at
	// work, and get net.ErrClosed.
	close() error

	// setBuffers gives the socket buffers of so many bytes; 0 leaves one as it
	// is. Any goroutine may call it.
	setBuffers(receive, send int, log *slog.Logger)

	// source returns what makes datagrams leave from a local address, or nil
	// if it can not, or the socket has but one. It is for the goroutine that
	// receives.
	source(local) *peers.Source

	// newSender returns a way out for one goroutine. If that is the one that
	// receives, the sender answers its turns within batches that take long;
	// else they are nil.
	newSender(*turns) sender

	// way says in words how datagrams leave.
	way() string

	// buffers returns how full they are; zero if the system does not say.
	buffers() Buffers

	// kernelDrops returns how many datagrams the kernel has dropped because
	// the receive queue was full, modulo 2³²; false if it does not say.
	kernelDrops() (uint32, bool)

	// past returns which socket this is, and how many datagrams the kernel had
	// dropped that kernelDrops leaves out; the zero Past if the system does not
	// say.
	past() Past

	// resume makes kernelDrops leave out what p has and no more, and reports
	// whether it does: p has to be of this very socket. Nothing else may be
	// called meanwhile.
	resume(p Past) bool
}

// A sender delivers batches.
type sender interface {
	// send sends each datagram of b to each of the receivers but its origin, and
	// counts into t. The error is net.ErrClosed or wraps it; all others cost
	// only the datagram they met.
	send(b *batch, to share, t *tally) error
}

// Sources are the local addresses that peers have sent to. On a host with
// several, a reply must leave from the one that the peer knows, or its NAT,
// firewall or connected socket drops it. They belong to the receiving
// goroutine; what it hands to peers stays as it is.
type sources struct {
	known map[local]*peers.Source
	last  local // what was looked up last, for it is seldom another
	found *peers.Source
}

// A local address, unmapped, and the index of its interface if it is
// link-local.
type local struct {
	addr netip.Addr
	link uint32
}

// maxSources bounds them: all of 127.0.0.0/8 is local to a host. When there
// are more they are forgotten, and found again as they are used.
const maxSources = 1024

// of returns the source for a local address, or nil if it can be none: it is
// no unicast address.
func (s *sources) of(l local, control func(local) []byte) *peers.Source {
	if l == s.last {
		return s.found
	}
	if !l.addr.IsValid() || l.addr.IsMulticast() || l.addr.IsUnspecified() || l.addr == broadcast {
		return nil
	}
	found := s.known[l]
	if found == nil {
		if s.known == nil || len(s.known) == maxSources {
			s.known = make(map[local]*peers.Source)
		}
		found = &peers.Source{Addr: l.addr, Link: l.link, Control: control(l)}
		s.known[l] = found
	}
	s.last, s.found = l, found
	return found
}

// sourceControl returns the control message that makes a datagram to p leave
// from the address that p knows, or nil if none is needed.
func sourceControl(p *peers.Peer, h *host) []byte {
	return controlOf(p.Path.Source.Load(), p.Addr().Addr(), h)
}

// controlOf returns the control message that makes a datagram to addr leave
// from source, or nil if none is needed.
func controlOf(source *peers.Source, addr netip.Addr, h *host) []byte {
	if source == nil || h.chooses(source.Addr, addr) {
		return nil
	}
	return source.Control
}

// broadcast is the limited broadcast address (RFC 919).
var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
