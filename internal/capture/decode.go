package capture

import (
	"encoding/binary"
	"net/netip"
)

// A Skip is why a packet of a file is not played.
type Skip uint8

// The reasons.
const (
	SkipLinkType  Skip = iota // of a link type that is not read
	SkipNotUDP                // not IPv4 or IPv6, or not UDP in it
	SkipFragment              // a fragment of an IP packet
	SkipTruncated             // the file has only the beginning (snaplen)
	SkipMalformed             // its headers contradict each other
	SkipPort                  // of other ports than those that are wanted
	SkipSource                // of more sources than there are sockets
	skips
)

// String returns the reason in words.
func (s Skip) String() string {
	return [...]string{
		SkipLinkType:  "of a link type that is not read",
		SkipNotUDP:    "not UDP",
		SkipFragment:  "IP fragments",
		SkipTruncated: "cut short by the capture",
		SkipMalformed: "malformed",
		SkipPort:      "of other ports",
		SkipSource:    "of too many sources",
	}[s]
}

// kept says that a packet is not skipped.
const kept Skip = skips

// Link types, see https://www.tcpdump.org/linktypes.html.
const (
	linkNull      = 0
	linkEthernet  = 1
	linkRawBSD    = 12
	linkRawOpen   = 14
	linkRaw       = 101
	linkLoop      = 108
	linkCooked    = 113
	linkIPv4      = 228
	linkIPv6      = 229
	linkCookedTwo = 276
)

// EtherTypes.
const (
	etherIPv4    = 0x0800
	etherIPv6    = 0x86dd
	etherVLAN    = 0x8100
	etherService = 0x88a8
	etherOldQinQ = 0x9100
)

// A datagram is what is played of a packet.
type datagram struct {
	from, to netip.AddrPort
	payload  []byte
}

// A packet is what is left of a frame while its headers are taken off.
type packet struct {
	data []byte
	cut  bool // the file has not all of it
}

// short is why a packet with less data than its headers say is skipped.
func (p packet) short() Skip {
	if p.cut {
		return SkipTruncated
	}
	return SkipMalformed
}

// decode finds the datagram in a frame. Its payload is part of the frame's
// data.
func decode(f frame) (datagram, Skip) {
	p := packet{f.data, len(f.data) < f.length}
	switch f.link {
	case linkRaw, linkRawBSD, linkRawOpen, linkIPv4, linkIPv6:
		return p.ip()
	case linkEthernet:
		return p.ether(12)
	case linkCooked:
		return p.cooked(14, 16)
	case linkCookedTwo:
		return p.cooked(0, 20)
	case linkNull, linkLoop:
		// The number of the family differs between systems, and IP says itself
		// what it is.
		if len(p.data) < 4 {
			return datagram{}, p.short()
		}
		p.data = p.data[4:]
		return p.ip()
	}
	return datagram{}, SkipLinkType
}

// ether takes off Ethernet, whose type is at the offset.
func (p packet) ether(offset int) (datagram, Skip) {
	for {
		if len(p.data) < offset+2 {
			return datagram{}, p.short()
		}
		kind := binary.BigEndian.Uint16(p.data[offset:])
		p.data = p.data[offset+2:]
		switch kind {
		case etherIPv4, etherIPv6:
			return p.ip()
		case etherVLAN, etherService, etherOldQinQ:
			offset = 2 // behind the tag
		default:
			return datagram{}, SkipNotUDP
		}
	}
}

// cooked takes off what Linux puts before packets of the pseudo-interface
// "any", of the length given and with the type at the offset. The tags of VLANs
// may follow.
func (p packet) cooked(offset, length int) (datagram, Skip) {
	if len(p.data) < length {
		return datagram{}, p.short()
	}
	kind := binary.BigEndian.Uint16(p.data[offset:])
	p.data = p.data[length:]
	switch kind {
	case etherIPv4, etherIPv6:
		return p.ip()
	case etherVLAN, etherService, etherOldQinQ:
		return p.ether(2)
	}
	return datagram{}, SkipNotUDP
}

// ip takes off the header of IPv4 or IPv6.
func (p packet) ip() (datagram, Skip) {
	if len(p.data) == 0 {
		return datagram{}, p.short()
	}
	switch p.data[0] >> 4 {
	case 4:
		return p.ip4()
	case 6:
		return p.ip6()
	}
	return datagram{}, SkipNotUDP
}

// shorten takes away what is behind the packet, such as the padding of
// Ethernet. A length of 0 is one that the sender's network card fills in: the
// packet is all there is.
func (p *packet) shorten(length int, none bool) {
	switch {
	case none:
	case length <= len(p.data):
		p.data, p.cut = p.data[:length], false
	}
}

func (p packet) ip4() (datagram, Skip) {
	if len(p.data) < ip4Header {
		return datagram{}, p.short()
	}
	header, total := int(p.data[0]&15)*4, int(binary.BigEndian.Uint16(p.data[2:]))
	if header < ip4Header || total != 0 && total < header {
		return datagram{}, SkipMalformed
	}
	protocol, fragment := p.data[9], binary.BigEndian.Uint16(p.data[6:])&0x3fff != 0
	from, to := netip.AddrFrom4([4]byte(p.data[12:])), netip.AddrFrom4([4]byte(p.data[16:]))
	p.shorten(total, total == 0)
	switch {
	case protocol != protocolUDP:
		return datagram{}, SkipNotUDP
	case fragment:
		return datagram{}, SkipFragment
	case len(p.data) < header:
		return datagram{}, p.short()
	}
	p.data = p.data[header:]
	return p.udp(from, to)
}

// Headers that may stand between those of IPv6 and UDP (RFC 8200, RFC 4302).
const (
	nextHopByHop     = 0
	nextRouting      = 43
	nextFragment     = 44
	nextAuthentic    = 51
	nextDestinations = 60
)

func (p packet) ip6() (datagram, Skip) {
	if len(p.data) < ip6Header {
		return datagram{}, p.short()
	}
	length := int(binary.BigEndian.Uint16(p.data[4:]))
	from, to := netip.AddrFrom16([16]byte(p.data[8:])), netip.AddrFrom16([16]byte(p.data[24:]))
	next := p.data[6]
	p.data = p.data[ip6Header:]
	p.shorten(length, length == 0)
	for {
		size := 8
		switch next {
		case protocolUDP:
			return p.udp(from, to)
		case nextHopByHop, nextRouting, nextDestinations, nextAuthentic, nextFragment:
		default:
			return datagram{}, SkipNotUDP
		}
		if len(p.data) < size {
			return datagram{}, p.short()
		}
		switch next {
		case nextFragment:
			if binary.BigEndian.Uint16(p.data[2:])&^0x6 != 0 { // an offset, or more to come
				return datagram{}, SkipFragment
			}
		case nextAuthentic:
			size = (int(p.data[1]) + 2) * 4
		default:
			size = (int(p.data[1]) + 1) * 8
		}
		if len(p.data) < size {
			return datagram{}, p.short()
		}
		next, p.data = p.data[0], p.data[size:]
	}
}

// udp takes off the header of UDP.
func (p packet) udp(from, to netip.Addr) (datagram, Skip) {
	if len(p.data) < udpHeader {
		return datagram{}, p.short()
	}
	length := int(binary.BigEndian.Uint16(p.data[4:]))
	if length != 0 && length < udpHeader {
		return datagram{}, SkipMalformed
	}
	if length == 0 && p.cut || length > len(p.data) {
		return datagram{}, p.short()
	}
	if length == 0 {
		length = len(p.data)
	}
	return datagram{
		from:    netip.AddrPortFrom(from, binary.BigEndian.Uint16(p.data)),
		to:      netip.AddrPortFrom(to, binary.BigEndian.Uint16(p.data[2:])),
		payload: p.data[udpHeader:length],
	}, kept
}
