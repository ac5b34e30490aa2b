package client

import (
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// boundUnacked has conn fail when something sent is not acknowledged for so
// long. Without it Linux repeats it for about a quarter of an hour.
func boundUnacked(conn *net.TCPConn, d time.Duration) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return // it is closed
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
	})
}
