package daemon

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
)

func TestThePortOwnerIsWhoIsInTheWay(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 5)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	name, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	us := fmt.Sprintf("%s (process %d)", name[:len(name)-1], os.Getpid())
	for _, test := range []struct {
		wanted netip.AddrPort
		owner  string
	}{
		{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.5"), port), us},
		{netip.AddrPortFrom(netip.Addr{}, port), us},
		{netip.AddrPortFrom(netip.IPv4Unspecified(), port), us},
		{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.6"), port), ""},
	} {
		if got := portOwner(test.wanted); got != test.owner {
			t.Errorf("want %q in the way of %v, got %q", test.owner, test.wanted, got)
		}
	}
}

func TestAnAddressOfProcNetUDPIsRead(t *testing.T) {
	conn, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	addr := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if got := portOwner(addr); got == "" {
		t.Errorf("want the owner of %v to be found, got nobody", addr)
	}
	for _, text := range []string{"", "0100007F", "0100007F:", "0100007F:12345", "01007F:0035", "zz00007F:0035"} {
		if got, ok := parseLocal(text); ok {
			t.Errorf("want %q to be refused, got %v", text, got)
		}
	}
}
