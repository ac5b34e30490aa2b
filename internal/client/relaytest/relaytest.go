// Package relaytest is what the tests of clients need: a relay of a few lines,
// a terminal, and a client in a process of its own. The relay is a loop on one
// real socket, without limits, expiry or configuration, that shows a test
// every datagram that arrives.
package relaytest

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"udprelay/internal/testwait"
)

// Patience is how long a test waits for what must happen.
const Patience = testwait.Patience

// A Datagram is one that reached the relay; a keep-alive has no payload.
type Datagram struct {
	From    netip.AddrPort
	Payload string
}

// A Relay sends each datagram to every other address that has sent one.
type Relay struct {
	Addr     string // HOST:PORT
	conn     *net.UDPConn
	arrivals chan Datagram
	running  sync.WaitGroup
}

// Start starts a relay on a free port of 127.0.0.1 that lasts as long as the
// test.
func Start(t testing.TB) *Relay {
	t.Helper()
	return StartAt(t, "127.0.0.1:0")
}

// StartAt starts a relay at address.
func StartAt(t testing.TB, address string) *Relay {
	t.Helper()
	bind, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP("udp", bind)
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Addr: conn.LocalAddr().String(), conn: conn, arrivals: make(chan Datagram, 1<<14)}
	r.running.Go(r.run)
	t.Cleanup(r.Close)
	return r
}

// FreeAddr returns an address of 127.0.0.1 where nothing listens.
func FreeAddr(t testing.TB) string {
	t.Helper()
	r := Start(t)
	r.Close()
	return r.Addr
}

// Close ends the relay; what is sent to it from now on is refused.
func (r *Relay) Close() {
	r.conn.Close()
	r.running.Wait()
}

// Next returns the next datagram that reached the relay.
func (r *Relay) Next(t testing.TB) Datagram {
	t.Helper()
	select {
	case d := <-r.arrivals:
		return d
	case <-time.After(Patience):
		t.Fatalf("the relay got no datagram for %v", Patience)
		return Datagram{}
	}
}

// NextPayload returns the next payload that reached the relay, keep-alives
// left out.
func (r *Relay) NextPayload(t testing.TB) string {
	t.Helper()
	for {
		if d := r.Next(t); d.Payload != "" {
			return d.Payload
		}
	}
}

// Send sends payload from the relay to one peer.
func (r *Relay) Send(t testing.TB, to netip.AddrPort, payload string) {
	t.Helper()
	if _, err := r.conn.WriteToUDPAddrPort([]byte(payload), to); err != nil {
		t.Fatal(err)
	}
}

func (r *Relay) run() {
	peers := map[netip.AddrPort]bool{}
	buf := make([]byte, 1<<16)
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		peers[from] = true
		if n > 0 {
			for peer := range peers {
				if peer != from {
					_, _ = r.conn.WriteToUDPAddrPort(buf[:n], peer) // a peer that has left
				}
			}
		}
		r.arrivals <- Datagram{from, string(buf[:n])}
	}
}
