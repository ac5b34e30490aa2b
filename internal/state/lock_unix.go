//go:build darwin || freebsd || linux || netbsd || openbsd

package state

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openFlags has nobody wait for a FIFO, or follow a link to elsewhere.
const openFlags = unix.O_NOFOLLOW | unix.O_NONBLOCK

func lockFile(file *os.File) error {
	err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errHeld
	}
	return err
}
