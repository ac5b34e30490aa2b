package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// maxFileSize is far beyond any configuration and well below what hurts.
const maxFileSize = 1 << 20 // bytes

// StandardInput is how messages name the standard input.
const StandardInput = "<stdin>"

// ReadFile reads the configuration file name. The error names the file and is
// an [Unreadable].
func ReadFile(name string) (*File, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, &Unreadable{name, err}
	}
	defer file.Close()
	read, err := Read(name, file)
	if err != nil {
		return nil, err
	}
	read.Open = readableByAll(name)
	return read, nil
}

// Read reads a configuration from r; name is what messages call it.
func Read(name string, r io.Reader) (*File, error) {
	// One byte more than allowed, so that Load sees that it is too much.
	data, err := io.ReadAll(io.LimitReader(r, maxFileSize+1))
	if err != nil {
		return nil, &Unreadable{name, err}
	}
	return &File{Name: name, Data: data}, nil
}

// An Unreadable is a configuration file that cannot be read.
type Unreadable struct {
	Name string
	Err  error
}

func (e *Unreadable) Error() string {
	return e.Name + ": " + whyUnreadable(e.Err)
}

// whyUnreadable says why a file cannot be read, without its name.
func whyUnreadable(err error) string {
	// A path error would repeat the name.
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is no such file"
	case errors.Is(err, fs.ErrPermission):
		return "this user may not read the file"
	case errors.Is(err, syscall.EISDIR):
		return "is a directory; want a file"
	}
	return fmt.Sprintf("cannot be read: %v", err)
}

func (e *Unreadable) Unwrap() error { return e.Err }

// ExitCode returns the exit code of a program that ends on e.
func (e *Unreadable) ExitCode() int { return exitConfig }

// Hint returns how to go on.
func (e *Unreadable) Hint() string {
	if errors.Is(e.Err, fs.ErrNotExist) {
		return "without a file the built-in defaults hold"
	}
	return ""
}
