package relay

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"udprelay/peers"
)

// Answering is what one sendmsg of an answer needs. It belongs to the goroutine
// that receives.
type answering struct {
	header unix.Msghdr
	vector unix.Iovec
	name   unix.RawSockaddrInet6
	call   func(fd uintptr)
	errno  unix.Errno
}

func (a *answering) init(s *linuxSocket) {
	a.header.Name = (*byte)(unsafe.Pointer(&a.name))
	a.header.Iov = &a.vector
	a.header.SetIovlen(1)
	a.call = func(fd uintptr) {
		if queued(fd) > int(s.room.Load())/pressed {
			a.errno = unix.EAGAIN // answers to strangers can fill the buffer, too
			return
		}
		for range fewTries {
			_, _, a.errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&a.header)), unix.MSG_DONTWAIT)
			if a.errno != unix.EINTR && !ofTheNetwork(a.errno) {
				return
			}
		}
	}
}

func (s *linuxSocket) answer(to netip.AddrPort, source *peers.Source, payload []byte) bool {
	a := &s.answering
	a.header.Namelen = s.putAddr(&a.name, to)
	a.vector.Base = unsafe.SliceData(payload)
	a.vector.SetLen(len(payload))
	control := controlOf(source, to.Addr(), s.own.host.Load())
	a.header.Control = unsafe.SliceData(control)
	a.header.SetControllen(len(control))
	return s.raw.Control(a.call) == nil && a.errno == 0
}
