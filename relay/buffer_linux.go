package relay

import (
	"fmt"
	"log/slog"

	"golang.org/x/sys/unix"
)

// wantBuffer gives the socket a buffer of size bytes, beyond the system's
// limit where that is allowed (CAP_NET_ADMIN), and says how if it is not.
func wantBuffer(fd int, log *slog.Logger, b buffer, size int) {
	if size == 0 {
		return
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.force, size) != nil {
		if has, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, b.option); err == nil && has/2 >= size && !allows(b, size) {
			return // one that had the privilege has set it: systemd, for a socket unit
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.option, size); err != nil {
			log.Warn(fmt.Sprintf("cannot set the %s buffer to %s: %v", b.name, sizeText(size), err))
			return
		}
	}
	// The kernel doubles what it is asked for, to have room for its own
	// bookkeeping, and says the double (socket(7)).
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, b.option)
	if err != nil || got/2 >= size {
		return
	}
	log.Warn(fmt.Sprintf("the %s buffer is %s, not %s: the system allows no more", b.name, sizeText(got/2), sizeText(size)),
		"hint", fmt.Sprintf("sysctl -w %s=%d", b.sysctl, size))
}

// allows reports whether this process may give a socket a buffer of size bytes.
func allows(b buffer, size int) bool {
	// The limit is the same for every family; a sandbox may allow no other.
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.option, size) != nil {
		return false
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, b.option)
	return err == nil && got/2 >= size
}
