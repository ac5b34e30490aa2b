package filetransfer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// A RefusedError is a file that the receiver did not want, or could not keep.
type RefusedError struct {
	Why   string // for the other side, too
	There bool   // the other side said it
}

func (e *RefusedError) Error() string {
	if e.There {
		return "the receiver says: " + e.Why
	}
	return e.Why
}

// A DiskError is a file that could not be written here.
type DiskError struct {
	Name string
	Err  error
}

func (e *DiskError) Error() string { return fmt.Sprintf("%s cannot be written: %v", e.Name, e.Err) }

// Unwrap returns the error of the system.
func (e *DiskError) Unwrap() error { return e.Err }

// A SourceError is a file that cannot be sent: it cannot be read, is no regular
// file, has a name that cannot be sent, or changed while it was sent.
type SourceError struct {
	Path string
	Err  error
}

func (e *SourceError) Error() string { return fmt.Sprintf("%s: %v", e.Path, e.Err) }

// Unwrap returns what is wrong with it.
func (e *SourceError) Unwrap() error { return e.Err }

// A NetworkError is a receiver that cannot be reached, does not answer or broke
// off.
type NetworkError struct {
	Doing string
	Err   error
}

func (e *NetworkError) Error() string { return e.Doing + ": " + e.Err.Error() }

// Unwrap returns the error of the connection.
func (e *NetworkError) Unwrap() error { return e.Err }

// A MismatchError is a receiver that got something else than was sent.
type MismatchError struct {
	Sent, Got       int64
	SentSum, GotSum Sum
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("the receiver got something else: %d bytes with SHA-256 %v; sent were %d with %v", e.Got, e.GotSum, e.Sent, e.SentSum)
}

var (
	// ErrDirectory is a directory where a file is wanted.
	ErrDirectory = errors.New("is a directory")
	// ErrNotRegular is a device, FIFO or socket where a file is wanted.
	ErrNotRegular = errors.New("is not a regular file")
	// ErrName is a name that cannot be sent.
	ErrName = errors.New("cannot be sent")
	// ErrChanged is a file that was not the same for as long as it was sent.
	ErrChanged = errors.New("changed while it was sent; nothing of it is kept")
	// ErrSilent is a peer that did nothing for the timeout.
	ErrSilent = errors.New("nothing came for too long")
	// ErrSlow is a sender that sends less than 100 bytes per second.
	ErrSlow = fmt.Errorf("less than %d bytes per second came for too long", leastRate)
	// ErrStopped is a transfer that was stopped on this side.
	ErrStopped = errors.New("stopped")
)

// reason returns err without the paths of this machine, which the other side
// need not know.
func reason(err error) error {
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return path.Err
	}
	if link := (*os.LinkError)(nil); errors.As(err, &link) {
		return link.Err
	}
	return err
}
