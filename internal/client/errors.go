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
