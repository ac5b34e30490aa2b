package capture

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// A PlainSender sends payloads as they are and nothing else: it does not join,
// and gives no proof.
type PlainSender struct {
	conn    net.Conn
	done    context.Context
	refused atomic.Uint64
}

// DialPlain returns a sender to address, HOST:PORT, until ctx is done.
func DialPlain(ctx context.Context, address string) (*PlainSender, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", address)
	if err != nil {
		if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
			return nil, dns
		}
		return nil, err
	}
	return &PlainSender{conn: conn, done: ctx}, nil
}

// RemoteAddr returns the address that is sent to.
func (s *PlainSender) RemoteAddr() net.Addr { return s.conn.RemoteAddr() }

// Refused returns how often the host has said that nothing listens there.
func (s *PlainSender) Refused() uint64 { return s.refused.Load() }

// roomPause is for systems that fail, instead of waiting, while there is no
// room in the queue of an interface.
const roomPause, roomTries = time.Millisecond, 7

// Send implements [Sender].
func (s *PlainSender) Send(payload []byte) error {
	pause := roomPause
	for tries := 1; ; tries++ {
		_, err := s.conn.Write(payload)
		switch {
		case err == nil || tries == roomTries:
			return err
		case errors.Is(err, syscall.ECONNREFUSED): // to one before, in place of sending this one
			s.refused.Add(1)
		case errors.Is(err, syscall.ENOBUFS) && s.done.Err() == nil:
			time.Sleep(pause)
			pause *= 2
		default:
			return err
		}
	}
}

// receivePause keeps an error that persists from taking a core.
const receivePause = 10 * time.Millisecond

// Receive implements [Sender].
func (s *PlainSender) Receive(buf []byte) (int, error) {
	for {
		n, err := s.conn.Read(buf)
		switch {
		case err == nil || errors.Is(err, net.ErrClosed):
			return n, err
		case errors.Is(err, syscall.ECONNREFUSED):
			s.refused.Add(1)
		default:
			time.Sleep(receivePause)
		}
	}
}

// Close implements [Sender].
func (s *PlainSender) Close() error { return s.conn.Close() }
