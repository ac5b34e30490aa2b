package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/nettest"
)

// A forger sends errors of the network about datagrams that it has not seen.
type forger struct {
	t        testing.TB
	fd4, fd6 int
	n        int // errors forged so far
}

func (m *machine) forger(t testing.TB) *forger {
	t.Helper()
	f := &forger{t: t}
	var err4, err6 error
	m.Do(func() {
		f.fd4, err4 = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		f.fd6, err6 = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	})
	if err4 != nil || err6 != nil {
		t.Fatalf("open raw sockets: %v, %v", err4, err6)
	}
	t.Cleanup(func() { unix.Close(f.fd4); unix.Close(f.fd6) })
	return f
}

// forge sends relay an error of a kind that quotes a datagram from it to peer.
func (f *forger) forge(kind [2]byte, relay, peer netip.AddrPort, payload string) {
	f.t.Helper()
	icmp := []byte{kind[0], kind[1], 0, 0, 0, 0, 1400 >> 8, 1400 & 0xff} // of those too big it says what fits
	fd, dest := f.fd4, unix.Sockaddr(nil)
	if relay.Addr().Is4() {
		icmp = append(icmp, 0x45, 0)
		icmp = binary.BigEndian.AppendUint16(icmp, uint16(20+8+200))
		icmp = append(icmp, 0, 1, 0, 0, 63, unix.IPPROTO_UDP, 0, 0)
		dest = &unix.SockaddrInet4{Addr: relay.Addr().As4()}
	} else {
		icmp = append(icmp, 0x60, 0, 0, 0)
		icmp = binary.BigEndian.AppendUint16(icmp, 8+200)
		icmp = append(icmp, unix.IPPROTO_UDP, 63)
		fd, dest = f.fd6, &unix.SockaddrInet6{Addr: relay.Addr().As16()}
	}
	icmp = append(icmp, relay.Addr().AsSlice()...)
	icmp = append(icmp, peer.Addr().AsSlice()...)
	icmp = binary.BigEndian.AppendUint16(icmp, relay.Port())
	icmp = binary.BigEndian.AppendUint16(icmp, peer.Port())
	icmp = binary.BigEndian.AppendUint16(icmp, 8+200)
	icmp = append(icmp, 0, 0)
	icmp = append(icmp, payload...)
	if relay.Addr().Is4() { // for ICMPv6 the kernel does it
		binary.BigEndian.PutUint16(icmp[2:], icmpChecksum(icmp))
	}
	if err := unix.Sendto(fd, icmp, 0, dest); err != nil {
		f.t.Errorf("send an ICMP message to %v by a raw socket: %v", relay, err)
	}
	f.n++
}

// icmpChecksum returns the checksum of RFC 792.
func icmpChecksum(icmp []byte) uint16 {
	var sum uint32
	for i, c := range icmp {
		sum += uint32(c) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// strays waits until r has told of count stray errors. They are published with
// the next batch, which somebody must bring.
func strays(t testing.TB, r *Relay, by *client, count uint64) {
	t.Helper()
	await(t, func() bool { by.send(""); return r.Stats().StrayErrors >= count },
		func() string { return fmt.Sprintf("want %d stray errors; got %d", count, r.Stats().StrayErrors) })
	if got := r.Stats().StrayErrors; got != count {
		t.Errorf("want %d stray errors; got %d", count, got)
	}
}

// checkUnhurt fails the test if any of the network's errors were believed.
func checkUnhurt(t testing.TB, r *Relay, clients ...*client) {
	t.Helper()
	for _, c := range clients {
		p := r.Peers().Lookup(c.addr)
		if p == nil {
			t.Errorf("want %v to be a peer; it is forgotten", c.addr)
			continue
		}
		if until := p.Path.HoldUntil.Load(); until != 0 {
			t.Errorf("want %v sent to; it is held until %v", c.addr, time.Duration(until))
		}
	}
	checkNoDrops(t, r)
}

// Who has not seen what was sent cannot quote it.
func TestForgedErrorsChangeNothing(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	for _, host := range []string{"10.77.0.", "fd77:0::"} {
		t.Run("some/"+host, func(t *testing.T) { checkForged(t, other, host) })
		for _, w := range ways[:2] {
			t.Run("a flood/"+w.name+"/"+host, func(t *testing.T) { checkFlood(t, w, other, host) })
		}
	}
}

func checkForged(t *testing.T, other *machine, host string) {
	forger := other.forger(t)
	r := startRelay(t, ways[0], onAll, defaults())
	relay := at(r, host+"1")
	live, static, sender := other.client(t, host+"11", relay), other.client(t, host+"12", relay), other.client(t, host+"13", relay)
	live.join(r)
	sender.join(r)
	r.SetStatic([]netip.AddrPort{static.addr})
	stranger := netip.AddrPortFrom(netip.MustParseAddr(host+"14"), live.addr.Port())
	payload := mark(1, 200)
	sender.send(payload)
	live.wants(payload)
	static.wants(payload)
	forger.n = 0
	for _, kind := range kindsOf(relay) {
		for range refusals + 1 {
			for _, peer := range []netip.AddrPort{live.addr, static.addr} {
				forger.forge(kind, relay, peer, mark(99, 100)) // never sent
				forger.forge(kind, relay, peer, "")
				forger.forge(kind, relay, peer, payload[:8])
				forger.forge(kind, relay, peer, payload[:sentPrefix-1])
			}
			forger.forge(kind, relay, stranger, payload[:100])
			forger.forge(kind, relay, stranger, mark(99, 100))
		}
		strays(t, r, sender, uint64(forger.n))
	}
	time.Sleep(refusingTime)
	for range refusals {
		forger.forge([2]byte{kindsOf(relay)[0][0], map[bool]byte{true: 3, false: 4}[relay.Addr().Is4()]}, relay, live.addr, mark(98, 100))
	}
	strays(t, r, sender, uint64(forger.n))
	wantsNothingBefore("the mark", sender, live, static)
	checkUnhurt(t, r, live, sender, static)
}

func checkFlood(t *testing.T, w way, other *machine, host string) {
	const forged, brought, burst = 20_000, 2_000, 20
	forger := other.forger(t)
	r := startRelay(t, w, onAll, defaults())
	relay := at(r, host+"1")
	var live []*client
	for i := range 4 {
		c := other.client(t, fmt.Sprintf("%s%d", host, 11+i), relay)
		roomFor(t, c.conn, 16<<20)
		c.join(r)
		live = append(live, c)
	}
	sender := live[0]
	wantsNothingBefore("the neighbours are found", sender, live[1:]...)
	stranger := netip.AddrPortFrom(netip.MustParseAddr(host+"16"), 9)

	// Neither is ahead of the other by so much that the queue between the
	// machines (net.core.netdev_max_backlog) is full.
	const each = forged / (brought / burst)
	lead := make(chan struct{}, 2)
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		kinds := kindsOf(relay)
		for n := range forged {
			if n%each == 0 {
				lead <- struct{}{}
			}
			peer := live[n%len(live)].addr
			switch n / len(live) % 4 {
			case 0, 1:
				forger.forge(kinds[n%len(kinds)], relay, peer, mark(9_000_000, 100))
			case 2:
				forger.forge(kinds[n%len(kinds)], relay, peer, "")
			case 3:
				forger.forge(kinds[n%len(kinds)], relay, stranger, mark(n, 100))
			}
		}
	}()
	link := r.Attach(discard{})
	defer link.Detach()
	for n := 0; n < brought; n += burst {
		<-lead
		for i := range burst {
			sender.send(mark(2_000_000+n+i, 200))
			if i%(burst/4) == 0 {
				var batch []Datagram
				for k := range burst / 4 {
					batch = append(batch, Datagram{Payload: []byte(mark(1_000_000+n+i+k, 200))})
				}
				if err := link.Bring(batch); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	<-flooded
	for i, c := range live {
		want := 2 * brought
		if c == sender {
			want = brought
		}
		next := map[byte]int{'1': 1_000_000, '2': 2_000_000}
		for range want {
			got := c.receive()
			if got != mark(next[got[0]], 200) {
				t.Fatalf("peer %d: want %s next; got %s; %s", i, short(mark(next[got[0]], 200)), short(got), show(r.Stats()))
			}
			next[got[0]]++
		}
		if source := r.Peers().Lookup(c.addr).Path.Source.Load(); source == nil {
			t.Errorf("want the source address for peer %d remembered; it is forgotten", i)
		}
	}
	checkUnhurt(t, r, live...)
	s := r.Stats()
	if want := uint64(brought*len(live) + (brought+1)*(len(live)-1)); s.Delivered != want {
		t.Errorf("want %d delivered; got %s", want, show(s))
	}
	// Those that came while they were muted are not counted.
	await(t, func() bool { sender.send(""); return r.Stats().StrayErrors > 0 }, "want errors counted as stray; got none")
	t.Logf("%d of %d errors counted; %s", r.Stats().StrayErrors, forged, show(s))
}
