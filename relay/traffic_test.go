package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// A speech is what one origin says. Each datagram follows from the origin and
// the sequence number, so that who knows how many came can tell the next one
// bit for bit, however short it is.
type speech struct {
	origin  byte
	longest int // no datagram is longer, in bytes
	next    uint64
	state   uint64
}

func newSpeech(origin byte, longest int) *speech {
	return &speech{origin: origin, longest: longest, state: uint64(origin) << 32}
}

// noise is what payloads are cut from.
var noise = func() []byte {
	b := make([]byte, 2*maxDatagram)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}()

// random returns the next value of splitmix64.
func (s *speech) random() uint64 {
	s.state += 0x9e3779b97f4a7c15
	z := s.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// borders are sizes around those at which datagrams are split into packets:
// MTU 1500 and 9000 with IPv4 and IPv6, and what a train and UDP over IPv4 can
// carry at most.
var borders = []int{1451, 1452, 1453, 1471, 1472, 1473, 8951, 8952, 8953, 8971, 8972, 8973, 32753, 32754, 65506, 65507}

// size returns the next size: mostly small, half of them equal so that trains
// form between origins, too.
func (s *speech) size() int {
	r := s.random()
	pick, within := r%1000, int(r>>33)
	var size int
	switch {
	case pick < 450:
		size = 200
	case pick < 800:
		size = 1 + within%300
	case pick < 960:
		size = 300 + within%1200
	case pick < 980:
		size = 1500 + within%8000
	case pick < 998:
		size = borders[within%len(borders)]
	default:
		size = 1 + within%65507
	}
	return min(size, s.longest)
}

// header returns the first bytes of the next datagram, and where in noise the
// others are.
func (s *speech) header() (header [9]byte, from int) {
	header[0] = s.origin
	binary.BigEndian.PutUint64(header[1:], s.next)
	return header, int((s.next*31 + uint64(s.origin)*7919) % maxDatagram)
}

// say appends the next datagram to b, which is empty.
func (s *speech) say(b []byte) []byte {
	size := s.size()
	header, from := s.header()
	s.next++
	b = append(b, header[:min(size, len(header))]...)
	if size > len(header) {
		b = append(b, noise[from:][:size-len(header)]...)
	}
	return b
}

// hear compares what came with the next datagram.
func (s *speech) hear(got []byte) error {
	size := s.size()
	header, from := s.header()
	s.next++
	head := min(len(got), len(header))
	if len(got) == size && bytes.Equal(got[:head], header[:head]) && bytes.Equal(got[head:], noise[from:][:size-head]) {
		return nil
	}
	err := fmt.Errorf("want datagram %d of origin %d, %d bytes; got %d bytes", s.next-1, s.origin, size, len(got))
	if len(got) >= len(header) {
		err = fmt.Errorf("%w that begin as datagram %d", err, binary.BigEndian.Uint64(got[1:]))
	}
	return err
}

// A pacer cuts a speech into blocks. Who speaks and who hears make the same
// blocks, so that the one can tell the other how far it is.
type pacer struct {
	most, room  int // datagrams in a block; what the kernel may charge for a block
	count, cost int
}

// ends reports whether a datagram of size bytes is the last of its block.
func (p *pacer) ends(size int) bool {
	p.count++
	p.cost += kernelCost(size)
	if p.count < p.most && p.cost < p.room {
		return false
	}
	p.count, p.cost = 0, 0
	return true
}

// kernelCost is more than what a kernel charges a receive buffer for a
// datagram of size bytes.
func kernelCost(size int) int { return 2*size + 2304 }
