package capture

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Blocks of pcapng, by their type.
const (
	sectionHeader = 0x0a0d0d0a
	interfaceDesc = 1
	oldPacket     = 2 // obsolete, but written by early versions of Wireshark
	simplePacket  = 3
	statistics    = 5
	packetBlock   = 6
)

const (
	// blockFrame is the type, the length, and the length again at the end.
	blockFrame = 12

	// maxBlock bounds a block that is read as a whole: a packet and its
	// options.
	maxBlock = 1 << 20

	byteOrderMagic = 0x1a2b3c4d
)

var errNoSection = errors.New("the file does not begin with a section header")

// A blockReader reads the blocks of a pcapng file.
type blockReader struct {
	r     *bufio.Reader
	order binary.ByteOrder // of the section; nil: before the first
	block []byte           // the last one, with its frame
	at    int64            // where in the file it began
	after int64            // where it ended
}

// next reads the next block and returns its type; r.block holds all of it. Those
// whose type is not wanted are passed over. The error is io.EOF at the end of
// the file, and io.ErrUnexpectedEOF within a block.
func (r *blockReader) next(wanted func(kind uint32) bool) (kind uint32, err error) {
	for {
		r.at = r.after
		head, err := r.r.Peek(12) // the least that a block has
		if len(head) == 0 && err == io.EOF {
			return 0, io.EOF
		}
		if err != nil {
			return 0, midway(err)
		}
		if binary.LittleEndian.Uint32(head) == sectionHeader { // the same in both orders
			switch {
			case binary.LittleEndian.Uint32(head[8:]) == byteOrderMagic:
				r.order = binary.LittleEndian
			case binary.BigEndian.Uint32(head[8:]) == byteOrderMagic:
				r.order = binary.BigEndian
			default:
				return 0, fmt.Errorf("a section header has the byte-order magic %08x", binary.BigEndian.Uint32(head[8:]))
			}
		} else if r.order == nil {
			return 0, errNoSection
		}
		kind, length := r.order.Uint32(head), int64(r.order.Uint32(head[4:]))
		if length < blockFrame || length%4 != 0 {
			return 0, fmt.Errorf("a block of type %d has the length %d", kind, length)
		}
		if !wanted(kind) {
			if err := r.discard(length); err != nil {
				return 0, midway(err)
			}
			r.after += length
			continue
		}
		if length > maxBlock {
			return 0, fmt.Errorf("a block of type %d has %d bytes: at most %d are read", kind, length, maxBlock)
		}
		if int64(cap(r.block)) < length {
			r.block = make([]byte, length)
		}
		r.block = r.block[:length]
		if _, err := io.ReadFull(r.r, r.block); err != nil {
			return 0, midway(err)
		}
		r.after += length
		if again := r.order.Uint32(r.block[length-4:]); int64(again) != length {
			return 0, fmt.Errorf("a block of type %d has the length %d at its beginning and %d at its end", kind, length, again)
		}
		return kind, nil
	}
}

// body returns the block without its frame.
func (r *blockReader) body() []byte { return r.block[8 : len(r.block)-4] }

func (r *blockReader) discard(n int64) error {
	for n > 0 {
		done, err := r.r.Discard(int(min(n, maxBlock)))
		if n -= int64(done); err != nil {
			return err
		}
	}
	return nil
}

// another reports whether the next block can be read without waiting.
func (r *blockReader) another() bool {
	if r.r.Buffered() < blockFrame {
		return false
	}
	head, _ := r.r.Peek(8)
	return int64(r.r.Buffered()) >= int64(r.order.Uint32(head[4:]))
}

// options calls each with the options in p, until there are no more.
func (r *blockReader) options(p []byte, each func(code uint16, value []byte)) {
	for len(p) >= 4 {
		code, length := r.order.Uint16(p), int(r.order.Uint16(p[2:]))
		if p = p[4:]; code == 0 || length > len(p) {
			return
		}
		each(code, p[:length])
		p = p[min((length+3)&^3, len(p)):]
	}
}

// captured returns the part of a packet block's body that is the packet, and
// the options behind it; false if the lengths in it cannot be.
func (r *blockReader) captured(body []byte) (packet, options []byte, ok bool) {
	if len(body) < 20 {
		return nil, nil, false
	}
	length := int64(r.order.Uint32(body[12:]))
	if length > int64(len(body)-20) {
		return nil, nil, false
	}
	return body[20:][:length], body[20+min((length+3)&^3, int64(len(body)-20)):], true
}

// midway is the error of a read that was to bring more.
func midway(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
