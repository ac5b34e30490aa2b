package relay

import (
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"
)

// A client is a program that speaks UDP with a relay. Its socket is connected,
// so that it gets only what comes from the address that it sends to.
type client struct {
	t    testing.TB
	conn *net.UDPConn
	addr netip.AddrPort // its own, as the relay sees it
}

// newClient returns a client, at an address that the system chooses, of the
// relay at to.
func newClient(t testing.TB, to netip.AddrPort) *client {
	t.Helper()
	return newClientAt(t, netip.AddrPort{}, to)
}

// newClientAt returns a client at the address from.
func newClientAt(t testing.TB, from, to netip.AddrPort) *client {
	t.Helper()
	var local *net.UDPAddr
	if from.IsValid() {
		local = net.UDPAddrFromAddrPort(from)
	}
	conn, err := net.DialUDP("udp", local, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatalf("open a client of %v: %v", to, err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetReadBuffer(1 << 20) // as much of it as the system allows
	return &client{t, conn, unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())}
}

// newPeer returns a client that r, at to, knows as a peer.
func newPeer(t testing.TB, r *Relay, to netip.AddrPort) *client {
	t.Helper()
	c := newClient(t, to)
	c.join(r)
	return c
}

func newPeers(t testing.TB, r *Relay, to netip.AddrPort, count int) []*client {
	t.Helper()
	clients := make([]*client, count)
	for i := range clients {
		clients[i] = newPeer(t, r, to)
	}
	return clients
}

// join makes the client a peer or a sender of r, by a keep-alive.
func (c *client) join(r *Relay) {
	c.t.Helper()
	c.send("")
	await(c.t, func() bool { return r.Peers().Origin(c.addr) != nil }, "want "+c.addr.String()+" to be a peer; it is none")
}

func (c *client) send(payload string) {
	c.t.Helper()
	if _, err := c.conn.Write([]byte(payload)); err != nil {
		c.t.Fatalf("send %d bytes from %v: %v", len(payload), c.addr, err)
	}
}

// receive returns the next datagram that comes.
func (c *client) receive() string {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(patience))
	buffer := make([]byte, maxDatagram)
	n, err := c.conn.Read(buffer)
	if err != nil {
		c.t.Fatalf("want a datagram at %v; got %v", c.addr, err)
	}
	return string(buffer[:n])
}

// wants fails the test unless payloads are the next datagrams that come.
func (c *client) wants(payloads ...string) {
	c.t.Helper()
	for i, want := range payloads {
		if got := c.receive(); got != want {
			c.t.Fatalf("want %s as datagram %d at %v; got %s", short(want), i, c.addr, short(got))
		}
	}
}

// wantsNothingBefore has sender send a mark, and fails the test unless that is
// the next that the clients get: what went before brought them nothing more.
func wantsNothingBefore(mark string, sender *client, clients ...*client) {
	sender.t.Helper()
	sender.send(mark)
	for _, c := range clients {
		c.wants(mark)
	}
}

// short quotes a payload, without its end if it is long.
func short(payload string) string {
	if len(payload) > 60 {
		return strconv.Quote(payload[:60]) + "…"
	}
	return strconv.Quote(payload)
}
