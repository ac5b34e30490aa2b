package bench

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// A fake is a relay that does what it must not do.
type fake struct {
	addr   netip.AddrPort
	conn   *net.UDPConn
	hold   time.Duration         // each datagram, before it is relayed
	lose   func(number int) bool // whether a datagram of a run, from 0, is lost; nil: none
	stall  func(number int) time.Duration
	twice  bool             // relays datagrams of a run twice
	only   []netip.AddrPort // relays to these, and does not learn
	mute   bool             // relays nothing
	empty  bool             // relays empty datagrams, too
	uneven bool             // relays those of a run twice to the first peer, and not to others

	mu       sync.Mutex
	lost     int
	seen     int // datagrams of a run
	empties  int
	speakers []netip.AddrPort
}

type held struct {
	datagram []byte
	from     netip.AddrPort
	until    time.Time
}

// start starts the relay, which lasts as long as the test.
func (f *fake) start(t *testing.T) *fake {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	f.conn, f.addr = conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()
	queue := make(chan held, 1<<16)
	var running sync.WaitGroup
	running.Go(func() { f.receive(queue) })
	running.Go(func() { f.relay(queue) })
	t.Cleanup(func() {
		conn.Close()
		running.Wait()
	})
	return f
}

func (f *fake) receive(queue chan<- held) {
	defer close(queue)
	for buffer := make([]byte, 1<<16); ; {
		n, from, err := f.conn.ReadFromUDPAddrPort(buffer)
		if err != nil {
			return
		}
		queue <- held{slices.Clone(buffer[:n]), netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), time.Now().Add(f.hold)}
	}
}

// relay relays what is in the queue. Probes are relayed as well as it can.
func (f *fake) relay(queue <-chan held) {
	peers := f.only
	for h := range queue {
		if f.only == nil && !slices.Contains(peers, h.from) {
			peers = append(peers, h.from)
		}
		if f.mute || !f.note(h) {
			continue
		}
		time.Sleep(time.Until(h.until))
		given := 0
		for _, p := range peers {
			if p == h.from {
				continue
			}
			if given++; f.uneven && h.measured() {
				for range 2 * min(1, max(0, 2-given)) {
					_, _ = f.conn.WriteToUDPAddrPort(h.datagram, p)
				}
				continue
			}
			_, _ = f.conn.WriteToUDPAddrPort(h.datagram, p) // a peer may be gone
			if f.twice && h.measured() {
				_, _ = f.conn.WriteToUDPAddrPort(h.datagram, p)
			}
		}
	}
}

func (h held) measured() bool {
	run, _, _, ok := stampOf(h.datagram)
	return ok && run&1 == 0
}

// note counts a datagram and reports whether to relay it.
func (f *fake) note(h held) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(h.datagram) == 0 {
		f.empties++
		return f.empty
	}
	if !h.measured() {
		return true
	}
	if !slices.Contains(f.speakers, h.from) {
		f.speakers = append(f.speakers, h.from)
	}
	number := f.seen
	f.seen++
	if f.stall != nil {
		time.Sleep(f.stall(number))
	}
	if f.lose != nil && f.lose(number) {
		f.lost++
		return false
	}
	return true
}
