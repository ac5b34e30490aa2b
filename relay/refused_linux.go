package relay

import (
	"net"

	"golang.org/x/sys/unix"
)

// sendWait is how long, in milliseconds, a batch waits once for room in the
// send buffer. A network interface that is merely busy makes room within it,
// and datagrams wait in the receive queue instead of being dropped; a buffer
// that dead receivers have filled costs no more than that.
const sendWait = 1

// refused deals with message i, which the kernel did not take, and says
// whether it is to be sent again. The error is one of the socket itself.
func (s *trainSender) refused(i int, errno unix.Errno) (again bool, err error) {
	m := s.messages[i]
	switch errno {
	case unix.EINTR:
		return true, nil
	case unix.EBADF, unix.ENOTSOCK:
		return false, net.ErrClosed
	case unix.EAGAIN:
		if !s.waited {
			s.waited = true
			s.waitWrite()
			return true, nil
		}
	case unix.EIO, unix.EINVAL, unix.EMSGSIZE:
		if m.count > 1 {
			return s.oneByOne(i, errno)
		}
		if errno == unix.EINVAL && s.forgetSource(i) {
			return true, nil
		}
	}
	s.tally.drop(dropOf(errno), m.count, m.peer.Addr())
	return false, nil
}

// oneByOne sends the datagrams of train i alone, and remembers for its peer
// what the train met: with EIO that the interface cannot split trains at all,
// else that datagrams of its size do not fit the path's MTU. It asks for the
// train again if its source address was at fault instead.
func (s *trainSender) oneByOne(i int, errno unix.Errno) (again bool, err error) {
	whole := s.messages[i]
	limit := uint32(whole.size)
	if errno == unix.EIO {
		limit = 1
	}
	for k := range whole.count {
		alone := message{whole.peer, whole.plan, whole.lone(k, whole.plan)}
		s.put(i, alone)
		s.messages[i] = alone
		for {
			n, failed := s.sendmmsg(s.headers[i : i+1])
			if failed == 0 && n > 0 {
				s.delivered(alone.train)
				break
			}
			if failed == unix.EINVAL && k == 0 && s.forgetSource(i) {
				s.messages[i] = whole
				s.put(i, whole)
				return true, nil
			}
			retry, err := s.refused(i, failed)
			if err != nil {
				return false, err
			}
			if !retry {
				break
			}
		}
	}
	whole.peer.Path.TrainLimit.Store(limit)
	return false, nil
}

// forgetSource makes message i leave from the address that the kernel chooses,
// for the one that its peer knows may be gone from this host. False: it does
// already.
func (s *trainSender) forgetSource(i int) bool {
	m := s.messages[i]
	if m.peer.Path.Source.Load() == 0 {
		return false
	}
	m.peer.Path.Source.Store(0)
	s.put(i, m)
	return true
}

// dropOf translates an error of the send call.
func dropOf(errno unix.Errno) Drop {
	switch errno {
	case unix.EMSGSIZE:
		return DropTooBig
	case unix.EPERM:
		return DropFiltered
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EHOSTDOWN, unix.EACCES, unix.EADDRNOTAVAIL, unix.EAFNOSUPPORT, unix.ECONNREFUSED, unix.ENODEV, unix.ENXIO:
		return DropUnreachable
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return DropNoBuffer
	}
	return DropSendFailed
}

// waitWriteCall waits until the socket takes datagrams again, at most sendWait.
func (s *trainSender) waitWriteCall() {
	s.socket.raw.Control(func(fd uintptr) {
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, sendWait)
	})
}
