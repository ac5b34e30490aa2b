package framing

import (
	"io"
	"sync"
)

const (
	// smallBuffer is what a Reader always has, in bytes: all that a silent
	// connection takes.
	smallBuffer = 2 << 10

	// largeBuffer holds every frame.
	largeBuffer = HeaderSize + MaxPayload

	// emptyReads is how often in a row a source may return nothing, not even an
	// error.
	emptyReads = 100
)

// large has the large buffers that no Reader needs now.
var large = sync.Pool{New: func() any { return new([largeBuffer]byte) }}

// A Reader takes datagrams out of a byte stream. It reads ahead, as much as
// there is and fits: into a small buffer while little comes, and into a large
// one, which it gives back, where a frame is longer or more is waiting. Only one
// goroutine at a time may use it.
type Reader struct {
	source io.Reader
	small  [smallBuffer]byte
	large  *[largeBuffer]byte // nil: small is in use
	held   []byte             // what has been read and not returned, within the buffer in use
	full   bool               // the last read filled the buffer, so that there may be more
	err    error              // came with the last of held
}

// NewReader returns a Reader of source.
func NewReader(source io.Reader) *Reader { return &Reader{source: source} }

// Ready reports whether a whole frame has been read, so that Next returns it
// without a look at the source.
func (r *Reader) Ready() bool {
	_, _, ok := Next(r.held)
	return ok
}

// Next waits for a frame and returns its payload, which is good until Next is
// called while Ready is false. The error is io.EOF when the source ends between
// two frames, io.ErrUnexpectedEOF when it ends within one, or that of the
// source. After an error Next reads on where it was, so that a deadline that has
// passed loses nothing.
func (r *Reader) Next() ([]byte, error) {
	for {
		if payload, rest, ok := Next(r.held); ok {
			r.held = rest
			return payload, nil
		}
		if err := r.read(); err != nil {
			if err == io.EOF && len(r.held) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// read reads what there is, at least a byte, into the buffer that is best for it.
func (r *Reader) read() error {
	if err := r.err; err != nil {
		r.err = nil
		return err
	}
	buffer := r.choose()
	n := len(r.held)
	for range emptyReads {
		got, err := r.source.Read(buffer[n:])
		r.held = buffer[:n+got]
		switch {
		case got > 0:
			r.full = len(r.held) == len(buffer)
			r.err = err
			return nil
		case err != nil:
			return err
		}
	}
	return io.ErrNoProgress
}

// choose returns the buffer for the next read, with what is held at its
// beginning.
func (r *Reader) choose() []byte {
	need := HeaderSize
	if len(r.held) >= HeaderSize {
		need += int(r.held[0])<<8 | int(r.held[1])
	}
	fits := max(need, len(r.held)) <= smallBuffer && !r.full
	r.full = false
	if !fits && r.large == nil {
		r.large = large.Get().(*[largeBuffer]byte)
	}
	buffer := r.small[:]
	if !fits {
		buffer = r.large[:]
	}
	// Not again what is there already: a frame may come byte by byte.
	if len(r.held) > 0 && &r.held[0] != &buffer[0] {
		copy(buffer, r.held)
	}
	if fits && r.large != nil {
		large.Put(r.large)
		r.large = nil
	}
	return buffer
}
