package relay

import (
	"errors"
	"syscall"
)

// isWindows reports whether err is the Winsock error number.
func isWindows(err error, number syscall.Errno) bool { return errors.Is(err, number) }

// emptied cannot tell on this system.
func (s *plainSocket) emptied() bool { return false }
