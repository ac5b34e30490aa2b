package relay

import (
	"net"

	"golang.org/x/sys/unix"

	"udprelay/peers"
)

// sendWait is how long, in milliseconds, a batch waits once for room in the
// send buffer. A network interface that is merely busy makes room within it,
// and datagrams wait in the receive queue instead of being dropped; a buffer
// that dead receivers have filled holds up a batch for no longer than that.
const sendWait = 1

// refused deals with message i, which the kernel did not take, and says
// whether it is to be sent again. The error is one of the socket itself.
func (s *trainSender) refused(i int, errno unix.Errno) (again bool, err error) {
	m := s.messages[i]
	if ofTheNetwork(errno) && s.doubt.again(m, errno, s.socket.errors) {
		return true, nil
	}
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

// A doubt is about a message that failed with an error that may be of the
// network, about something that was sent before to somebody else. Such an error
// is gone when it was told, so the message is tried again. What can only be of
// the network is not the message's fault however often it comes; else it is
// believed when it comes every time, unless errors of the network are being
// read meanwhile: each makes the next one fail a call (sock_dequeue_err_skb).
type doubt struct {
	peer         *peers.Peer
	first, count int // of the message: a train's first datagram alone is another
	tries        int
	quiet        int    // tries since errors of the network were last read
	read         uint64 // how many those were
}

const (
	fewTries  = 8  // for errors that can be of the call itself
	manyTries = 64 // for errors that can not; a bound all the same
)

func (d *doubt) again(m message, errno unix.Errno, errors *errorRing) bool {
	if d.peer != m.peer || d.first != m.first || d.count != m.count {
		*d = doubt{peer: m.peer, first: m.first, count: m.count}
	}
	d.tries++
	d.quiet++
	if count, now := errors.comeIn(); now || count != d.read {
		d.quiet, d.read = min(d.quiet, 1), count
	}
	if eitherWay(errno) && d.quiet > fewTries {
		return false
	}
	return d.tries <= manyTries
}

// oneByOne sends the datagrams of train i alone, and remembers for its peer
// what the train met: with EIO that the interface cannot split trains at all,
// else that datagrams of its size do not fit the path's MTU.
func (s *trainSender) oneByOne(i int, errno unix.Errno) error {
	whole := s.messages[i]
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
			again, err := s.refused(i, failed)
			if err != nil {
				return err
			}
			if !again {
				break
			}
		}
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
	s.doubt = doubt{} // it is another message now
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
