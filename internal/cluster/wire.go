package cluster

import (
	"encoding/binary"
	"math"
	"net/netip"

	"udprelay/relay"
)

const (
	magic       = "UDR"
	wireVersion = 1

	headerBytes = 24
	sealBytes   = 16 // the tag of AES-GCM

	// maxMessage is the size of the longest message. It has room for the
	// longest datagram.
	maxMessage = 66 << 10

	maxPayload = math.MaxUint16
	maxEntry   = 1 + 18 + 2 // of a datagram without its payload
	leastEntry = 1 + 2 + 1
)

const _ = uint(maxMessage - headerBytes - maxEntry - maxPayload - sealBytes)

// Each message numbers its datagrams in 16 bits.
const _ = uint(math.MaxUint16 - maxMessage/leastEntry)

// A kind is what a message carries.
type kind byte

const (
	kindDatagrams kind = 1
	kindBeat      kind = 2
)

// Flags of a message.
const flagSealed = 1

// Tags of a datagram: whose address follows.
const (
	tagSame = 0 // none: the origin is that of the datagram before
	tagNone = 1 // none: the origin has no address
	tag4    = 4
	tag6    = 6
)

// A nodeID is what a node calls itself in messages, made anew at each start.
type nodeID [8]byte

// A header is the first bytes of a message.
type header struct {
	kind   kind
	sealed bool
	count  int    // of datagrams
	node   nodeID // who sent it
	number uint64 // of the first datagram, or of the beat
}

// put writes h to the first headerBytes of p.
func (h *header) put(p []byte) {
	copy(p, magic)
	p[3], p[4], p[5] = wireVersion, byte(h.kind), 0
	if h.sealed {
		p[5] = flagSealed
	}
	binary.BigEndian.PutUint16(p[6:], uint16(h.count))
	copy(p[8:], h.node[:])
	binary.BigEndian.PutUint64(p[16:], h.number)
}

// A message gathers datagrams. The room for the header is left free until
// there is a number for it.
type message struct {
	buf   []byte // headerBytes, and the datagrams
	count int
	from  netip.AddrPort // the origin of the last

	payloads int // bytes of them
}

func newMessage() *message {
	return &message{buf: make([]byte, headerBytes, maxMessage)}
}

// reset makes the message empty.
func (m *message) reset() { m.buf, m.count, m.payloads = m.buf[:headerBytes], 0, 0 }

// add appends d and reports whether there was room. The payload must not be
// empty nor longer than maxPayload.
func (m *message) add(d *relay.Datagram) bool {
	if len(m.buf)+maxEntry+len(d.Payload)+sealBytes > maxMessage {
		return false
	}
	if m.count > 0 && d.From == m.from {
		m.buf = append(m.buf, tagSame)
	} else {
		m.buf = appendAddr(m.buf, d.From)
		m.from = d.From
	}
	m.buf = binary.BigEndian.AppendUint16(m.buf, uint16(len(d.Payload)))
	m.buf = append(m.buf, d.Payload...)
	m.count++
	m.payloads += len(d.Payload)
	return true
}

// appendAddr appends the tag and the address of an origin. A zone means
// nothing on another machine and is left out.
func appendAddr(p []byte, addr netip.AddrPort) []byte {
	switch ip := addr.Addr(); {
	case !ip.IsValid():
		return append(p, tagNone)
	case ip.Is4():
		four := ip.As4()
		p = append(append(p, tag4), four[:]...)
	default:
		sixteen := ip.As16()
		p = append(append(p, tag6), sixteen[:]...)
	}
	return binary.BigEndian.AppendUint16(p, addr.Port())
}
