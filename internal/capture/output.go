package capture

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// LeastRotate is the least size of a file in bytes after which the next
	// may begin.
	LeastRotate = 4096

	// MostKept bounds how many files are kept.
	MostKept = 10000

	// outBuffer is how much is collected before it is written.
	outBuffer = 256 << 10
)

// An Output is where a recording is written to: a pipe, a file, or a set of
// files.
type Output struct {
	w      io.Writer
	file   *os.File // w, if it is a file of ours
	buffer []byte   // whole blocks

	name  string // of the file, or that the names of the set are made from; "": a pipe
	limit int64  // size of a file of the set; 0: there is one file
	keep  int

	begun   bool     // something was added
	files   int      // begun
	kept    []string // of the set, the oldest first
	size    int64    // of this file, with what is in the buffer
	written int64    // of this file
	packets bool     // this file has some
}

// ToWriter returns an output to w, which stays open.
func ToWriter(w io.Writer) *Output { return &Output{w: w} }

// ToFile returns an output to the file name. It is made, or emptied, when the
// recording begins; only its owner may read it.
func ToFile(name string) *Output { return &Output{name: name} }

// ToFiles returns an output to a set of files, each of at most size bytes (but
// of one packet at least), of which the last keep are kept. Name gives the
// directory and the beginning and end of the names: room.pcapng makes
// room_00001_20060102150405.pcapng, with the number and the local time of its
// beginning, which Wireshark knows as a file set.
func ToFiles(name string, size int64, keep int) (*Output, error) {
	switch {
	case size < LeastRotate:
		return nil, fmt.Errorf("rotate after %d bytes: want %d or more", size, LeastRotate)
	case keep < 1 || keep > MostKept:
		return nil, fmt.Errorf("keep %d files: want 1 to %d", keep, MostKept)
	}
	return &Output{name: name, limit: size, keep: keep}, nil
}

// Name returns the name of the file that is written, or "" for a pipe and
// before the recording begins.
func (o *Output) Name() string {
	if o.file == nil {
		return ""
	}
	return o.file.Name()
}

// open begins a file.
func (o *Output) open() error {
	name := o.name
	if o.limit > 0 {
		end := filepath.Ext(name)
		name = fmt.Sprintf("%s_%05d_%s%s", strings.TrimSuffix(name, end), o.files+1, time.Now().Format("20060102150405"), end)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	o.w, o.file, o.size, o.written, o.packets = file, file, 0, 0, false
	o.files++
	if o.limit > 0 {
		if o.kept = append(o.kept, name); len(o.kept) > o.keep {
			_ = os.Remove(o.kept[0]) // somebody may have taken it away
			o.kept = o.kept[1:]
		}
	}
	return nil
}

// full reports whether a packet of size bytes belongs into the next file.
func (o *Output) full(size int) bool {
	const end = 64 // bytes for the statistics
	return o.limit > 0 && o.packets && o.size+int64(size)+end > o.limit
}

// rotate ends this file; the next begins with what is added.
func (o *Output) rotate() error {
	err := o.file.Close()
	o.w, o.file = nil, nil
	return err
}

// add adds whole blocks.
func (o *Output) add(blocks []byte, packet bool) error {
	if o.w == nil {
		if err := o.open(); err != nil {
			return err
		}
	}
	if len(o.buffer)+len(blocks) > outBuffer {
		if err := o.flush(); err != nil {
			return err
		}
	}
	o.begun = true
	o.buffer = append(o.buffer, blocks...)
	o.size += int64(len(blocks))
	o.packets = o.packets || packet
	return nil
}

// flush writes what was added. Where a file takes only a part of it, the file
// ends before that.
func (o *Output) flush() error {
	if len(o.buffer) == 0 {
		return nil
	}
	n, err := o.w.Write(o.buffer)
	if err != nil && n > 0 && o.file != nil {
		_ = o.file.Truncate(o.written) // the first error is the one to tell
	} else {
		o.written += int64(n)
	}
	o.buffer = o.buffer[:0]
	return err
}

// close closes the file.
func (o *Output) close() error {
	if o.file == nil {
		return nil
	}
	return o.file.Close()
}
