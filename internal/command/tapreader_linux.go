package command

import (
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// watchReader calls gone when out is a pipe that nobody reads any more, so that
// a recording of a silent relay ends then and not with the next datagram. The
// function that it returns ends the watch, and waits for that.
func watchReader(out io.Writer, gone func()) (stop func()) {
	file, ok := out.(*os.File)
	if !ok {
		return func() {}
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&fs.ModeNamedPipe == 0 {
		return func() {}
	}
	stopped, end, err := os.Pipe()
	if err != nil {
		return func() {} // the next datagram will tell
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		raw, err := file.SyscallConn()
		if err != nil {
			return
		}
		_ = raw.Control(func(fd uintptr) {
			fds := []unix.PollFd{{Fd: int32(fd)}, {Fd: int32(stopped.Fd())}} // POLLERR and POLLHUP come unasked
			for {
				_, err := unix.Poll(fds, -1)
				if err == unix.EINTR {
					continue
				}
				if err == nil && fds[1].Revents == 0 && fds[0].Revents&unix.POLLERR != 0 {
					gone()
				}
				return
			}
		})
	}()
	return func() {
		end.Close()
		<-ended
		stopped.Close()
	}
}
