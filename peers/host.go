package peers

import "net/netip"

// An addressKey is what MaxPerAddress counts by: an IPv4 address, an IPv6 /64
// (what one customer is given at least, RFC 6177), or, because all hosts on a
// link share fe80::/64, a whole link-local address. All of 127.0.0.0/8 is one
// host.
type addressKey [16]byte

func keyOf(addr netip.Addr) addressKey {
	if addr.Is4() && addr.IsLoopback() {
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	key := addressKey(addr.As16())
	if addr.Is6() && !addr.IsLinkLocalUnicast() {
		clear(key[8:])
	}
	return key
}

// A Host stands for the addresses of one host, as [Options.MaxPerAddress] counts
// them. It can be compared.
type Host struct{ key addressKey }

// HostOf returns the host that addr, which must be unmapped, is of.
func HostOf(addr netip.Addr) Host { return Host{keyOf(addr)} }
