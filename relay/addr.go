package relay

import (
	"net"
	"net/netip"
	"strconv"
)

// unmap returns addr with an IPv4-mapped address as IPv4.
func unmap(addr netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// numericZone returns addr with the number of its interface as zone, which can
// not change as a name can.
func numericZone(addr netip.AddrPort) netip.AddrPort {
	zone := addr.Addr().Zone()
	if zone == "" {
		return addr
	}
	if _, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return addr
	}
	link, err := net.InterfaceByName(zone)
	if err != nil {
		return addr
	}
	return netip.AddrPortFrom(addr.Addr().WithZone(strconv.Itoa(link.Index)), addr.Port())
}
