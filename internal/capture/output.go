package capture

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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
	number  int      // of the last file of the set
	kept    []string // of the set, the oldest first
	size    int64    // of this file, with what is in the buffer
	written int64    // of this file
	packets bool     // this file has some

	waiting   uint64 // packets in the buffer
	datagrams uint64 // packets that were written
}

// ToWriter returns an output to w, which stays open.
func ToWriter(w io.Writer) *Output { return &Output{w: w} }

// ToFile returns an output to the file name. It is made, or emptied, when the
// recording begins; of a new one only the owner may read it. A symbolic link is an
// error then.
func ToFile(name string) *Output { return &Output{name: name} }

// ToFiles returns an output to a set of files, each of at most size bytes (but
// of one packet at least), of which the last keep are kept. Name gives the
// directory and the beginning and end of the names: room.pcapng makes
// room_00001_20060102150405.pcapng, with the number and the local time of its
// beginning, which Wireshark knows as a file set. A file that is there is never
// written to. Those of earlier recordings with the same name belong to the set:
// numbers go on from theirs, and they are removed, the oldest first, as they
// become more than keep; a file that another program is recording to is not.
func ToFiles(name string, size int64, keep int) (*Output, error) {
	switch {
	case size < LeastRotate:
		return nil, fmt.Errorf("rotate after %d bytes: want %d or more", size, LeastRotate)
	case keep < 1 || keep > MostKept:
		return nil, fmt.Errorf("keep %d files: want 1 to %d", keep, MostKept)
	}
	return &Output{name: name, limit: size, keep: keep}, nil
}

// IsFile reports whether it is a file or a set, and no pipe.
func (o *Output) IsFile() bool { return o.name != "" }

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
	var file *os.File
	var err error
	if o.limit > 0 {
		file, err = o.another()
	} else {
		file, err = openFile(o.name)
	}
	if err != nil {
		return err
	}
	o.w, o.file, o.size, o.written, o.packets = file, file, 0, 0, false
	o.files++
	return nil
}

// openFile makes or empties the file name. A symbolic link is not followed: in a
// directory such as /tmp anybody may have made it, to a file that root would empty.
func openFile(name string) (*os.File, error) {
	if info, err := os.Lstat(name); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil, fmt.Errorf("%s is a symbolic link; want the name of the file itself", name)
	}
	return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|noFollow, 0o600)
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
	if packet {
		o.packets = true
		o.waiting++
	}
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
	if err == nil {
		o.datagrams += o.waiting
	}
	o.buffer, o.waiting = o.buffer[:0], 0
	return err
}

// close closes the file. One of a set that nothing could be written to, for the
// disk is full, is removed: a recording that is begun anew again and again would
// keep such files, and remove good ones for them.
func (o *Output) close() error {
	if o.file == nil {
		return nil
	}
	err := o.file.Close()
	if o.limit > 0 && o.written == 0 {
		err = errors.Join(err, os.Remove(o.file.Name()))
	}
	return err
}
