package relay

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
)

// Own knows the addresses of the relay's host, and so of itself.
type own struct {
	bound netip.AddrPort // as the socket was bound, unmapped
	host  atomic.Pointer[host]
}

// A host is what was found on its interfaces at some time.
type host struct {
	addrs        map[netip.Addr]bool
	broadcasts   map[netip.Addr]bool // of its networks (RFC 919, section 7)
	sole4, sole6 netip.Addr          // the only address beyond this host, of each family, if there is just one
	moreOnLo     bool                // there is another of 127.0.0.0/8 than 127.0.0.1
}

// contains reports whether addr leads to the relay itself, or to everyone on a
// network of its host, so that it must not become a peer.
func (o *own) contains(addr netip.AddrPort) bool {
	if o.host.Load().broadcasts[addr.Addr()] {
		return true
	}
	if addr.Port() != o.bound.Port() {
		return false
	}
	ip := addr.Addr().WithZone("")
	if !o.bound.Addr().IsUnspecified() {
		return ip == o.bound.Addr().WithZone("")
	}
	// All of 127.0.0.0/8 is local to any host.
	return ip.IsLoopback() || ip.IsUnspecified() || o.host.Load().addrs[ip]
}

// refresh reads the addresses of the host's interfaces again.
func (o *own) refresh() error {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		o.host.CompareAndSwap(nil, newHost(nil))
		return fmt.Errorf("list the addresses of this host: %w", err)
	}
	o.host.Store(newHost(addrs))
	return nil
}

func newHost(addrs []net.Addr) *host {
	h := &host{addrs: make(map[netip.Addr]bool), broadcasts: make(map[netip.Addr]bool)}
	var count4, count6 int
	for _, addr := range addrs {
		network, ok := addr.(*net.IPNet)
		if !ok {
			continue
		}
		ip, _ := netip.AddrFromSlice(network.IP)
		ip = ip.Unmap()
		h.addrs[ip] = true
		if ones, bits := network.Mask.Size(); ip.Is4() && bits == 32 && bits-ones > 1 { // of a network of two, RFC 3021
			all := ip.As4()
			for i, mask := range network.Mask {
				all[i] |= ^mask
			}
			h.broadcasts[netip.AddrFrom4(all)] = true
		}
		switch {
		case ip.IsLoopback() && ip.Is4() && ip != localhost4:
			h.moreOnLo = true
		case ip.IsLoopback() || ip.Is6() && ip.IsLinkLocalUnicast():
		case ip.Is4():
			h.sole4 = ip
			count4++
		default:
			h.sole6 = ip
			count6++
		}
	}
	if count4 > 1 {
		h.sole4 = netip.Addr{}
	}
	if count6 > 1 {
		h.sole6 = netip.Addr{}
	}
	return h
}

// chooses reports whether datagrams to peer leave from source without being
// told to, because this host has no other address that they could leave from.
// To tell the kernel costs it some 8 % of sending a lone datagram.
func (h *host) chooses(source, peer netip.Addr) bool {
	switch {
	case peer.Is4() && peer.IsLoopback():
		// The route of 127.0.0.0/8 says: src 127.0.0.1. That of a single
		// address on lo can say: src that one.
		return source == localhost4 && !h.moreOnLo
	case peer.IsLoopback():
		return source == localhost6
	case source.Is4():
		return source == h.sole4
	default:
		return source == h.sole6 && !peer.IsLinkLocalUnicast()
	}
}

var (
	localhost4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	localhost6 = netip.IPv6Loopback()
)
