package relay

import (
	"errors"
	"syscall"
)

// isWindows reports whether err is the Winsock error number.
func isWindows(err error, number syscall.Errno) bool { return errors.Is(err, number) }
