//go:build darwin || freebsd || linux || netbsd || openbsd

package capture

import (
	"os"

	"golang.org/x/sys/unix"
)

// noFollow has a symbolic link not be opened.
const noFollow = unix.O_NOFOLLOW

// lock marks a file as being written, for as long as it is open.
func lock(file *os.File) {
	_ = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB) // a file system may have no locks
}

// locked reports whether a file is being written by a recording.
func locked(name string) bool {
	file, err := os.Open(name)
	if err != nil {
		return false
	}
	defer file.Close()
	return unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) == unix.EWOULDBLOCK
}
