package gateway

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// unsentAtMost is how many bytes wait in the kernel that it has not sent yet
// (TCP_NOTSENT_LOWAT). What waits for a slow client is to wait in its queue: that
// is bounded and counted, and it shows whether the client takes anything.
const unsentAtMost = 32 << 10

// tune sets the options of a listening socket that its connections inherit.
// Vanished is told to the kernel as TCP_USER_TIMEOUT (RFC 5482).
func (w waits) tune(_, _ string, conn syscall.RawConn) error {
	var failed error
	err := conn.Control(func(fd uintptr) {
		failed = errors.Join(
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(w.vanished.Milliseconds())),
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsentAtMost))
	})
	return errors.Join(err, failed)
}
