package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// A LockedError is the error of [Lock] for a file that another process keeps its
// peers in.
type LockedError struct {
	File   string
	Holder string // what the other process calls itself; "": unknown
}

func (e *LockedError) Error() string {
	holder := "another process"
	if e.Holder != "" {
		holder = e.Holder
	}
	return fmt.Sprintf("%s is in use by %s", e.File, holder)
}

// mostHolder bounds what is read of a holder, in bytes.
const mostHolder = 300

// errHeld is what lockFile returns if another process has the lock.
var errHeld = errors.New("held")

// Lock reserves the state file name for this process, which calls itself holder,
// until release is called or the process ends. The lock is on a file beside it,
// name + ".lock", because [Save] replaces the file itself; it stays there. The
// error is a [*LockedError], or of the file system, which may have no locks.
func Lock(name, holder string) (release func(), err error) {
	target, err := resolve(name)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(target+".lock", os.O_RDWR|os.O_CREATE|openFlags, 0o600)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		file.Close()
		return nil, errors.Join(err, fmt.Errorf("%s.lock is no regular file", target))
	}
	if err := lockFile(file); err != nil {
		defer file.Close()
		if errors.Is(err, errHeld) {
			text, _ := io.ReadAll(io.LimitReader(file, mostHolder))
			return nil, &LockedError{name, strings.TrimSpace(string(text))}
		}
		return nil, err
	}
	// For people and for the error of another process: without it the lock holds, too.
	if file.Truncate(0) == nil {
		_, _ = file.WriteString(holder + "\n")
	}
	return func() { file.Close() }, nil
}
