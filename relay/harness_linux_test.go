package relay

import (
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var ways = []way{
	{"trains", New},
	{"lone", func(conn *net.UDPConn, options Options) (*Relay, error) {
		options.NoTrains = true
		return New(conn, options)
	}},
	{"plain", newPlainRelay},
	{"shared", func(conn *net.UDPConn, options Options) (*Relay, error) {
		options.Senders = 3
		return New(conn, options)
	}},
}

// newPlainRelay is New with the socket of systems other than Linux.
func newPlainRelay(conn *net.UDPConn, options Options) (*Relay, error) {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Relay{options: options, log: options.Logger, began: time.Now()}
	r.own = &own{bound: unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())}
	if err := r.own.refresh(); err != nil {
		return nil, err
	}
	socket, err := newPlainSocket(conn, r.own, options)
	if err != nil {
		return nil, err
	}
	r.use(socket)
	return r, nil
}

// A spy counts what a relay hands to sendmmsg.
type spy struct {
	messages, trains, datagrams atomic.Int64 // trains: messages of more than one datagram
	calls, manyOrigins          atomic.Int64 // calls; those within a batch of several origins
}

// watch counts what leaves through c, which must not be at work yet. False: it
// is not of a kind that sends trains.
func (w *spy) watch(c *crew) (trains bool) {
	trains = w.watchOne(c.first)
	for _, other := range c.others {
		w.watchOne(other.sender)
	}
	return trains
}

func (w *spy) watchOne(s sender) bool {
	out, ok := s.(*trainSender)
	if !ok {
		return false
	}
	real := out.sendmmsg
	out.sendmmsg = func(headers []mmsghdr) (int, unix.Errno) {
		w.calls.Add(1)
		if len(out.batch.speakers) > 1 {
			w.manyOrigins.Add(1)
		}
		n, errno := real(headers)
		for i := range max(n, 0) {
			w.messages.Add(1)
			w.datagrams.Add(int64(headers[i].header.Iovlen))
			if headers[i].header.Iovlen > 1 {
				w.trains.Add(1)
			}
		}
		return n, errno
	}
	return out.longest > 1
}

// roomFor gives the socket a receive buffer of size bytes, beyond the system's
// limit if that is allowed, and returns what the kernel will charge to it.
func roomFor(t testing.TB, conn *net.UDPConn, size int) (room int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, size)
		}
		if err == nil {
			room, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF)
		}
	})
	if err != nil {
		t.Fatalf("set the receive buffer: %v", err)
	}
	return room
}

// roomOf returns what the kernel lets wait in the receive queue of r, in the
// bytes it charges.
func roomOf(t testing.TB, r *Relay) (room int) {
	t.Helper()
	var err error
	read := func(fd uintptr) { room, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) }
	switch s := r.socket.(type) {
	case *linuxSocket:
		s.raw.Control(read)
	case *plainSocket:
		raw, _ := s.conn.SyscallConn()
		raw.Control(read)
	}
	if err != nil {
		t.Fatalf("read the size of the receive buffer: %v", err)
	}
	return room
}

// check fails the test if no trains left, or none of a batch of several
// origins.
func (w *spy) check(t testing.TB) {
	t.Helper()
	t.Logf("%d calls (%d of batches with several origins), %d messages (%d of them trains), %d datagrams",
		w.calls.Load(), w.manyOrigins.Load(), w.messages.Load(), w.trains.Load(), w.datagrams.Load())
	if w.trains.Load() == 0 || w.manyOrigins.Load() == 0 {
		t.Errorf("want trains of several datagrams and batches of several origins; got %d and %d", w.trains.Load(), w.manyOrigins.Load())
	}
}
