//go:build darwin || freebsd || linux || netbsd || openbsd

package filetransfer

import (
	"os"

	"golang.org/x/sys/unix"
)

const canLock = true

// lock marks a file as being received, for as long as it is open. It fails with
// errLocked if another receiver has it; other errors are of file systems that
// have no locks.
func lock(file *os.File) error {
	return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

const errLocked = unix.EWOULDBLOCK
