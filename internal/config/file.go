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
	return Read(name, file)
}

// Read reads a configuration from r; name is what messages call it.
func Read(name string, r io.Reader) (*File, error) {
	// One byte more than allowed, so that Load sees that it is too much.
	data, err := io.ReadAll(io.LimitReader(r, maxFileSize+1))
	if err != nil {
		return nil, &Unreadable{name, err}
	}
	return &File{name, data}, nil
}

// An Unreadable is a configuration file that cannot be read.
type Unreadable struct {
	Name string
	Err  error
}

func (e *Unreadable) Error() string {
	// A path error would repeat the name.
	err := e.Err
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		err = path.Err
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Sprintf("%s: there is no such file", e.Name)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s: this user may not read the file", e.Name)
	case errors.Is(err, syscall.EISDIR):
		return fmt.Sprintf("%s: is a directory; want a file", e.Name)
	}
	return fmt.Sprintf("%s: cannot be read: %v", e.Name, err)
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
