package relay

import (
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendWait is how long, in milliseconds, a batch waits once for room in the
// send buffer. A network interface that is merely busy makes room within it,
// and datagrams wait in the receive queue instead of being dropped; a buffer
// that dead receivers have filled holds up a batch for no longer than that.
const sendWait = 1

// refused deals with message i, which the kernel did not take, and says
// whether it is to be sent again. The error is one of the socket itself.
func (s *trainSender) refused(i int, errno unix.Errno) (again bool, err error) {
	if ofTheNetwork(errno) {
		if errno = s.insist(i, errno); errno == 0 {
			return false, nil
		}
	}
	m := s.messages[i]
	switch errno {
	case unix.EINTR:
		return true, nil
	case unix.EBADF, unix.ENOTSOCK:
		return false, net.ErrClosed
	case unix.EAGAIN:
		if !s.waited {
			s.waited = true
			s.socket.neighbours.relieve(s.to.all, s.batch.at)
			s.waitWrite()
			return true, nil
		}
	case unix.EINVAL, unix.ENETUNREACH: // of IPv6 and IPv4, if the source address is no longer of this host
		if s.hasSource(i) {
			return s.withoutSource(i)
		}
	}
	if m.count > 1 && (errno == unix.EIO || errno == unix.EINVAL || errno == unix.EMSGSIZE) {
		return false, s.oneByOne(i, errno)
	}
	s.tally.dropOf(m.peer, dropOf(errno), m.count)
	return false, nil
}

// fewTries is how often a message is sent again before the errors of the
// network are muted, and after that.
const fewTries = 8

// insist sends message i, which failed with an error that may come from the
// network, about a datagram that was sent earlier to someone else. The kernel
// clears such an error when it returns it, so the message is sent again. It
// fails again if another error has arrived meanwhile, which a flood of them can
// do any number of times, the more often the slower the processor. So no number
// of failures is evidence: in the end the kernel is told to keep no errors for a
// moment, and one that comes back then is the message's own. Insist returns it,
// or 0 if the message was sent.
func (s *trainSender) insist(i int, errno unix.Errno) unix.Errno {
	train := s.messages[i].count > 1
	for tries := 1; tries <= 2*fewTries; tries++ {
		switch {
		case tries == 1:
		case tries == 2:
			s.socket.erring.Lock() // to read an error makes the next one fail a call
			defer s.socket.erring.Unlock()
		case train && errno == unix.EMSGSIZE && tries > fewTries:
			return errno // to send its datagrams alone costs less than the errors that wait
		case tries > fewTries:
			s.mute()
		}
		if tries > 1 && isRouteError(errno) && s.probe(&s.headers[i].header) != 0 {
			return errno
		}
		n, failed := s.sendmmsg(s.headers[i : i+1])
		switch {
		case failed == 0 && n > 0:
			s.delivered(s.messages[i : i+1])
			return 0
		case ofTheNetwork(failed):
			errno = failed
		case failed != unix.EINTR:
			return failed
		}
	}
	return errno
}

// msgProbe is MSG_PROBE of linux/socket.h.
const msgProbe = 0x10

// probeCall asks the kernel for the route of a message without sending it. Errors of the network do not affect the answer.
func (s *trainSender) probeCall(header *unix.Msghdr) (errno unix.Errno) {
	s.socket.raw.Control(func(fd uintptr) {
		_, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(header)), msgProbe|unix.MSG_DONTWAIT)
	})
	return errno
}

// oneByOne sends the datagrams of train i alone, and remembers for its peer
// what the train met: with EIO that the interface cannot split trains at all,
// else that datagrams of its size do not fit the path's MTU.
func (s *trainSender) oneByOne(i int, errno unix.Errno) error {
	whole := s.messages[i]
	flooded := false // errors of the network met datagrams that can be sent: the train may have been one
	limit := uint32(whole.size)
	if errno == unix.EIO {
		limit = 1
	}
	for k := range whole.count {
		s.messages[i] = message{whole.peer, whole.plan, whole.lone(k, whole.plan)}
		s.put(i, s.messages[i])
		for {
			n, failed := s.sendmmsg(s.headers[i : i+1])
			if failed == 0 && n > 0 {
				s.delivered(s.messages[i : i+1])
				break
			}
			before, source := s.tally.Delivered, whole.peer.Path.Source.Load()
			again, err := s.refused(i, failed)
			if err != nil {
				return err
			}
			flooded = flooded || ofTheNetwork(failed) && s.tally.Delivered > before && whole.peer.Path.Source.Load() == source // else that was to blame
			if !again {
				break
			}
		}
	}
	if flooded && errno == unix.EMSGSIZE {
		return nil
	}
	// Of several trains that went wrong the shortest datagrams count.
	if was := whole.peer.Path.TrainLimit.Load(); was == 0 || limit < was {
		whole.peer.Path.TrainLimit.Store(limit)
	}
	return nil
}

// hasSource reports whether message i names its source address.
func (s *trainSender) hasSource(i int) bool {
	others := 0
	if s.messages[i].count > 1 {
		others = segmentControl
	}
	return int(s.headers[i].header.Controllen) > others
}

// withoutSource sends message i from the address that the kernel chooses. If
// that helps, the address that the peer knows is gone from this host, and is
// forgotten.
func (s *trainSender) withoutSource(i int) (again bool, err error) {
	m := s.messages[i]
	known := m.peer.Path.Source.Swap(nil)
	s.put(i, m)
	n, errno := s.sendmmsg(s.headers[i : i+1])
	if errno == 0 && n > 0 {
		s.delivered(s.messages[i : i+1])
		return false, nil
	}
	m.peer.Path.Source.CompareAndSwap(nil, known)
	return s.refused(i, errno)
}

// dropOf translates an error of the send call.
func dropOf(errno unix.Errno) Drop {
	switch errno {
	case unix.EMSGSIZE:
		return DropTooBig
	case unix.EPERM:
		return DropFiltered
	case unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN, unix.EHOSTDOWN, unix.EADDRNOTAVAIL, unix.EAFNOSUPPORT, unix.ECONNREFUSED, unix.ENODEV, unix.ENXIO,
		unix.EACCES, unix.EINVAL: // routes of the types prohibit and blackhole
		return DropUnreachable
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return DropNoBuffer
	}
	return DropSendFailed
}

// waitWriteCall waits until the socket takes datagrams again, at most sendWait.
func (s *trainSender) waitWriteCall() {
	s.socket.raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		unix.Poll(poll, sendWait)
		if poll[0].Revents == unix.POLLERR { // an error of the network waits, and ended this at once
			unix.Poll(nil, sendWait)
		}
	})
}
