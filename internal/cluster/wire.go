//go:build !nocluster

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
	kindQuestion  kind = 3
	kindAnswer    kind = 4
)

// A topic is what a question is about.
type topic byte

const (
	topicAnswer topic = 1 // what Options.Answer answers
	topicShared topic = 2 // all that is shared
)

// A status says what a part of an answer is.
type status byte

const (
	statusPart    status = 0
	statusNone    status = 1 // such questions are not answered
	statusTooLong status = 2 // the answer would be too long
	statusBusy    status = 3 // too many questions wait
	statuses      status = 4
)

// err returns what a status other than statusPart means for who asked.
func (s status) err() error {
	return [statuses]error{nil, ErrNoAnswer, ErrTooLong, ErrBusy}[s]
}

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
	number uint64 // of the first datagram, or of the message among those of its kind
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

const (
	questionHead = 8 + 8 + 1
	partHead     = 8 + 8 + 1 + 2 + 2
	maxHead      = max(questionHead, partHead)
)

const _ = uint(maxMessage - headerBytes - maxHead - partBytes - sealBytes)

// A question is what a node asks another. Who asks and its number are in the
// header.
type question struct {
	from   nodeID
	number uint64

	to    nodeID
	at    int64 // when who is asked said to have beaten: the question is no older
	about topic
	text  []byte
}

// append appends the body of a message.
func (q *question) append(p []byte) []byte {
	p = binary.BigEndian.AppendUint64(append(p, q.to[:]...), uint64(q.at))
	return append(append(p, byte(q.about)), q.text...)
}

// A part is one of those that make an answer.
type part struct {
	to       nodeID
	question uint64 // its number
	status   status
	index    int // from 0
	parts    int // how many there are
	text     []byte
}

// append appends the body of a message.
func (a *part) append(p []byte) []byte {
	p = binary.BigEndian.AppendUint64(append(p, a.to[:]...), a.question)
	p = binary.BigEndian.AppendUint16(append(p, byte(a.status)), uint16(a.index))
	return append(binary.BigEndian.AppendUint16(p, uint16(a.parts)), a.text...)
}
