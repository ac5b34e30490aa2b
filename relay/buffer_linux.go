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
