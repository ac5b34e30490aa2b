package capture

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Saved is what has been written of a recording.
type Saved struct {
	Datagrams uint64 // that reached the output
	Missing   uint64 // that the recorder could not keep up with
	Files     int    // begun, of which rotation may have removed some; 0 for a pipe
}

// A BrokenOffError is a recording whose source ended in the middle of a block.
// What was written is whole.
type BrokenOffError struct{ Err error }

func (e *BrokenOffError) Error() string { return fmt.Sprintf("the recording broke off: %v", e.Err) }

// Unwrap returns the error of the source.
func (e *BrokenOffError) Unwrap() error { return e.Err }

// errTooMuchHeader is a source that is no recorder of ours.
var errTooMuchHeader = errors.New("the descriptions in the recording take more than 64 KiB")

const (
	saveBuffer = 256 << 10
	mostHeader = 64 << 10
)

// Save writes the recording that comes from src, as [Recorder.Stream] writes
// it, to out, until src ends, ctx is done, or there are count datagrams (0: no
// end). It writes whole blocks only, as soon as they have come, and ends each
// file with statistics, so that what it wrote is a good file at all times. It
// closes out.
//
// When ctx is done, reading from src must fail, as reading the response to a
// request with that context does. That is no error then.
func Save(ctx context.Context, src io.Reader, out *Output, count uint64) (Saved, error) {
	s := &saver{out: out, reader: blockReader{r: bufio.NewReaderSize(src, saveBuffer)}}
	err := s.run(count)
	source := (*sourceError)(nil)
	if errors.As(err, &source) {
		err = nil
		if ctx.Err() == nil && source.err != io.EOF {
			err = &BrokenOffError{source.err}
		}
		if out.begun {
			err = errors.Join(err, s.finish())
		}
	} else if err == nil { // there are count
		err = s.finish()
	}
	err = errors.Join(err, out.close())
	s.saved.Files, s.saved.Datagrams = out.files, out.datagrams
	return s.saved, err
}

// A saver is the state of Save.
type saver struct {
	out    *Output
	reader blockReader
	saved  Saved
	header []byte // section header and interfaces
	gaps   uint64 // the sum of what packets say is missing before them
	closed bool   // the last block was statistics
}

// sourceError is an error of src, not of the output.
type sourceError struct{ err error }

func (e *sourceError) Error() string { return e.err.Error() }

func (s *saver) run(count uint64) error {
	for {
		kind, err := s.reader.next(func(uint32) bool { return true })
		if err != nil {
			return &sourceError{err}
		}
		block := s.reader.block
		switch kind {
		case sectionHeader, interfaceDesc:
			if len(s.header)+len(block) > mostHeader {
				return errTooMuchHeader
			}
			s.header = append(s.header, block...)
		case packetBlock:
			if s.out.full(len(block)) {
				if err := s.turn(); err != nil {
					return err
				}
			}
			s.count()
		case statistics:
			s.reader.options(s.reader.body()[min(12, len(block)-blockFrame):], func(code uint16, value []byte) {
				if code == 5 && len(value) == 8 { // isb_ifdrop
					s.saved.Missing = max(s.saved.Missing, s.reader.order.Uint64(value))
				}
			})
		}
		s.closed = kind == statistics
		if err := s.out.add(block, kind == packetBlock); err != nil {
			return err
		}
		done := kind == packetBlock && s.saved.Datagrams == count
		if done || !s.reader.another() {
			if err := s.out.flush(); err != nil || done {
				return err
			}
		}
	}
}

// count counts the packet that was read, and what is missing before it.
func (s *saver) count() {
	s.saved.Datagrams++
	_, options, ok := s.reader.captured(s.reader.body())
	if !ok {
		return
	}
	s.reader.options(options, func(code uint16, value []byte) {
		if code == 4 && len(value) == 8 { // epb_dropcount
			s.gaps += s.reader.order.Uint64(value)
			s.saved.Missing = max(s.saved.Missing, s.gaps)
		}
	})
}

// turn ends this file and begins the next.
func (s *saver) turn() error {
	if err := s.finish(); err != nil {
		return err
	}
	if err := s.out.rotate(); err != nil {
		return err
	}
	return s.out.add(s.header, false)
}

// finish ends the file with statistics.
func (s *saver) finish() error {
	if s.closed || len(s.header) == 0 {
		return s.out.flush()
	}
	s.closed = true
	if err := s.out.add(s.statistics(), false); err != nil {
		return err
	}
	return s.out.flush()
}

// statistics returns a block with the counts, in the byte order of the section.
func (s *saver) statistics() []byte {
	order, now := s.reader.order, time.Now().UnixNano()
	appendTo := order.(binary.AppendByteOrder) // both orders are
	block := make([]byte, 20, 52)
	order.PutUint32(block, statistics)
	order.PutUint32(block[4:], 52)
	order.PutUint32(block[12:], uint32(now>>32))
	order.PutUint32(block[16:], uint32(now))
	for _, option := range []struct {
		code  uint16
		value uint64
	}{{4, s.saved.Datagrams + s.saved.Missing}, {5, s.saved.Missing}} {
		block = appendTo.AppendUint16(block, option.code)
		block = appendTo.AppendUint16(block, 8)
		block = appendTo.AppendUint64(block, option.value)
	}
	block = append(block, 0, 0, 0, 0) // end of options
	block = appendTo.AppendUint32(block, 0)
	order.PutUint32(block[4:], uint32(len(block)))
	order.PutUint32(block[len(block)-4:], uint32(len(block)))
	return block
}
