package framing

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

// A steps is a source that returns a piece at each read, as far as there is
// room, and an error after the last one.
type steps struct {
	pieces [][]byte
	last   error // comes with the last piece if that is not nil, and after it
	reads  int
}

func (s *steps) Read(p []byte) (int, error) {
	s.reads++
	if len(s.pieces) == 0 {
		if s.last == nil {
			return 0, io.EOF
		}
		return 0, s.last
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	if len(s.pieces) == 0 {
		return n, s.last
	}
	return n, nil
}

func TestReaderEnds(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, c := range []struct {
		name, stream string
		last, want   error
		payloads     []string
	}{
		{"empty", "", nil, io.EOF, nil},
		{"between frames", "\x00\x02ab\x00\x00", nil, io.EOF, []string{"ab", ""}},
		{"in a header", "\x00\x02ab\x00", nil, io.ErrUnexpectedEOF, []string{"ab"}},
		{"in a payload", "\x00\x02a", nil, io.ErrUnexpectedEOF, nil},
		{"with the last frame", "\x00\x01a", io.EOF, io.EOF, []string{"a"}},
		{"an error with the last frame", "\x00\x01a", broken, broken, []string{"a"}},
		{"an error in a frame", "\x00\x02a", broken, broken, nil},
	} {
		for _, way := range []func(io.Reader) io.Reader{
			func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.HalfReader,
		} {
			source := &steps{last: c.last}
			if c.stream != "" {
				source.pieces = [][]byte{[]byte(c.stream)}
			}
			r := NewReader(way(source))
			for _, want := range c.payloads {
				if got, err := r.Next(); string(got) != want || got == nil || err != nil {
					t.Errorf("%s: %q, %v, want %q", c.name, got, err, want)
				}
			}
			for range 2 {
				if _, err := r.Next(); err != c.want {
					t.Errorf("%s: %v, want %v", c.name, err, c.want)
				}
			}
		}
	}
}

// A deadline that passes in the middle of a frame loses nothing of it.
func TestReaderAfterDeadline(t *testing.T) {
	t.Parallel()
	source := &steps{pieces: [][]byte{[]byte("\x00\x04ab")}, last: os.ErrDeadlineExceeded}
	r := NewReader(source)
	if _, err := r.Next(); err != os.ErrDeadlineExceeded {
		t.Fatalf("%v, want the deadline", err)
	}
	source.pieces, source.last = [][]byte{[]byte("cd")}, io.EOF
	if got, err := r.Next(); string(got) != "abcd" || err != nil {
		t.Errorf("%q, %v, want abcd", got, err)
	}
}

func TestReaderNoProgress(t *testing.T) {
	t.Parallel()
	_, err := NewReader(readerFunc(func([]byte) (int, error) { return 0, nil })).Next()
	if err != io.ErrNoProgress {
		t.Errorf("%v, want %v", err, io.ErrNoProgress)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Frames that are there can be gathered: they stay as they are until the source
// is read.
func TestReaderBatch(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var stream []byte
		var want []string
		for i := range rapid.IntRange(1, 200).Draw(t, "frames") {
			size := rapid.OneOf(rapid.IntRange(0, 300), rapid.Just(smallBuffer-HeaderSize),
				rapid.IntRange(0, MaxPayload), rapid.Just(MaxPayload)).Draw(t, "size")
			payload := strings.Repeat(string(rune('a'+i%26)), size)
			want = append(want, payload)
			stream = Append(stream, []byte(payload))
		}
		source := &steps{}
		for len(stream) > 0 {
			n := rapid.IntRange(1, 100_000).Draw(t, "piece")
			n = min(n, len(stream))
			source.pieces = append(source.pieces, stream[:n])
			stream = stream[n:]
		}
		r := NewReader(source)
		var got []string
		for {
			payload, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			batch := [][]byte{payload}
			for reads := source.reads; r.Ready(); {
				payload, err := r.Next()
				if err != nil || source.reads != reads {
					t.Fatalf("Next read from the source although Ready was true: %v", err)
				}
				batch = append(batch, payload)
			}
			for _, payload := range batch {
				got = append(got, string(payload))
			}
		}
		if len(got) != len(want) {
			t.Fatalf("%d frames, want %d", len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("frame %d has %d bytes, want %d", i, len(got[i]), len(want[i]))
			}
		}
	})
}

// A Reader takes the large buffer when a frame needs it, or more waits than
// fits, and waits with the small one.
func TestReaderRoom(t *testing.T) {
	t.Parallel()
	source := &steps{pieces: [][]byte{
		Append(nil, []byte("small")),
		Append(nil, make([]byte, smallBuffer)),
		Append(nil, []byte("small again")),
		bytes.Repeat(Append(nil, make([]byte, 98)), 500),
		Append(nil, []byte("and again")),
	}}
	r := NewReader(source)
	next := func(size int, isLarge bool) {
		t.Helper()
		if got, err := r.Next(); len(got) != size || err != nil || (r.large != nil) != isLarge {
			t.Fatalf("%d bytes, %v, large: %v, want %d, large: %v", len(got), err, r.large != nil, size, isLarge)
		}
	}
	next(5, false)
	next(smallBuffer, true)
	next(11, false)
	before := source.reads
	for n := range 500 {
		next(98, n >= smallBuffer/100)
	}
	if reads := source.reads - before; reads > 2 {
		t.Errorf("500 frames took %d reads, want 2: what is there should be read at once", reads)
	}
	next(9, false)
}

func TestReaderAllocs(t *testing.T) {
	stream := bytes.Repeat(Append(nil, make([]byte, 200)), 50)
	source := bytes.NewReader(stream)
	r := NewReader(source)
	if n := testing.AllocsPerRun(100, func() {
		source.Reset(stream)
		for range 50 {
			if _, err := r.Next(); err != nil {
				t.Fatal(err)
			}
		}
	}); n >= 1 {
		t.Errorf("50 frames cost %v allocations, want none", n)
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("\x00\x02ab\x00\x00\xff\xff"), uint16(3))
	f.Add(Append(Append(nil, make([]byte, 5000)), []byte("x")), uint16(700))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		source := &steps{}
		for rest := stream; len(rest) > 0; {
			n := min(int(piece)+1, len(rest))
			source.pieces = append(source.pieces, rest[:n])
			rest = rest[n:]
		}
		r := NewReader(source)
		left := stream
		for {
			ready := r.Ready()
			reads := source.reads
			got, err := r.Next()
			if ready && source.reads != reads {
				t.Fatal("Next read from the source although Ready was true")
			}
			want, rest, ok := Next(left)
			if !ok {
				end := io.EOF
				if len(rest) > 0 {
					end = io.ErrUnexpectedEOF
				}
				if err != end {
					t.Fatalf("%v, want %v", err, end)
				}
				return
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, %v, want %d", len(got), err, len(want))
			}
			left = rest
		}
	})
}
