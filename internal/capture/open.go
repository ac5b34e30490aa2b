package capture

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket/pcapgo"
)

const (
	readBuffer = 64 << 10

	// maxCaptured bounds a packet of a file. It is what tcpdump and Wireshark
	// keep of one at most.
	maxCaptured = 256 << 10

	// maxInterfaces bounds those of a section.
	maxInterfaces = 4096
)

// ErrNotCapture is a file that is neither pcap nor pcapng.
var ErrNotCapture = errors.New("neither a pcap nor a pcapng file")

// A FileError is what is wrong with a file, and where.
type FileError struct {
	Name   string
	Packet uint64 // its number in the file, from 1, as Wireshark shows it; 0: before the first
	Offset int64  // where in the file what cannot be read begins, in bytes; of what a compressed one holds
	Err    error
}

func (e *FileError) Error() string {
	if e.Packet == 0 {
		return fmt.Sprintf("%s: %v", e.Name, e.Err)
	}
	why := e.Err.Error()
	if e.Err == io.ErrUnexpectedEOF {
		why = "the file ends in the middle of it"
	}
	return fmt.Sprintf("%s: packet %d, at byte %d: %s", e.Name, e.Packet, e.Offset, why)
}

// Unwrap returns the error without its place.
func (e *FileError) Unwrap() error { return e.Err }

// A frame is a packet as a file has it.
type frame struct {
	link   uint16 // the link type
	at     time.Time
	data   []byte // until the next frame is read
	length int    // of the packet; data may be less
}

// A source yields the frames of a file, and io.EOF after the last.
type source interface {
	next() (frame, error)

	// offset returns where in the file that begins which next has failed to
	// read.
	offset() int64
}

// A reader reads the frames of a file.
type reader struct {
	name   string
	source source
	number uint64 // of the frame that was read last
}

// newReader begins to read a file. Compression by gzip is undone.
func newReader(name string, file io.Reader) (*reader, error) {
	buffered := bufio.NewReaderSize(file, readBuffer)
	source, err := openSource(buffered)
	if err != nil {
		return nil, &FileError{name, 0, 0, err}
	}
	return &reader{name: name, source: source}, nil
}

func openSource(r *bufio.Reader) (source, error) {
	magic, err := r.Peek(4)
	if err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		unzipped, err := gzip.NewReader(r)
		if err != nil {
			return nil, err
		}
		r = bufio.NewReaderSize(unzipped, readBuffer)
		if magic, err = r.Peek(4); err != nil {
			return nil, tooShort(err)
		}
	}
	if err != nil {
		return nil, tooShort(err)
	}
	switch binary.BigEndian.Uint32(magic) {
	case sectionHeader:
		return &ngFile{blocks: blockReader{r: r}}, nil
	case 0xa1b2c3d4, 0xd4c3b2a1, 0xa1b23c4d, 0x4d3cb2a1:
		file, err := pcapgo.NewReader(r)
		if err != nil {
			return nil, tooShort(err)
		}
		file.SetSnaplen(maxCaptured)
		return &pcapFile{file, pcapHeader}, nil
	}
	return nil, ErrNotCapture
}

// tooShort is the error of a file that ends before its first packet could
// begin.
func tooShort(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrNotCapture
	}
	return err
}

// next returns the next frame. The error is io.EOF after the last, and else a
// *FileError.
func (r *reader) next() (frame, error) {
	f, err := r.source.next()
	if err == nil {
		r.number++
		return f, nil
	}
	if err == io.EOF {
		return frame{}, io.EOF
	}
	return frame{}, &FileError{r.name, r.number + 1, r.source.offset(), err}
}

// pcapHeader and packetHeader are what a file of libpcap's first format has
// before its packets, and before each of them.
const pcapHeader, packetHeader = 24, 16

// A pcapFile is a file of libpcap's first format.
type pcapFile struct {
	file *pcapgo.Reader
	read int64 // bytes of the packets read, and before them
}

func (p *pcapFile) offset() int64 { return p.read }

func (p *pcapFile) next() (frame, error) {
	data, info, err := p.file.ZeroCopyReadPacketData()
	if err != nil {
		if err == io.EOF && info.Length != 0 { // after the header of a packet
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	p.read += packetHeader + int64(len(data))
	return frame{uint16(p.file.LinkType()), info.Timestamp, data, info.Length}, nil
}

// An ngFile is a pcapng file.
type ngFile struct {
	blocks     blockReader
	interfaces []ngInterface // of this section
	at         time.Time     // of the packet before
}

// An ngInterface is what packets of an interface have in common.
type ngInterface struct {
	link    uint16
	snapLen uint32
	units   uint64 // of time, in a second
	offset  int64  // seconds
}

var (
	errTooManyInterfaces = fmt.Errorf("there are more than %d interfaces in a section", maxInterfaces)
	errBadBlock          = errors.New("the lengths in its block do not fit together")
)

func (n *ngFile) offset() int64 { return n.blocks.at }

func (n *ngFile) next() (frame, error) {
	for {
		kind, err := n.blocks.next(n.wants)
		if err != nil {
			return frame{}, err
		}
		body := n.blocks.body()
		switch kind {
		case sectionHeader:
			if len(body) < 16 {
				return frame{}, errBadBlock
			}
			if major := n.blocks.order.Uint16(body[4:]); major != 1 {
				return frame{}, fmt.Errorf("the section has version %d of pcapng: want 1", major)
			}
			n.interfaces = n.interfaces[:0]
		case interfaceDesc:
			if err := n.describe(body); err != nil {
				return frame{}, err
			}
		case simplePacket:
			return n.simple(body)
		default:
			return n.packet(kind, body)
		}
	}
}

func (*ngFile) wants(kind uint32) bool {
	switch kind {
	case sectionHeader, interfaceDesc, oldPacket, simplePacket, packetBlock:
		return true
	}
	return false
}

// describe takes an interface description.
func (n *ngFile) describe(body []byte) error {
	if len(body) < 8 {
		return errBadBlock
	}
	if len(n.interfaces) == maxInterfaces {
		return errTooManyInterfaces
	}
	order := n.blocks.order
	i := ngInterface{link: order.Uint16(body), snapLen: order.Uint32(body[4:]), units: 1e6}
	var err error
	n.blocks.options(body[8:], func(code uint16, value []byte) {
		switch {
		case code == 9 && len(value) >= 1: // if_tsresol
			i.units, err = timeUnits(value[0])
		case code == 14 && len(value) >= 8: // if_tsoffset
			i.offset = int64(order.Uint64(value))
		}
	})
	n.interfaces = append(n.interfaces, i)
	return err
}

// timeUnits returns the units in a second of an if_tsresol.
func timeUnits(resolution byte) (uint64, error) {
	exponent := resolution & 0x7f
	if resolution&0x80 != 0 && exponent < 64 {
		return 1 << exponent, nil
	}
	if exponent > 19 { // what has room in 64 bits
		return 0, fmt.Errorf("the resolution of time %#02x of an interface is finer than what is read", resolution)
	}
	units := uint64(1)
	for range exponent {
		units *= 10
	}
	return units, nil
}

// time returns the time that is count units of i.
func (i *ngInterface) time(count uint64) time.Time {
	part := count % i.units
	var nanos uint64
	if i.units <= 1e9 {
		nanos = part * 1e9 / i.units
	} else {
		nanos = uint64(float64(part) / float64(i.units) * 1e9)
	}
	return time.Unix(int64(count/i.units)+i.offset, int64(nanos))
}

// packet returns the frame of an enhanced or an old packet block.
func (n *ngFile) packet(kind uint32, body []byte) (frame, error) {
	data, _, ok := n.blocks.captured(body)
	if !ok || len(data) > maxCaptured {
		return frame{}, errBadBlock
	}
	order := n.blocks.order
	number := int64(order.Uint32(body))
	if kind == oldPacket {
		number = int64(order.Uint16(body))
	}
	if number >= int64(len(n.interfaces)) {
		return frame{}, fmt.Errorf("it is of interface %d, and the section has described %d", number, len(n.interfaces))
	}
	i := &n.interfaces[number]
	n.at = i.time(uint64(order.Uint32(body[4:]))<<32 | uint64(order.Uint32(body[8:])))
	length := max(int64(order.Uint32(body[16:])), int64(len(data)))
	return frame{i.link, n.at, data, int(min(length, 1<<31-1))}, nil
}

// simple returns the frame of a simple packet block, which has no time: it gets
// that of the packet before.
func (n *ngFile) simple(body []byte) (frame, error) {
	if len(n.interfaces) == 0 {
		return frame{}, errors.New("the section has described no interface")
	}
	if len(body) < 4 {
		return frame{}, errBadBlock
	}
	i := &n.interfaces[0]
	length := int64(n.blocks.order.Uint32(body))
	kept := length
	if i.snapLen != 0 {
		kept = min(kept, int64(i.snapLen))
	}
	if kept > int64(len(body)-4) || kept > maxCaptured {
		return frame{}, errBadBlock
	}
	return frame{i.link, n.at, body[4:][:kept], int(min(length, 1<<31-1))}, nil
}
