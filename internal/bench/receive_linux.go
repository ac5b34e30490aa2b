package bench

import (
	"encoding/binary"
	"fmt"
	"time"
	"unsafe"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

const (
	// latencyRoom is what may wait at a latency peer to be read, in bytes.
	latencyRoom = 4 << 20

	// spreadSlots is of how many datagrams it is remembered when they came.
	spreadSlots = 1 << 14

	atOnce = 32 // datagrams that are read with a system call
)

// timeControl is what the time of a datagram takes in a message.
var timeControl = unix.CmsgSpace(int(unsafe.Sizeof(unix.Timespec{})))

// A listener reads what the latency peers receive. It belongs to one goroutine.
type listener struct {
	run     *running
	sockets []*socket
	began   int64 // of the run, by the clock that the kernel stamps with
	wake    int   // an eventfd that ends it

	vectors  [atOnce]unix.Iovec
	messages [atOnce]mmsghdr
	buffers  [atOnce][stampBytes]byte
	controls []byte

	slots   []arrival
	latency *hdrhistogram.Histogram
	spread  *hdrhistogram.Histogram
	foreign map[int]uint64 // by descriptor
	early   uint64         // datagrams that came before they left: the clock was set
}

// An arrival is when a datagram came to the first and to the last.
type arrival struct {
	number      uint32
	count       int
	first, last int64
}

// newListener has the kernel stamp what the sockets receive.
func newListener(r *running, sockets []*socket) (*listener, error) {
	l := &listener{
		run: r, sockets: sockets, controls: make([]byte, atOnce*timeControl), slots: make([]arrival, spreadSlots),
		latency: newHistogram(), spread: newHistogram(), foreign: map[int]uint64{},
	}
	for i := range l.messages {
		l.vectors[i].Base = &l.buffers[i][0]
		l.vectors[i].SetLen(stampBytes)
		h := &l.messages[i].header
		h.Iov, h.Control = &l.vectors[i], &l.controls[i*timeControl]
		h.SetIovlen(1)
	}
	for _, s := range sockets {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
			return nil, fmt.Errorf("have the kernel note when datagrams come: %w", err)
		}
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, latencyRoom) != nil {
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, latencyRoom) // less is no failure
		}
	}
	var err error
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return l, nil
}

// end ends listen.
func (l *listener) end() {
	_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 1}) // room for one is always there
}

// listen reads until end, and then what is left.
func (l *listener) listen() error {
	wait := []unix.PollFd{{Fd: int32(l.wake), Events: unix.POLLIN}}
	for _, s := range l.sockets {
		wait = append(wait, unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN})
	}
	for {
		if _, err := unix.Poll(wait, -1); err != nil && err != unix.EINTR {
			return fmt.Errorf("poll: %w", err)
		}
		ended := wait[0].Revents != 0
		for i, s := range l.sockets {
			if wait[i+1].Revents != 0 || ended {
				l.read(s)
			}
		}
		if ended {
			break
		}
	}
	for i := range l.slots {
		l.settle(&l.slots[i])
	}
	return nil
}

// read reads what a socket has received.
func (l *listener) read(s *socket) {
	for range 64 { // the others have their turn, too
		for i := range l.messages {
			l.messages[i].header.SetControllen(timeControl)
		}
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&l.messages)), atOnce, unix.MSG_DONTWAIT, 0, 0)
		if errno != 0 {
			return // nothing is there, or a refusal, which the sender sees, too
		}
		mine := uint64(0)
		for i := range int(n) {
			if l.take(s, i) {
				mine++
			}
		}
		s.read.Add(mine)
		if n < atOnce {
			return
		}
	}
}

// take takes message i and reports whether it is of the run.
func (l *listener) take(s *socket, i int) bool {
	m := &l.messages[i]
	run, number, at, ok := stampOf(l.buffers[i][:m.length])
	if !ok || run != l.run.measured {
		if m.length > 0 && run != l.run.probe {
			l.foreign[s.fd]++
		}
		return false
	}
	came := l.cameAt(i) - l.began
	if came < at {
		l.early++
	}
	note(l.latency, came-at)
	slot := &l.slots[number/l.run.every%spreadSlots]
	if slot.count > 0 && slot.number != number {
		l.settle(slot)
	}
	if slot.count == 0 {
		*slot = arrival{number, 1, came, came}
		return true
	}
	slot.count++
	slot.first, slot.last = min(slot.first, came), max(slot.last, came)
	return true
}

// settle notes the spread of a datagram of which nothing more is expected.
func (l *listener) settle(slot *arrival) {
	if slot.count > 1 {
		note(l.spread, slot.last-slot.first)
	}
	slot.count = 0
}

// cameAt returns what the kernel says of when message i came. Without a word of
// it, it came now.
func (l *listener) cameAt(i int) int64 {
	control := l.controls[i*timeControl:][:timeControl]
	header := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
	if int(l.messages[i].header.Controllen) < unix.CmsgLen(0) || header.Level != unix.SOL_SOCKET || header.Type != unix.SO_TIMESTAMPNS {
		return time.Now().UnixNano()
	}
	stamp := control[unix.CmsgLen(0):]
	if unsafe.Sizeof(uintptr(0)) == 4 {
		return int64(binary.NativeEndian.Uint32(stamp))*1e9 + int64(binary.NativeEndian.Uint32(stamp[4:]))
	}
	return int64(binary.NativeEndian.Uint64(stamp))*1e9 + int64(binary.NativeEndian.Uint64(stamp[8:]))
}
