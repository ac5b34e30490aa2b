package relay

import (
	"fmt"
	"net/netip"
	"testing"

	"udprelay/internal/nettest"
)

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
	nettest.AwaitUp(t, cable)
	m.AwaitUp(t, cable)
	nettest.AwaitAddress(t, fmt.Sprintf("fd77:%d::1", n))
	for i := 11; i <= 16; i++ {
		m.AwaitAddress(t, fmt.Sprintf("fd77:%d::%d", n, i))
	}
}

// linkLocal gives both ends of cable 0 link-local addresses, fe80::77:1 here.
func (m *machine) linkLocal(t testing.TB) {
	t.Helper()
	nettest.IP(t, "address add fe80::77:1/64 dev cable0 nodad")
	m.IP(t, "address add fe80::77:2/64 dev cable0 nodad")
	nettest.AwaitAddress(t, "fe80::77:1%100")
	m.AwaitAddress(t, "fe80::77:2%100")
}
