package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"

	"udprelay/internal/fairqueue"
	"udprelay/peers"
)

// A plainSocket receives and sends with a system call for each datagram. It
// runs wherever Go does.
type plainSocket struct {
	conn     *net.UDPConn
	raw      syscall.RawConn // of conn
	v6       bool            // peers of IPv4 have mapped addresses on the wire to the kernel
	buffer   []byte
	oob      []byte
	wildcard bool
	sources  sources
	own      *own
	waker

	answersAfter time.Time // of the receiving goroutine: until then there is no room for answers
}

// A batch that finds no room in the send buffer waits for it so often and so
// long; what is left of it is dropped then.
const (
	plainSendWaits = 3
	plainSendWait  = 10 * time.Millisecond
)

// plainTurnEvery is after how many datagrams of a batch, sent or refused, a
// sender answers for the loop that it belongs to.
const plainTurnEvery = 256

func newPlainSocket(conn *net.UDPConn, own *own, options Options) (*plainSocket, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &plainSocket{conn: conn, raw: raw, own: own, buffer: make([]byte, maxDatagram)}
	s.setDeadline = conn.SetReadDeadline
	bound := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
	s.v6 = bound.Is6()
	if bound.IsUnspecified() {
		// What cannot tell a datagram's destination replies from an address
		// that the kernel chooses.
		if s.v6 {
			s.wildcard = ipv6.NewPacketConn(conn).SetControlMessage(ipv6.FlagDst, true) == nil
		} else {
			s.wildcard = ipv4.NewPacketConn(conn).SetControlMessage(ipv4.FlagDst, true) == nil
		}
		s.oob = make([]byte, 128)
	}
	s.setBuffers(options.ReceiveBuffer, options.SendBuffer, options.Logger)
	return s, nil
}

func (s *plainSocket) setBuffers(receive, send int, log *slog.Logger) {
	for _, buffer := range []struct {
		name string
		set  func(int) error
		size int
	}{{"receive", s.conn.SetReadBuffer, receive}, {"send", s.conn.SetWriteBuffer, send}} {
		if buffer.size == 0 {
			continue
		}
		if err := buffer.set(buffer.size); err != nil && !closed(err) {
			log.Warn(fmt.Sprintf("cannot set the %s buffer to %d bytes: %v", buffer.name, buffer.size, err))
		}
	}
}

func (s *plainSocket) way() string {
	return "a system call for each datagram (trains are there on Linux only)"
}

func (s *plainSocket) close() error { return s.conn.Close() }

func (s *plainSocket) kernelDrops() (uint32, bool) { return 0, false }

func (s *plainSocket) buffers() Buffers { return Buffers{} }

func (s *plainSocket) past() Past { return Past{} }

func (s *plainSocket) resume(Past) bool { return false }

func (s *plainSocket) newSender(turns *turns) sender {
	return &plainSender{plainSocket: s, turns: turns}
}

func (s *plainSocket) receive(b *batch, _ func(netip.AddrPort, Report, []byte) bool) error {
	for {
		n, oobn, _, from, err := s.conn.ReadMsgUDPAddrPort(s.buffer, s.oob)
		if errors.Is(err, os.ErrDeadlineExceeded) && s.goesOn() {
			return nil
		}
		if err != nil {
			if closed(err) || errors.Is(err, os.ErrDeadlineExceeded) || !ofTheMoment(err) {
				return err
			}
			continue
		}
		from, _ = numericZone(unmap(from)) // the interface is there: the datagram came by it
		b.datagrams = append(b.datagrams, Datagram{Payload: s.buffer[:n:n], From: from})
		b.sources = append(b.sources, s.sources.of(local{addr: s.destination(s.oob[:oobn])}, s.sourceControl))
		return nil
	}
}

func (s *plainSocket) holds() bool { return false }

// crowded cannot tell: what this system does with an overload is its own affair.
func (s *plainSocket) crowded() bool { return false }

func (s *plainSocket) poll(*batch) {}

func (s *plainSocket) limit([]fairqueue.Limit) bool { return false }

func (s *plainSocket) pressure() (uint64, fairqueue.Outside) { return 0, fairqueue.Outside{} }

func (s *plainSocket) answer(to netip.AddrPort, source *peers.Source, payload []byte) bool {
	now, control := time.Now(), controlOf(source, to.Addr(), s.own.host.Load())
	if now.Before(s.answersAfter) {
		return false
	}
	// As in write, a deadline that is over may mean that nothing was tried.
	for range plainSendWaits {
		if s.conn.SetWriteDeadline(time.Now().Add(plainSendWait)) != nil {
			return false
		}
		if _, _, err := s.conn.WriteMsgUDPAddrPort(payload, control, to); !errors.Is(err, os.ErrDeadlineExceeded) {
			return err == nil
		}
	}
	s.answersAfter = now.Add(time.Second) // there is no room, and peers need it
	return false
}

func (s *plainSocket) destination(oob []byte) netip.Addr {
	var dst net.IP
	switch {
	case !s.wildcard || len(oob) == 0:
	case s.v6:
		var message ipv6.ControlMessage
		if message.Parse(oob) == nil {
			dst = message.Dst
		}
	default:
		var message ipv4.ControlMessage
		if message.Parse(oob) == nil {
			dst = message.Dst
		}
	}
	addr, _ := netip.AddrFromSlice(dst)
	return addr.Unmap()
}

func (s *plainSocket) source(l local) *peers.Source {
	if !s.wildcard || !s.v6 && !l.addr.Is4() {
		return nil
	}
	return s.sources.of(local{addr: l.addr}, s.sourceControl)
}

func (s *plainSocket) sourceControl(l local) []byte {
	addr := l.addr
	// To a mapped address the kernel takes the message of IPv4; ipv6 makes none.
	if addr.Is4() {
		return (&ipv4.ControlMessage{Src: addr.AsSlice()}).Marshal()
	}
	return (&ipv6.ControlMessage{Src: addr.AsSlice()}).Marshal()
}

// A plainSender sends in order, a receiver after the other. It belongs to one
// goroutine.
type plainSender struct {
	*plainSocket
	turns *turns // nil: not of the goroutine that receives
	waits int    // for room in the send buffer, that the batch in hand has left
}

func (s *plainSender) send(b *batch, to share, t *tally) error {
	if !to.more {
		s.waits = plainSendWaits
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(plainSendWait)); err != nil {
		return err
	}
	for _, run := range to.runs() {
		if err := s.sendTo(run, b, t); err != nil {
			return err
		}
	}
	return nil
}

// sendTo sends to receivers in ascending order of number.
func (s *plainSender) sendTo(run []*peers.Peer, b *batch, t *tally) error {
	spoke, done := walkFrom(b.speakers, run), 0
	for _, p := range run {
		spoke := spoke.meets(p)
		reason, out := b.leavesOut(p)
		for i := range b.datagrams {
			if spoke && b.origins[i] == p {
				continue
			}
			if !out && s.over() {
				reason, out = DropStopped, true
			}
			if out {
				t.dropOf(p, reason, 1)
				continue
			}
			if err := s.sendOne(b.datagrams[i].Payload, p, t); err != nil {
				return err
			}
			if done++; done%plainTurnEvery == 0 {
				s.turns.between()
			}
		}
	}
	return nil
}

func (s *plainSender) sendOne(payload []byte, p *peers.Peer, t *tally) error {
	control := sourceControl(p, s.own.host.Load())
	err := s.write(payload, control, p)
	if err != nil && control != nil && !closed(err) && plainDropOf(err) != DropNoBuffer {
		// The address that the peer knows may be gone from this host.
		if err = s.write(payload, nil, p); err == nil {
			p.Path.Source.Store(nil)
		}
	}
	switch {
	case err == nil:
		t.Delivered++
		t.DeliveredBytes += uint64(len(payload))
		p.Path.Counts.Delivered.Add(1)
		p.Path.Counts.DeliveredBytes.Add(uint64(len(payload)))
	case closed(err):
		return err
	default:
		t.dropOf(p, plainDropOf(err), 1)
	}
	return nil
}

// write sends one datagram. That the deadline is over does not say that there
// was no room: the time may have gone by in sending. So it tries again.
func (s *plainSender) write(payload, control []byte, p *peers.Peer) error {
	for {
		_, _, err := s.conn.WriteMsgUDPAddrPort(payload, control, p.Addr())
		switch {
		case err == nil:
			s.waits = plainSendWaits
			return nil
		case !errors.Is(err, os.ErrDeadlineExceeded) || s.waits == 0:
			return err
		}
		s.waits--
		if err := s.conn.SetWriteDeadline(time.Now().Add(plainSendWait)); err != nil {
			return err
		}
	}
}
