package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

var errTooLong = fmt.Errorf("the file has more than %d bytes", maxFile)

// read returns what is in the file name; nil if there is no such file.
func read(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular(): // to open a pipe would wait for a writer
		return nil, notRegular(name, info)
	case info.Size() > maxFile:
		return nil, errTooLong
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data := new(bytes.Buffer)
	data.Grow(int(info.Size()) + bytes.MinRead)
	if _, err := data.ReadFrom(io.LimitReader(file, maxFile+1)); err != nil {
		return nil, err
	}
	if data.Len() > maxFile { // it has grown
		return nil, errTooLong
	}
	return data.Bytes(), nil
}

// replace makes data the content of the file name, or leaves it as it is.
func replace(name string, data []byte, sync bool) error {
	target, err := resolve(name)
	if err != nil {
		return err
	}
	beside := target + ".new"
	if err := write(beside, data, sync); err != nil {
		return err
	}
	if err := os.Rename(beside, target); err != nil {
		os.Remove(beside)
		return err
	}
	if sync {
		return syncDirectory(filepath.Dir(target))
	}
	return nil
}

// write makes the file name, which is not there afterwards if there is an error.
func write(name string, data []byte, sync bool) error {
	file, err := create(name)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err == nil && sync {
		err = file.Sync()
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		os.Remove(name)
	}
	return err
}

// create opens a new file. What is there is taken away, not opened: it may be a
// link that leads elsewhere.
func create(name string) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	file, err := os.OpenFile(name, flags, 0o600)
	if !errors.Is(err, fs.ErrExist) {
		return file, err
	}
	if info, err := os.Lstat(name); err == nil && info.IsDir() {
		return nil, notRegular(name, info)
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return os.OpenFile(name, flags, 0o600)
}

// resolve returns the name of the file that name leads to, which is a regular
// file or not there.
func resolve(name string) (string, error) {
	info, err := os.Lstat(name)
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		target, err := filepath.EvalSymlinks(name)
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("%s is a symbolic link that leads nowhere", name)
		}
		if err != nil {
			return "", err
		}
		name = target
		info, err = os.Lstat(name)
		if err != nil {
			return "", err
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return name, nil
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", notRegular(name, info)
	}
	return name, nil
}

func notRegular(name string, info fs.FileInfo) error {
	what := "no regular file"
	if info.IsDir() {
		what = "a directory"
	}
	return fmt.Errorf("%s is %s", name, what)
}

// syncDirectory has the names in a directory written to the disk, where that
// can be asked for.
func syncDirectory(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	directory, err := os.Open(name)
	if err != nil {
		return err
	}
	defer directory.Close()
	if err := directory.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err // of the others, some file systems know nothing
	}
	return nil
}

// mostAside bounds how many damaged files are kept.
const mostAside = 100

// SetAside renames the damaged file name to name + ".damaged", or ".damaged-2"
// and so on if there is one already, so that the daemon can go on without it and
// a person can look at it. It returns the new name. If name is a symbolic link,
// the file that it leads to is renamed. Errors are those of the file system, or
// that there are 100 such files; then the file stays where it is.
func SetAside(name string) (newName string, err error) {
	target, err := resolve(name)
	if err != nil {
		return "", err
	}
	newName = target + ".damaged"
	for n := 2; ; n++ {
		if _, err := os.Lstat(newName); errors.Is(err, fs.ErrNotExist) {
			break
		}
		if n > mostAside {
			return "", fmt.Errorf("there are %d files such as %s already", mostAside, newName)
		}
		newName = fmt.Sprintf("%s.damaged-%d", target, n)
	}
	if err := os.Rename(target, newName); err != nil {
		return "", err
	}
	return newName, nil
}

// A saveError is why there is no new file.
type saveError struct {
	name string
	err  error
}

func (e *saveError) Error() string { return fmt.Sprintf("save peers to %s: %v", e.name, e.err) }
func (e *saveError) Unwrap() error { return e.err }

// Hint says what to do about it.
func (e *saveError) Hint() string {
	directory := filepath.Dir(e.name)
	switch tooMany := (*tooManyError)(nil); {
	case isFull(e.err):
		return "make room on the file system of " + directory
	case errors.Is(e.err, fs.ErrPermission):
		return "let udprelay write to the directory " + directory + ", or set state.file to a file elsewhere"
	case errors.Is(e.err, syscall.EROFS):
		return "the file system of " + directory + " is read-only: set state.file to a file elsewhere"
	case errors.Is(e.err, fs.ErrNotExist):
		return "make the directory " + directory + ", or set state.file to a file elsewhere"
	case errors.As(e.err, &tooMany):
		return fmt.Sprintf("set peers.max to %d at most", MaxPeers)
	}
	return ""
}

// isFull reports whether err is that there is no room, for all or for this user.
func isFull(err error) bool {
	const handleDiskFull, diskFull = syscall.Errno(39), syscall.Errno(112) // of Windows
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) ||
		runtime.GOOS == "windows" && (errors.Is(err, handleDiskFull) || errors.Is(err, diskFull))
}
