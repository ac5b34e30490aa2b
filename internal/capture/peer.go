package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// A Peer says whose datagrams are wanted: those of an address, of an address
// and port, or of all addresses of a prefix.
type Peer struct {
	prefix netip.Prefix
	port   uint16 // 0: any
}

var errPeer = errors.New("want an address, an address and port, or a prefix, such as 192.0.2.1, [2001:db8::1]:9000 or 192.0.2.0/24")

// ParsePeer reads a peer such as 192.0.2.1, 192.0.2.1:9000, 2001:db8::1,
// [2001:db8::1]:9000 or 192.0.2.0/24. A zone is not taken into account.
func ParsePeer(s string) (Peer, error) {
	switch {
	case strings.Contains(s, "/"):
		prefix, err := netip.ParsePrefix(s)
		if err != nil || prefix.Addr().Is4In6() && prefix.Bits() < 96 {
			break
		}
		if addr := prefix.Addr(); addr.Is4In6() {
			prefix = netip.PrefixFrom(addr.Unmap(), prefix.Bits()-96)
		}
		return Peer{prefix.Masked(), 0}, nil
	default:
		bare := s
		if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
			bare = s[1 : len(s)-1]
		}
		if addr, err := netip.ParseAddr(bare); err == nil {
			return peerOf(addr, 0), nil
		}
		if addr, err := netip.ParseAddrPort(s); err == nil && addr.Port() != 0 {
			return peerOf(addr.Addr(), addr.Port()), nil
		}
	}
	return Peer{}, fmt.Errorf("peer %q: %w", s, errPeer)
}

func peerOf(addr netip.Addr, port uint16) Peer {
	addr = addr.Unmap().WithZone("")
	return Peer{netip.PrefixFrom(addr, addr.BitLen()), port}
}

// covers reports whether datagrams from addr are wanted.
func (p Peer) covers(addr netip.AddrPort) bool {
	return (p.port == 0 || p.port == addr.Port()) && p.prefix.Contains(addr.Addr().WithZone(""))
}

// filter returns the peer as libpcap writes it (pcap-filter(7)).
func (p Peer) filter() string {
	if !p.prefix.IsSingleIP() {
		return "src net " + p.prefix.String()
	}
	text := "src host " + p.prefix.Addr().String()
	if p.port != 0 {
		text += fmt.Sprintf(" and src port %d", p.port)
	}
	return text
}
