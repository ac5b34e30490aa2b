//go:build unix

package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// send sends a message with a copy of a descriptor.
func send(message string, fd int) (bool, error) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return false, nil
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return false, fmt.Errorf("tell the service manager: %w", err)
	}
	defer conn.Close()
	raw, err := conn.SyscallConn()
	if err != nil {
		return false, err
	}
	var failed error
	err = raw.Write(func(s uintptr) bool {
		// Not conn.WriteMsgUnix, which takes no connected socket.
		failed = unix.Sendmsg(int(s), []byte(message), unix.UnixRights(fd), nil, 0)
		return failed != unix.EAGAIN
	})
	if err = errors.Join(err, failed); err != nil {
		return false, fmt.Errorf("give a socket to the service manager: %w", err)
	}
	return true, nil
}
