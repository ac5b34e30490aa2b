package relay

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A poller lets the receiving goroutine wait for the socket in Go's network
// poller without the socket being registered there.
//
// A socket that is registered with epoll for good makes the kernel call epoll
// whenever a datagram that it sent is freed, and wakes the thread that polls:
// with 100 receivers that costs half as much as the sending itself. To wait in
// poll(2) instead keeps Go's sysmon thread awake, which costs a fifth at
// moderate rates. So the socket enters an epoll of its own only while there is
// nothing to receive, and that epoll is what Go polls.
type poller struct {
	file  *os.File // of the epoll, registered with Go's poller
	raw   syscall.RawConn
	epoll int  // its descriptor; valid during wait
	in    bool // whether the socket is in it; of the receiving goroutine

	try  func() bool // of the wait: in
	read func(fd uintptr) bool
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // makes os.NewFile register it
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	p := &poller{file: os.NewFile(uintptr(fd), "epoll")}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, err
	}
	p.read = func(fd uintptr) bool {
		p.epoll = int(fd)
		return p.try()
	}
	return p, nil
}

// wait calls try until it returns true, at once and whenever the socket that
// try has entered has something to receive.
func (p *poller) wait(try func() bool) error {
	p.try = try
	return p.raw.Read(p.read)
}

// enter makes what arrives at the socket end the wait, also what has arrived
// already.
func (p *poller) enter(socket uintptr) error {
	if p.in {
		return nil
	}
	event := unix.EpollEvent{Events: unix.EPOLLIN}
	if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, int(socket), &event); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	p.in = true
	return nil
}

// leave takes the socket out again.
func (p *poller) leave(socket uintptr) {
	if p.in {
		p.in = false
		unix.EpollCtl(p.epoll, unix.EPOLL_CTL_DEL, int(socket), nil)
	}
}

func (p *poller) close() error { return p.file.Close() }
