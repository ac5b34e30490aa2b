package filetransfer

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
)

// blockSize is how much is read, hashed and written at a time; each transfer
// has one block in memory.
const blockSize = 256 << 10

var zeros [blockSize]byte

// A directory is where files are received. It stays the same one, wherever it
// is moved.
type directory struct {
	root     *os.Root
	self     *os.File // to sync it
	nameless bool     // the system can write files without a name
}

// openDirectory opens a directory, removes what receivers that were killed have
// left in it, and makes sure that files can be made there.
func openDirectory(path string) (*directory, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	self, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	d := &directory{root: root, self: self, nameless: canLinkNameless()}
	d.sweep()
	t, err := d.create()
	if err != nil {
		d.close()
		return nil, &fs.PathError{Op: "write to", Path: path, Err: reason(err)}
	}
	t.discard()
	return d, nil
}

func (d *directory) close() {
	d.self.Close()
	d.root.Close()
}

// refuses says why a file cannot get this name now.
func (d *directory) refuses(name string, overwrite bool) error {
	info, err := d.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &DiskError{name, reason(err)}
	case !info.Mode().IsRegular():
		return &RefusedError{Why: "there is something of that name that is no regular file"}
	case !overwrite:
		return errExists
	}
	return nil
}

var errExists = &RefusedError{Why: "there is a file of that name, which is kept"}

// A temporary is a file that is being received.
type temporary struct {
	in   *directory
	file *os.File
	name string // "": it has none
}

// create makes a file. Its mode is what the umask leaves of 0666: it will have
// that in the end, and as long as it is not whole it has no name that anyone
// would look for.
func (d *directory) create() (*temporary, error) {
	if d.nameless {
		file, err := createNameless(d.self)
		if err == nil {
			return &temporary{in: d, file: file}, nil
		}
		if !errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		}
		d.nameless = false
	}
	for {
		name := temporaryName()
		file, err := d.root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		t := &temporary{in: d, file: file, name: name}
		if lock(file) != errLocked && t.isThere() {
			return t, nil
		}
		t.discard() // a receiver that starts has taken it for a left one
	}
}

func temporaryName() string { return temporaryPrefix + rand.Text() + temporarySuffix }

// isThere reports whether the file still has its name.
func (t *temporary) isThere() bool {
	mine, err := t.file.Stat()
	if err != nil {
		return false
	}
	named, err := t.in.root.Lstat(t.name)
	return err == nil && os.SameFile(mine, named)
}

// sweep removes files that a receiver which was killed has left.
func (d *directory) sweep() {
	if !canLock {
		return // which are left cannot be told
	}
	for {
		names, err := d.self.Readdirnames(1024)
		for _, name := range names {
			if strings.HasPrefix(name, temporaryPrefix) && strings.HasSuffix(name, temporarySuffix) {
				d.removeLeft(name)
			}
		}
		if err != nil {
			return
		}
	}
}

func (d *directory) removeLeft(name string) {
	if info, err := d.root.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return
	}
	file, err := d.root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return
	}
	defer file.Close()
	if lock(file) == nil {
		_ = d.root.Remove(name) // the next start tries again
	}
}

// discard closes the file and removes it, if it has not got its final name.
func (t *temporary) discard() {
	t.file.Close()
	if t.name != "" {
		_ = t.in.root.Remove(t.name) // the next start tries again
	}
}

// fill writes what r has, until its end or size bytes, and returns how many
// there were. A size below 0 is not known; then more than limit bytes, if that
// is over 0, are refused.
func (t *temporary) fill(r io.Reader, size, limit int64) (n int64, sum Sum, err error) {
	hash, block := sha256.New(), make([]byte, blockSize)
	hole := false // there is one at the end
	for {
		want := block
		if size >= 0 && size-n < int64(len(want)) {
			want = block[:size-n]
		}
		if len(want) == 0 {
			break
		}
		got, readErr := io.ReadFull(r, want)
		if limit > 0 && n+int64(got) > limit {
			return n, sum, tooLarge(limit)
		}
		hash.Write(want[:got])
		if hole = bytes.Equal(want[:got], zeros[:got]); !hole {
			if _, err := t.file.WriteAt(want[:got], n); err != nil {
				return n, sum, err
			}
		}
		n += int64(got)
		if readErr == io.EOF || readErr == io.ErrUnexpectedEOF {
			break
		}
		if readErr != nil {
			return n, sum, &readError{readErr}
		}
	}
	if hole {
		if err := t.file.Truncate(n); err != nil {
			return n, sum, err
		}
	}
	hash.Sum(sum[:0])
	return n, sum, nil
}

func tooLarge(limit int64) error {
	return &RefusedError{Why: fmt.Sprintf("the file is larger than the %d bytes that are allowed", limit)}
}

// readError tells what cannot be read from what cannot be written.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

// sync has what was written on the disk.
func (t *temporary) sync() error {
	if err := t.file.Sync(); err != nil {
		return err
	}
	if runtime.GOOS == "windows" && t.name != "" {
		return t.file.Close() // what is open cannot be renamed
	}
	return nil
}

// publish gives the file its final name, in one step.
func (t *temporary) publish(name string, overwrite bool) error {
	var err error
	switch {
	case t.name == "" && !overwrite:
		err = linkNameless(t.file, t.in.self, name)
	case t.name == "":
		between := temporaryName()
		if err = linkNameless(t.file, t.in.self, between); err == nil {
			t.name = between
			_ = lock(t.file) // so that nobody takes it for a left one
			err = t.in.root.Rename(t.name, name)
		}
	case overwrite:
		err = t.in.root.Rename(t.name, name)
	default:
		err = t.renameNew(name)
	}
	if errors.Is(err, fs.ErrExist) {
		return errExists
	}
	if err != nil {
		return err
	}
	t.name = ""
	if runtime.GOOS == "windows" {
		return nil // there directories cannot be synced
	}
	return t.in.self.Sync()
}

// renameNew renames the file if nothing has that name.
func (t *temporary) renameNew(name string) error {
	err := renameNew(t.in.self, t.name, name)
	if !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	if err := t.in.root.Link(t.name, name); err != nil {
		return err
	}
	return t.in.root.Remove(t.name)
}
