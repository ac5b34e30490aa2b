package relaytest

import (
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"udprelay/internal/proof"
)

// What a proving relay gets from and sends to those who are not in.
const (
	Ask    = "ask"    // an empty datagram
	No     = "no"     // the answer to it
	Hello  = "hello"  // anything that gets a cookie
	Cookie = "cookie" // the answer to it
	Proof  = "proof"  // a right one
)

// ProvingOptions are how a proving relay behaves.
type ProvingOptions struct {
	Secret  []byte                                      // nil: a cookie is enough
	Answers int                                         // cookies a second, to all together; 0: no limit
	Drop    func(kind string, from netip.AddrPort) bool // loses a datagram; nil: none; not called at the same time
}

// A Proving is a relay that wants proofs.
type Proving struct {
	Addr    string
	Relayed chan Datagram // what those who are in have sent, but for empty datagrams

	conn    *net.UDPConn
	options ProvingOptions
	start   time.Time
	running sync.WaitGroup

	mu    sync.Mutex // guards what follows
	jar   *proof.Jar
	peers map[netip.AddrPort]bool
	paid  time.Time // answers until then have been given
}

// StartProving starts a relay that wants proofs, and lasts as long as the test.
func StartProving(t testing.TB, options ProvingOptions) *Proving {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	r := &Proving{
		Addr: conn.LocalAddr().String(), Relayed: make(chan Datagram, 1<<16), conn: conn, options: options, start: time.Now(),
	}
	r.Forget(options.Secret)
	r.running.Go(r.run)
	t.Cleanup(r.Close)
	return r
}

// Close ends the relay.
func (r *Proving) Close() {
	r.conn.Close()
	r.running.Wait()
}

// Forget is what a restart is for the peers. The secret may be another one.
func (r *Proving) Forget(secret []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.options.Secret, r.jar, r.peers = secret, proof.NewJar(secret), map[netip.AddrPort]bool{}
}

// Peers returns how many are in.
func (r *Proving) Peers() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.peers)
}

// Say sends payload to all who are in.
func (r *Proving) Say(payload string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spread([]byte(payload), netip.AddrPort{})
}

// Next returns the next payload that was relayed.
func (r *Proving) Next(t testing.TB) string {
	t.Helper()
	select {
	case d := <-r.Relayed:
		return d.Payload
	case <-time.After(3 * Patience):
		t.Fatalf("the relay had nothing to relay for %v", 3*Patience)
		return ""
	}
}

func (r *Proving) run() {
	buf := make([]byte, 1<<16)
	for {
		n, from, err := r.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.take(buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()))
		r.mu.Unlock()
	}
}

func (r *Proving) take(payload []byte, from netip.AddrPort) {
	now := int64(time.Since(r.start))
	if r.peers[from] {
		if len(payload) > 0 {
			r.spread(payload, from)
			r.Relayed <- Datagram{from, string(payload)}
		}
		return
	}
	switch r.jar.Check(payload, from, r.options.Secret != nil, now) {
	case proof.Proved:
		if !r.drops(Proof, from) {
			r.peers[from] = true
		}
	default:
		asked, answered := Ask, No
		if len(payload) > 0 {
			asked, answered = Hello, Cookie
		}
		if r.drops(asked, from) {
			return
		}
		if answer, ok := r.jar.Answer(from, payload, now); ok && (len(payload) == 0 || r.mayAnswer()) && !r.drops(answered, from) {
			_, _ = r.conn.WriteToUDPAddrPort(answer, from)
		}
	}
}

func (r *Proving) drops(kind string, from netip.AddrPort) bool {
	return r.options.Drop != nil && r.options.Drop(kind, from)
}

// mayAnswer takes an answer out of the bucket of one second's worth.
func (r *Proving) mayAnswer() bool {
	if r.options.Answers == 0 {
		return true
	}
	now := time.Now()
	if r.paid.Before(now) {
		r.paid = now
	}
	if r.paid.Sub(now) >= time.Second {
		return false
	}
	r.paid = r.paid.Add(time.Second / time.Duration(r.options.Answers))
	return true
}

func (r *Proving) spread(payload []byte, from netip.AddrPort) {
	for peer := range r.peers {
		if peer != from {
			_, _ = r.conn.WriteToUDPAddrPort(payload, peer) // a peer that has left
		}
	}
}
