package client

import (
	"errors"
	"slices"
	"syscall"
)

// bare returns the system's own error in err, without the names of calls and
// sockets that package net puts before it.
func bare(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}

// isOneOf reports whether err is one of the system's errors given.
func isOneOf(err error, errnos ...syscall.Errno) bool {
	errno := syscall.Errno(0)
	return errors.As(err, &errno) && slices.Contains(errnos, errno)
}

// IsRefused reports whether err, the Problem of a Reach, says that nothing listens
// where the relay should be.
func IsRefused(err error) bool { return isRefused(err) }

// A lateError is the answer to an earlier datagram, which the system returns in
// place of sending another one.
type lateError struct{ error }

func (e lateError) Unwrap() error { return e.error }

func isLate(err error) bool { return errors.As(err, new(lateError)) }
