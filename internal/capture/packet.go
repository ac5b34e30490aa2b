package capture

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

const (
	ip4Header = 20
	ip6Header = 40
	udpHeader = 8

	// mostHeaders is what stands before a payload at most.
	mostHeaders = ip6Header + udpHeader

	// maxPacket is the length of the longest packet: of IPv6, whose own header
	// does not count in the 65,535 of the length field.
	maxPacket = ip6Header + 65535

	// protocolUDP is the number of UDP in headers of IP.
	protocolUDP = 17
)

// largestPayload returns how many bytes a datagram of the family of origin can
// have.
func largestPayload(origin netip.Addr) int {
	if origin.Is4() {
		return 65535 - ip4Header - udpHeader
	}
	return 65535 - udpHeader
}

// headers returns the length of the headers before a payload of origin.
func headers(origin netip.Addr) int {
	if origin.Is4() {
		return ip4Header + udpHeader
	}
	return ip6Header + udpHeader
}

// putHeaders writes the headers of a datagram into p and returns their length.
// Both addresses are of one family. Sum is the [onesSum] of its payload, whose
// length fits.
func putHeaders(p []byte, from, to netip.AddrPort, payload int, sum uint64) int {
	length := udpHeader + payload
	sum += protocolUDP + uint64(length) // cannot overflow: onesSum leaves room
	var udp []byte
	if from.Addr().Is4() {
		ip := p[:ip4Header]
		udp = p[ip4Header:][:udpHeader]
		clear(ip)
		ip[0] = 4<<4 | ip4Header/4
		binary.BigEndian.PutUint16(ip[2:], uint16(ip4Header+length))
		ip[6] = 0x40 // do not fragment: then no identification is needed (RFC 6864)
		ip[8], ip[9] = 64, protocolUDP
		source, destination := from.Addr().As4(), to.Addr().As4()
		copy(ip[12:], source[:])
		copy(ip[16:], destination[:])
		binary.BigEndian.PutUint16(ip[10:], ^fold(onesSum(ip)))
		sum += uint64(fold(onesSum(ip[12:])))
	} else {
		ip := p[:ip6Header]
		udp = p[ip6Header:][:udpHeader]
		clear(ip)
		ip[0] = 6 << 4
		binary.BigEndian.PutUint16(ip[4:], uint16(length))
		ip[6], ip[7] = protocolUDP, 64
		source, destination := from.Addr().As16(), to.Addr().As16()
		copy(ip[8:], source[:])
		copy(ip[24:], destination[:])
		sum += uint64(fold(onesSum(ip[8:])))
	}
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(length))
	binary.BigEndian.PutUint16(udp[6:], 0)
	sum += uint64(fold(onesSum(udp)))
	checksum := ^fold(sum)
	if checksum == 0 {
		checksum = 0xffff // 0 says that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(udp[6:], checksum)
	return headers(from.Addr())
}

// onesSum returns the sum of p in 16-bit words of network order, as checksums
// of the Internet are made (RFC 1071), folded to at most 32 bits.
func onesSum(p []byte) (sum uint64) {
	var carry uint64
	for ; len(p) >= 8; p = p[8:] {
		sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(p), carry)
	}
	var last [8]byte
	copy(last[:], p)
	sum, carry = bits.Add64(sum, binary.BigEndian.Uint64(last[:]), carry)
	sum, carry = bits.Add64(sum, 0, carry)
	sum += carry
	return sum>>32 + sum&(1<<32-1)
}

// fold returns a sum in 16 bits.
func fold(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
