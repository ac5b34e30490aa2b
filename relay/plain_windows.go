package relay

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// isWindows reports whether err is the Winsock error number.
func isWindows(err error, number syscall.Errno) bool { return errors.Is(err, number) }

// fionread asks how much there is to receive (FIONREAD of winsock2.h).
const fionread = 0x4004667f

// emptied looks whether a datagram waits, without taking it.
func (s *plainSocket) emptied() (empty bool) {
	_ = s.raw.Control(func(fd uintptr) { // closed: it is as if more waited
		var waiting, size uint32
		err := windows.WSAIoctl(windows.Handle(fd), fionread, nil, 0, (*byte)(unsafe.Pointer(&waiting)), uint32(unsafe.Sizeof(waiting)), &size, nil, 0)
		empty = err == nil && waiting == 0
	})
	return empty
}
