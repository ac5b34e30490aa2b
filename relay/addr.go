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
// not change as a name can. False: there is no such interface.
func numericZone(addr netip.AddrPort) (numeric netip.AddrPort, ok bool) {
	zone := addr.Addr().Zone()
	if zone == "" {
		return addr, true
	}
	if _, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return addr, true
	}
	link, err := net.InterfaceByName(zone)
	if err != nil {
		return addr, false
	}
	return netip.AddrPortFrom(addr.Addr().WithZone(strconv.Itoa(link.Index)), addr.Port()), true
}
