package client

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// renewWithin is how long it may take to look a relay up again. It is less than
// what lies between two tries, so that they never overlap.
const renewWithin = 5 * time.Second

// A socket is the conn of a client that reaches its relay by UDP: a connected
// UDP socket that can be replaced by another one.
type socket struct {
	mu     sync.Mutex // guards what follows
	now    conn
	closed bool
}

func (s *socket) current() conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

func (s *socket) Read(datagram []byte) (int, error) {
	for {
		now := s.current()
		n, err := now.Read(datagram)
		if err == nil || now == s.current() {
			return n, err
		}
	}
}

func (s *socket) Write(datagram []byte) (int, error) { return s.current().Write(datagram) }

// replace goes on with next. Nothing is being written meanwhile.
func (s *socket) replace(next conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		next.Close()
		return
	}
	s.now.Close()
	s.now = next
}

func (s *socket) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return s.now.Close()
}

// A dialed is a connected UDP socket.
type dialed struct {
	conn          conn
	local, remote netip.AddrPort
}

// dialUDP connects to host, HOST:PORT. Of a name with several addresses it takes
// the first that the system can send to, from the one after the address before
// on.
func dialUDP(ctx context.Context, resolver *net.Resolver, host string, before netip.Addr) (dialed, error) {
	name, port, err := net.SplitHostPort(host)
	if err != nil {
		return dialed{}, err
	}
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	found, err := resolver.LookupIPAddr(ctx, name)
	if err != nil {
		return dialed{}, err
	}
	last := slices.IndexFunc(found, func(a net.IPAddr) bool {
		addr, _ := netip.AddrFromSlice(a.IP)
		return addr.Unmap().WithZone(a.Zone) == before
	})
	var first error
	for i := range found {
		d, err := connectUDP(ctx, net.JoinHostPort(found[(last+1+i)%len(found)].String(), port))
		if err == nil {
			return d, nil
		}
		if first == nil {
			first = err
		}
	}
	return dialed{}, first
}

// connectUDP returns a socket that is connected to address.
func connectUDP(ctx context.Context, address string) (dialed, error) {
	made, err := new(net.Dialer).DialContext(ctx, "udp", address)
	if err != nil {
		return dialed{}, err
	}
	udp := made.(*net.UDPConn)
	_ = udp.SetReadBuffer(receiveBuffer) // less is no failure
	return dialed{reportErrors(udp), addrPort(udp.LocalAddr()), addrPort(udp.RemoteAddr())}, nil
}

// renew looks the relay up again and goes on from another port, or from the same
// one if samePort is true and neither address has changed. If it fails, the
// client goes on as before.
func (c *Client) renew(samePort bool) {
	ctx, cancel := context.WithTimeout(c.ctx, renewWithin)
	defer cancel()
	c.mu.Lock()
	local, remote := c.local, c.remote
	c.mu.Unlock()
	next, err := c.redial(ctx, remote.Addr())
	if err != nil {
		return
	}
	if samePort && next.remote == remote && next.local.Addr() == local.Addr() {
		next.conn.Close()
		return
	}
	c.sending <- struct{}{}
	defer func() { <-c.sending }()
	c.conn.(*socket).replace(next.conn)
	c.mu.Lock()
	c.local, c.remote, c.relay = next.local, next.remote, next.remote.String()
	c.sentPayload = false
	c.joiner.renewed(time.Now())
	c.publish()
	c.mu.Unlock()
	signal(c.refused)
	signal(c.wake)
}

// Reach returns what is known about the way to the relay by now.
func (c *Client) Reach() Reach {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reach.Reach
}
