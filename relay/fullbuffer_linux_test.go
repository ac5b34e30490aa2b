package relay

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/nettest"
	"udprelay/internal/testneed"
)

// manyPeers makes count static peers of r, that one socket receives for and
// drops what comes.
func manyPeers(t testing.TB, r *Relay, count int) {
	t.Helper()
	sink := newSinks(t, "0.0.0.0", 1)[0]
	var addrs []netip.AddrPort
	for i := range count {
		addrs = append(addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), sink.addr.Port()))
	}
	r.Peers().SetStatic(addrs, time.Now())
}

// To send a batch to many takes longer than a batch may wait for room.
func TestBatchThatTakesLongToSendIsSentToTheEnd(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, on4, defaults())
		const peers, count = 500, maxBatch
		manyPeers(t, r, peers)
		a := r.Attach(discard{})
		texts := make([]string, count)
		for i := range texts {
			texts[i] = strings.Repeat("x", 1+i) // each longer than the one before: no trains
		}
		bring(t, a, texts...)
		if s := r.Stats(); s.Delivered != peers*count {
			t.Errorf("want %d delivered; got %s", peers*count, show(s))
		}
	})
}

// An interface that is slow, or stuck, fills the send buffer. What found no
// room is counted, and what is counted as delivered arrives.
func TestFullSendBufferIsCounted(t *testing.T) {
	testneed.Tool(t, "tc")
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	texts := slices.Repeat([]string{strings.Repeat("x", 1000)}, 400)
	eachWay(t, func(t *testing.T, w way) {
		for _, stuck := range []bool{false, true} {
			t.Run(fmt.Sprintf("stuck=%t", stuck), func(t *testing.T) {
				options := defaults()
				options.SendBuffer = 32 << 10
				r := startRelay(t, w, onAll4, options)
				var clients []*client
				for n := range 3 {
					c := other.client(t, fmt.Sprintf("10.77.0.%d", 11+n), at(r, "10.77.0.1"))
					roomFor(t, c.conn, 4<<20)
					c.join(r)
					clients = append(clients, c)
				}
				nettest.Run(t, "tc qdisc add dev cable0 root tbf burst 16kb limit 16mb rate "+map[bool]string{false: "50mbit", true: "8kbit"}[stuck])
				defer nettest.Run(t, "tc qdisc del dev cable0 root")
				a := r.Attach(discard{})
				bring(t, a, texts...)
				s := r.Stats()
				if s.Delivered+s.Dropped[DropNoBuffer] != 1200 || stuck && s.Dropped[DropNoBuffer] == 0 {
					t.Errorf("want 1200 delivered or dropped as no_buffer; got %s", show(s))
				}
				t.Log(show(s))
				if stuck {
					return // what waits is lost with the queue
				}
				arrived := uint64(0)
				await(t, func() bool {
					for _, c := range clients {
						arrived += uint64(c.drain())
					}
					return arrived >= s.Delivered
				}, func() string { return fmt.Sprintf("want %d datagrams at the receivers; got %d", s.Delivered, arrived) })
				// There is room again: the next gets through, and is the next.
				bring(t, a, "after")
				for _, c := range clients {
					c.wants("after")
				}
			})
		}
	})
}

// drain receives what is there and returns how many datagrams that were.
func (c *client) drain() (count int) {
	raw, err := c.conn.SyscallConn()
	if err != nil {
		c.t.Fatal(err)
	}
	buffer := make([]byte, maxDatagram)
	raw.Control(func(fd uintptr) {
		for {
			if _, _, err := unix.Recvfrom(int(fd), buffer, unix.MSG_DONTWAIT); err != nil {
				return
			}
			count++
		}
	})
	return count
}

// A peer that cannot be sent to from this socket at all is the only one to
// miss anything.
func TestPeerOfAnotherFamilyCostsOnlyItself(t *testing.T) {
	needIPv6(t)
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		before := newPeer(t, r, near(r))
		foreign, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
		if err != nil {
			t.Fatal(err)
		}
		defer foreign.Close()
		r.Peers().SetStatic([]netip.AddrPort{foreign.LocalAddr().(*net.UDPAddr).AddrPort()}, time.Now())
		behind := newPeer(t, r, near(r))
		a := r.Attach(discard{})
		bring(t, a, twoTrains...)
		before.wants(twoTrains...)
		behind.wants(twoTrains...)
		if s := r.Stats(); s.Dropped[DropUnreachable] != uint64(len(twoTrains)) {
			t.Errorf("want %d dropped as unreachable; got %s", len(twoTrains), show(s))
		}
	})
}
