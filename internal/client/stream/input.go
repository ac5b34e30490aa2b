package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"udprelay/internal/client"
)

// maxHexLine is the longest line of hex in bytes: room for two digits and two
// separators for each byte of the largest payload.
const maxHexLine = 4 * client.MaxPayload

// An input is a datagram to be sent, or an error: a *badInput costs only
// itself, any other is the last input.
type input struct {
	where   string // "line 3"
	payload []byte
	err     error
}

// badInput is a part of the input that cannot be sent.
type badInput struct{ where, problem string }

func (e *badInput) Error() string { return e.where + ": " + e.problem }

// inputError is the failure of a read.
type inputError struct{ err error }

func (e *inputError) Error() string {
	err := e.err
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	return "read standard input: " + err.Error()
}
func (e *inputError) Unwrap() error { return e.err }

// readAll yields what is read, until the last input has been taken or ctx is
// done. Without an In it never yields.
func readAll(ctx context.Context, options Options) <-chan input {
	if options.In == nil {
		return nil
	}
	inputs := make(chan input)
	next := newSource(options)
	go func() {
		for {
			in := next()
			select {
			case inputs <- in:
			case <-ctx.Done():
				return
			}
			if in.err != nil && !errors.As(in.err, new(*badInput)) {
				return
			}
		}
	}()
	return inputs
}

// newSource returns a function that reads the next input.
func newSource(options Options) func() input {
	switch options.Mode {
	case Raw:
		return rawSource(options.In, options.Size)
	case Hex:
		return hexSource(options.In)
	default:
		return textSource(options.In)
	}
}

func textSource(in io.Reader) func() input {
	lines := newLineReader(in, client.MaxPayload)
	return func() input {
		line, length, err := lines.next()
		where := fmt.Sprintf("line %d", lines.number)
		switch {
		case err != nil:
			return input{err: err}
		case line == nil:
			return input{err: &badInput{where, fmt.Sprintf("%d bytes are too many for one datagram (at most %d)", length, client.MaxPayload)}}
		}
		return input{where: where, payload: line}
	}
}

func hexSource(in io.Reader) func() input {
	lines := newLineReader(in, maxHexLine)
	return func() input {
		for {
			line, length, err := lines.next()
			where := fmt.Sprintf("line %d", lines.number)
			if err != nil {
				return input{err: err}
			}
			if line == nil {
				return input{err: &badInput{where, fmt.Sprintf("%d characters are too many for the hex of one datagram", length)}}
			}
			payload, err := decodeHex(line)
			switch {
			case err != nil:
				return input{err: &badInput{where, err.Error()}}
			case len(payload) > client.MaxPayload:
				return input{err: &badInput{where, fmt.Sprintf("%d bytes are too many for one datagram (at most %d)", len(payload), client.MaxPayload)}}
			case len(payload) > 0: // an empty line is none
				return input{where: where, payload: payload}
			}
		}
	}
}

func rawSource(in io.Reader, size int) func() input {
	buf := make([]byte, size)
	var number int
	var failed error // came together with bytes
	return func() input {
		for failed == nil {
			var n int
			if n, failed = in.Read(buf); n > 0 {
				number++
				return input{where: fmt.Sprintf("datagram %d", number), payload: bytes.Clone(buf[:n])}
			}
		}
		return input{err: failed}
	}
}

// A lineReader splits a stream into lines of at most a given size, and takes
// no more memory than that however long a line is.
type lineReader struct {
	reader *bufio.Reader // its buffer is one line
	number int           // of the line that next returned last, from 1
	failed error         // came behind a last line without newline
}

func newLineReader(in io.Reader, size int) *lineReader {
	return &lineReader{reader: bufio.NewReaderSize(in, size)}
}

// next returns a copy of the next line with its newline, if it has one, and
// its length in bytes. A line too long is nil and has been skipped.
func (l *lineReader) next() (line []byte, length int, err error) {
	if l.failed != nil {
		return nil, 0, l.failed
	}
	part, err := l.reader.ReadSlice('\n')
	if err != nil && len(part) == 0 {
		return nil, 0, err
	}
	l.number++
	length = len(part)
	if err == bufio.ErrBufferFull {
		// The buffer is full and has no newline: the line fits only if it ends here.
		line = bytes.Clone(part)
		for err == bufio.ErrBufferFull {
			part, err = l.reader.ReadSlice('\n')
			if length += len(part); len(part) > 0 {
				line = nil
			}
			if err == nil {
				return line, length, nil
			}
		}
	} else {
		line = bytes.Clone(part)
	}
	l.failed = err
	return line, length, nil
}
