//go:build !windows

package relay

import "golang.org/x/sys/unix"

// isWindows reports whether err is the Winsock error number: not here.
func isWindows(error, uint) bool { return false }

// emptied looks whether a datagram waits, without taking it.
func (s *plainSocket) emptied() (empty bool) {
	var peek [1]byte
	_ = s.raw.Control(func(fd uintptr) { // closed: it is as if more waited
		_, _, err := unix.Recvfrom(int(fd), peek[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		empty = err == unix.EAGAIN
	})
	return empty
}
