package relay

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"udprelay/internal/nettest"
)

// awaitAddress waits until what is sent to addr, of this host, is received: of
// IPv6, the kernel makes the route to an address a moment after ip(8) has said
// that it is there, also without duplicate address detection.
func awaitAddress(t testing.TB, addr string) {
	t.Helper()
	await(t, func() bool { return isLocal(addr) }, "want "+addr+" to be an address of this host; it is none")
}

// isLocal reports whether what is sent to addr comes back to this host.
func isLocal(addr string) bool {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0)))
	if err != nil {
		return false
	}
	defer conn.Close()
	if _, err := conn.WriteTo([]byte("x"), conn.LocalAddr()); err != nil {
		return false
	}
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err = conn.Read(make([]byte, 1))
	return err == nil
}

// A machine is another host, whose clients talk to relays of this one.
type machine struct{ *nettest.Machine }

func newMachine(t testing.TB) *machine {
	t.Helper()
	return &machine{nettest.NewMachine(t)}
}

// client returns a client on the machine.
func (m *machine) client(t testing.TB, from string, to netip.AddrPort) (c *client) {
	t.Helper()
	m.Do(func() { c = newClientAt(t, netip.AddrPortFrom(netip.MustParseAddr(from), 0), to) })
	return c
}

// connect lays cable number n to the other machine. This one has the addresses
// 10.77.n.1 and fd77:n::1 there, the other one 10.77.n.11 to .16 and fd77:n::11
// to ::16.
//
// The interface has one name and number at both ends, for package net keeps
// one list of them, whatever the namespace.
func (m *machine) connect(t testing.TB, n int) {
	t.Helper()
	cable := fmt.Sprintf("cable%d", n)
	nettest.IP(t,
		fmt.Sprintf("link add %s index %d type veth peer name %s index %d netns %d", cable, 100+n, cable, 100+n, m.Thread()),
		fmt.Sprintf("address add 10.77.%d.1/24 broadcast + dev %s", n, cable),
		fmt.Sprintf("address add fd77:%d::1/64 dev %s nodad", n, cable),
		"link set "+cable+" up")
	var commands []string
	for i := 11; i <= 16; i++ {
		commands = append(commands,
			fmt.Sprintf("address add 10.77.%d.%d/24 broadcast + dev %s", n, i, cable),
			fmt.Sprintf("address add fd77:%d::%d/64 dev %s nodad", n, i, cable))
	}
	m.IP(t, append(commands, "link set "+cable+" up")...)
	awaitAddress(t, fmt.Sprintf("fd77:%d::1", n))
	await(t, func() (all bool) {
		m.Do(func() {
			all = true
			for i := 11; i <= 16; i++ {
				all = all && isLocal(fmt.Sprintf("fd77:%d::%d", n, i))
			}
		})
		return all
	}, "want the addresses of the other machine to be there; they are not")
}
