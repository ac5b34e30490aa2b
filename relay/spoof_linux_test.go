package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"udprelay/internal/nettest"
)

// spoof sends a datagram that says it comes from another address.
func spoof(t testing.TB, from, to netip.AddrPort, payload string) {
	t.Helper()
	udp := binary.BigEndian.AppendUint16(nil, from.Port())
	udp = binary.BigEndian.AppendUint16(udp, to.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...)
	binary.BigEndian.PutUint16(udp[6:], udpChecksum(from.Addr(), to.Addr(), udp))

	family, packet := unix.AF_INET, []byte(nil)
	var dest unix.Sockaddr
	if from.Addr().Is4() {
		packet = append(packet, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0) // the kernel fills in the rest
		dest = &unix.SockaddrInet4{Addr: to.Addr().As4()}
	} else {
		family = unix.AF_INET6
		packet = append(packet, 0x60, 0, 0, 0)
		packet = binary.BigEndian.AppendUint16(packet, uint16(len(udp)))
		packet = append(packet, unix.IPPROTO_UDP, 64)
		dest = &unix.SockaddrInet6{Addr: to.Addr().As16()}
	}
	packet = append(packet, from.Addr().AsSlice()...)
	packet = append(packet, to.Addr().AsSlice()...)
	packet = append(packet, udp...)

	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		t.Fatalf("open a raw socket: %v", err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, packet, 0, dest); err != nil {
		t.Fatalf("send from %v to %v by a raw socket: %v", from, to, err)
	}
}

// udpChecksum returns the checksum of RFC 768 and RFC 8200, section 8.1.
func udpChecksum(from, to netip.Addr, udp []byte) uint16 {
	var sum uint32
	add := func(b []byte) {
		for i, c := range b {
			sum += uint32(c) << (8 * (1 - i%2))
		}
	}
	add(from.AsSlice())
	add(to.AsSlice())
	add([]byte{0, unix.IPPROTO_UDP})
	add(binary.BigEndian.AppendUint16(nil, uint16(len(udp))))
	add(udp)
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return max(^uint16(sum), 1)
}

// A datagram from the relay to itself would be relayed for ever.
func TestDatagramThatSaysItIsFromTheRelayItselfIsDropped(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, onAll, defaults())
		peer := newPeer(t, r, near(r))
		sayer := newPeer(t, r, near(r))
		port := r.Addr().Port()
		count := uint64(0)
		wantsDrop := func(from netip.AddrPort, to string) {
			t.Helper()
			spoof(t, from, at(r, to), "echo")
			count++
			awaitStats(t, r, fmt.Sprintf("the datagram from %v dropped as never_a_peer, as %d", from, count), func(s Stats) bool { return s.Dropped[DropNeverAPeer] == count })
		}
		for _, host := range []string{"127.0.0.1", "127.0.0.2", "10.77.0.1"} {
			wantsDrop(netip.AddrPortFrom(netip.MustParseAddr(host), port), "127.0.0.1")
			wantsDrop(netip.AddrPortFrom(netip.MustParseAddr(host), port), "10.77.0.1")
		}
		for _, host := range []string{"::1", "fd77:0::1"} {
			wantsDrop(netip.AddrPortFrom(netip.MustParseAddr(host), port), "::1")
			wantsDrop(netip.AddrPortFrom(netip.MustParseAddr(host), port), "fd77:0::1")
		}
		// Port 0 is no address to reply to.
		wantsDrop(netip.MustParseAddrPort("127.0.0.1:0"), "127.0.0.1")
		wantsDrop(netip.MustParseAddrPort("[::1]:0"), "::1")

		// An address that the host gets later.
		nettest.IP(t, "address add 10.99.0.1/32 dev lo")
		defer nettest.IP(t, "address del 10.99.0.1/32 dev lo")
		later := netip.AddrPortFrom(netip.MustParseAddr("10.99.0.1"), port)
		await(t, func() bool { return r.own.contains(later) }, "want the relay to know its new address; it does not")
		wantsDrop(later, "127.0.0.1")

		wantsNothingBefore("the mark", sayer, peer)
		if got := len(r.Peers().Peers()); got != 2 {
			t.Errorf("want 2 peers; got %d", got)
		}
		// What is spoofed with another port is a peer like any other.
		spoof(t, netip.MustParseAddrPort("127.0.0.1:9"), near(r), "from elsewhere")
		peer.wants("from elsewhere")
	})
}
