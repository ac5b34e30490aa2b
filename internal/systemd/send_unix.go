//go:build unix

package systemd

import (
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// sendWithin is how long a message waits for room in the service manager's
// queue. A manager that reads makes room in milliseconds; one that does not must
// hold up neither the start nor the stop of the daemon.
const sendWithin = time.Second

// send sends a message with copies of descriptors, and reports whether there is
// a service manager to take it. The error wraps [os.ErrDeadlineExceeded] if the
// manager did not read in time.
func send(message string, descriptors ...int) (bool, error) {
	name := os.Getenv("NOTIFY_SOCKET")
	if name == "" {
		return false, nil
	}
	if err := sendTo(name, message, descriptors); err != nil {
		return false, fmt.Errorf("tell the service manager: %w", err)
	}
	return true, nil
}

func sendTo(name, message string, descriptors []int) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(sendWithin)); err != nil {
		return err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var rights []byte
	if len(descriptors) > 0 {
		rights = unix.UnixRights(descriptors...)
	}
	var failed error
	if err := raw.Write(func(fd uintptr) bool {
		// Not conn.WriteMsgUnix, which takes no connected socket.
		for {
			if failed = unix.Sendmsg(int(fd), []byte(message), rights, nil, 0); failed != unix.EINTR {
				return failed != unix.EAGAIN
			}
		}
	}); err != nil {
		return err
	}
	return os.NewSyscallError("sendmsg", failed)
}
