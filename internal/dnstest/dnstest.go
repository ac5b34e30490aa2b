// Package dnstest is a name server for tests.
package dnstest

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// A Zone is a DNS server on loopback, which the real resolver asks.
type Zone struct {
	addr string

	mu     sync.Mutex
	names  map[string][]netip.Addr
	silent map[string]bool
	asked  map[string]int
	conns  []net.Conn // of resolvers
	gone   bool
}

// New returns a server that lasts as long as the test.
func New(t testing.TB) *Zone {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &Zone{addr: conn.LocalAddr().String(), names: map[string][]netip.Addr{}, silent: map[string]bool{}, asked: map[string]int{}}
	var serving sync.WaitGroup
	serving.Go(func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer := z.answer(t, buffer[:n]); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	})
	t.Cleanup(func() {
		z.close()
		conn.Close()
		serving.Wait()
	})
	return z
}

// Set makes name stand for addrs; none: the name does not exist.
func (z *Zone) Set(name string, addrs ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.names, name)
	for _, addr := range addrs {
		z.names[name] = append(z.names[name], netip.MustParseAddr(addr))
	}
}

// Silence makes questions about name go without an answer.
func (z *Zone) Silence(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.silent[name] = true
}

// Questions returns how often name was asked about.
func (z *Zone) Questions(name string) int {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.asked[name]
}

// Resolver is Go's own, with z for its server. A look-up that is cancelled goes
// on inside of it until the server answers or five seconds have passed, so the
// end of z takes its connections away.
func (z *Zone) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		z.mu.Lock()
		defer z.mu.Unlock()
		if z.gone {
			return nil, net.ErrClosed
		}
		conn, err := new(net.Dialer).DialContext(ctx, "udp", z.addr)
		if err == nil {
			z.conns = append(z.conns, conn)
		}
		return conn, err
	}}
}

func (z *Zone) close() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.gone = true
	for _, conn := range z.conns {
		conn.Close()
	}
}

func (z *Zone) answer(t testing.TB, question []byte) []byte {
	z.mu.Lock()
	defer z.mu.Unlock()
	var message dnsmessage.Message
	if err := message.Unpack(question); err != nil {
		t.Errorf("question: %v", err)
		return nil
	}
	q := message.Questions[0]
	name := q.Name.String()
	name = name[:len(name)-1]
	z.asked[name]++
	if z.silent[name] {
		return nil
	}
	reply := dnsmessage.Message{Header: dnsmessage.Header{ID: message.ID, Response: true, Authoritative: true}, Questions: message.Questions}
	if _, exists := z.names[name]; !exists {
		reply.RCode = dnsmessage.RCodeNameError
	}
	for _, addr := range z.names[name] {
		header := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class}
		switch {
		case q.Type == dnsmessage.TypeA && addr.Is4():
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: addr.As4()}})
		case q.Type == dnsmessage.TypeAAAA && addr.Is6():
			reply.Answers = append(reply.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}})
		}
	}
	packed, err := reply.Pack()
	if err != nil {
		t.Errorf("answer: %v", err)
	}
	return packed
}
