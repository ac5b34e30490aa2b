package stream

import (
	"context"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// watchClosed returns a channel that is closed when out is a pipe that nobody
// reads any more, so that a session ends without waiting for a datagram that
// shows it. Linux reports POLLERR at once; the channel is nil where out is
// anything else. The watch ends with ctx.
func watchClosed(ctx context.Context, out io.Writer) <-chan struct{} {
	file, ok := out.(*os.File)
	if !ok {
		return nil
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return nil
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return nil
	}
	stopped, stop, err := os.Pipe()
	if err != nil {
		return nil // only the next datagram will tell
	}
	context.AfterFunc(ctx, func() { stop.Close() })
	closed := make(chan struct{})
	go func() {
		defer stopped.Close()
		_ = raw.Control(func(fd uintptr) {
			if pollClosed(int32(fd), int32(stopped.Fd())) {
				close(closed)
			}
		})
	}()
	return closed
}

// pollClosed waits until the pipe out has no reader, which it reports as true,
// or stopped has no writer.
func pollClosed(out, stopped int32) bool {
	fds := []unix.PollFd{{Fd: out}, {Fd: stopped}} // POLLERR and POLLHUP come unasked
	for {
		switch _, err := unix.Poll(fds, -1); {
		case err == unix.EINTR:
		case err != nil, fds[1].Revents != 0:
			return false
		default:
			return fds[0].Revents&unix.POLLERR != 0
		}
	}
}
