package dashboardtest

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"udprelay/internal/testwait"
)

// A client is a UDP socket of a program that talks to the relay.
type client struct {
	t    testing.TB
	conn *net.UDPConn
}

// newClient opens one at an address of this machine, to the relay of d.
func newClient(t testing.TB, d *daemon, from string) *client {
	t.Helper()
	local := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0))
	conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(d.relay))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t, conn}
}

// newClients opens one at each address, and has them join.
func newClients(t testing.TB, d *daemon, from ...string) (all []*client) {
	t.Helper()
	for _, address := range from {
		c := newClient(t, d, address)
		c.write(nil)
		all = append(all, c)
	}
	return all
}

// address is the one that the page shows.
func (c *client) address() string { return c.conn.LocalAddr().String() }

func (c *client) write(payload []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(payload); err != nil {
		c.t.Fatal(err)
	}
}

// say sends n datagrams of size bytes and waits until each of the others has
// them. A few are under way at a time, so that none is lost for want of room.
func (c *client) say(n, size int, others ...*client) {
	c.t.Helper()
	for n > 0 {
		some := min(n, 50)
		for range some {
			c.write(make([]byte, size))
		}
		for _, other := range others {
			other.hear(some, size)
		}
		n -= some
	}
}

// hear receives n datagrams of size bytes.
func (c *client) hear(n, size int) {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(testwait.Patience))
	buffer := make([]byte, 65536)
	for i := range n {
		got, err := c.conn.Read(buffer)
		if err != nil {
			c.t.Fatalf("%s has %d of %d datagrams: %v", c.address(), i, n, err)
		}
		if got != size {
			c.t.Fatalf("%s got %d bytes, want %d", c.address(), got, size)
		}
	}
}

// swallow receives whatever comes until the socket is closed.
func (c *client) swallow() {
	buffer := make([]byte, 65536)
	for {
		if _, err := c.conn.Read(buffer); errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) {
			return
		}
	}
}
