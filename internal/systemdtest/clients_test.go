//go:build systemd && linux

package systemdtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// pace is the time from one datagram of a stream to the next: 2,000 a second.
	pace = 500 * time.Microsecond

	// window is how many datagrams of a stream may be under way. A relay that is
	// away for longer than that holds the stream up, so that nothing is lost
	// for a socket buffer that is too small, however slow the machine is. A
	// buffer of the usual 208 KiB has room for some 270.
	window = 200

	// size is that of a datagram of a stream: its number and nothing else.
	size = 8
)

// listenUDP opens a socket inside.
func (c *container) listenUDP(t testing.TB, addr string) (conn *net.UDPConn) {
	t.Helper()
	var err error
	c.inNetwork(func() { conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort(addr))) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// A receiver is a peer that joins and then only listens.
type receiver struct {
	name  string
	conn  *net.UDPConn
	relay netip.AddrPort

	highest atomic.Int64 // number that it got of a stream; -1: none
	mu      sync.Mutex
	numbers []int    // of the stream, as they came
	texts   []string // whatever else came
}

// receiver starts one at an address of the container, and has it join.
func (c *container) receiver(t testing.TB, at string, relay netip.AddrPort) *receiver {
	t.Helper()
	r := &receiver{name: at, conn: c.listenUDP(t, netip.AddrPortFrom(netip.MustParseAddr(at), 0).String()), relay: relay}
	r.highest.Store(-1)
	var reading sync.WaitGroup
	reading.Go(func() { r.read(t) })
	t.Cleanup(func() {
		r.conn.Close()
		reading.Wait()
	})
	r.send(t, "") // it is in the relay's queue before anything that is sent later
	return r
}

func (r *receiver) send(t testing.TB, text string) {
	t.Helper()
	if _, err := r.conn.WriteToUDPAddrPort([]byte(text), r.relay); err != nil {
		t.Fatal(err)
	}
}

func (r *receiver) read(t testing.TB) {
	payload := make([]byte, 65536)
	for {
		n, _, err := r.conn.ReadFromUDPAddrPort(payload)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			t.Errorf("%s: %v", r.name, err)
			return
		}
		r.mu.Lock()
		if n == size {
			number := int(binary.BigEndian.Uint64(payload))
			r.numbers = append(r.numbers, number)
			r.highest.Store(max(r.highest.Load(), int64(number)))
		} else {
			r.texts = append(r.texts, string(payload[:n]))
		}
		r.mu.Unlock()
	}
}

// got reports whether the text has come.
func (r *receiver) got(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.texts, text)
}

// port returns the port of the receiver, as text.
func (r *receiver) port() string { return fmt.Sprint(r.conn.LocalAddr().(*net.UDPAddr).Port) }

// wantAll checks that the numbers below n came, each once and in order.
func (r *receiver) wantAll(t testing.TB, n int) {
	t.Helper()
	await(t, fmt.Sprintf("datagram %d at %s", n-1, r.name), func() bool { return r.highest.Load() >= int64(n-1) })
	lost := r.wantOrder(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	if lost != 0 || len(r.numbers) != n {
		t.Errorf("%s: got %d datagrams of %d, with %d missing between them", r.name, len(r.numbers), n, lost)
	}
}

// wantOrder checks that no datagram came twice or before an earlier one, and
// returns how many are missing up to the last that came.
func (r *receiver) wantOrder(t testing.TB) (lost int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, number := range r.numbers {
		before := -1
		if i > 0 {
			before = r.numbers[i-1]
		}
		if number <= before {
			t.Errorf("%s: datagram %d came after %d", r.name, number, before)
		}
		lost += max(number-before-1, 0)
	}
	return lost
}

// A stream is a peer that sends numbered datagrams.
type stream struct {
	t    testing.TB
	sent atomic.Int64
	stop chan struct{}
	done chan struct{}
}

// stream starts one, that is held up only if a receiver lags behind by a window.
func (c *container) stream(t testing.TB, relay netip.AddrPort, receivers ...*receiver) *stream {
	t.Helper()
	conn := c.listenUDP(t, "127.0.0.100:0")
	s := &stream{t: t, stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		s.send(conn, relay, receivers)
	}()
	t.Cleanup(func() { s.end() })
	return s
}

func (s *stream) send(conn *net.UDPConn, relay netip.AddrPort, receivers []*receiver) {
	payload := make([]byte, size)
	due := time.Now()
	for number := int64(0); ; number++ {
		deadline := time.Now().Add(patience)
		for slices.ContainsFunc(receivers, func(r *receiver) bool { return number-r.highest.Load() > window }) {
			if s.ended() {
				return
			}
			if time.Now().After(deadline) {
				s.t.Errorf("the stream is stuck: nothing of the last %d datagrams, up to %d, arrived everywhere", window, number-1)
				return
			}
			time.Sleep(time.Millisecond)
			due = time.Now()
		}
		time.Sleep(time.Until(due))
		if s.ended() {
			return
		}
		due = due.Add(pace)
		binary.BigEndian.PutUint64(payload, uint64(number))
		if _, err := conn.WriteToUDPAddrPort(payload, relay); err != nil {
			s.t.Errorf("datagram %d: %v", number, err)
			return
		}
		s.sent.Store(number + 1)
	}
}

func (s *stream) ended() bool {
	select {
	case <-s.stop:
		return true
	default:
		return false
	}
}

// end stops the stream and returns how many datagrams it sent. It is called by
// one goroutine.
func (s *stream) end() int {
	if !s.ended() {
		close(s.stop)
	}
	<-s.done
	return int(s.sent.Load())
}

// goesOn waits until n more datagrams arrived at each receiver.
func (s *stream) goesOn(t testing.TB, n int, receivers ...*receiver) {
	t.Helper()
	until := s.sent.Load() + int64(n)
	for _, r := range receivers {
		await(t, fmt.Sprintf("datagram %d at %s", until, r.name), func() bool { return r.highest.Load() >= until })
	}
}
