package relay

import (
	"errors"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What the network answers to datagrams that it does not deliver (ICMP, and
// this host's own ARP and neighbour discovery) waits in the socket's error
// queue (IP_RECVERR, ip(7)). Each of them also makes the next call on the
// socket fail, whatever that call is about; see [ofTheNetwork].

const (
	// errorBatch is how many errors one call reads, errorQuote how many bytes
	// it takes of what each quotes.
	errorBatch = 16
	errorQuote = 64

	// errorControl is more than the control messages of an error take.
	errorControl = 256

	// maxErrorReads is how often in a row they are read before other
	// goroutines get their turn.
	maxErrorReads = 64

	// maxStrays is how many that are about nothing that was sent may wait at once
	// before they are muted.
	maxStrays = 128
)

// An errorRing is what the errors are read into. It belongs to the goroutine
// that receives.
type errorRing struct {
	socket   *linuxSocket
	messages [errorBatch]mmsghdr
	vectors  [errorBatch]unix.Iovec
	names    [errorBatch]unix.RawSockaddrInet6
	quotes   [errorBatch][errorQuote]byte
	controls []byte

	tell func(to netip.AddrPort, what Report, quote []byte) (known bool)
}

func newErrorRing(s *linuxSocket) *errorRing {
	r := &errorRing{socket: s, controls: make([]byte, errorBatch*errorControl)}
	for i := range r.messages {
		r.vectors[i].Base = &r.quotes[i][0]
		r.vectors[i].SetLen(errorQuote)
		h := &r.messages[i].header
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Control = &r.controls[i*errorControl]
	}
	return r
}

// askForErrors has the kernel keep them (1) or not (0), which also discards
// those that wait.
func (s *linuxSocket) askForErrors(fd, on int) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, on)
	if s.v6 {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, on))
	}
	return err
}

// muteFor is how long a flood of errors is muted at once. What a muted error
// says is said again about a later datagram, if it is true.
const muteFor = 50 * time.Millisecond

// muteErrors has the kernel discard the errors of the network for a moment. Its
// caller holds s.erring.
func (s *linuxSocket) muteErrors() {
	if !s.muted {
		s.muted = true
		s.keepErrors(0)
		time.AfterFunc(muteFor, s.unmuteErrors)
	}
}

func (s *linuxSocket) unmuteErrors() {
	s.erring.Lock()
	defer s.erring.Unlock()
	if s.muted {
		s.muted = false
		s.keepErrors(1)
	}
}

func (s *linuxSocket) keepErrors(on int) {
	_ = s.raw.Control(func(fd uintptr) { _ = s.askForErrors(int(fd), on) }) // closed, or what it was allowed before
}

// read reads one call's worth of errors, tells what they say, and returns how
// many there were, and how many of them are about nothing that was sent.
func (r *errorRing) read(fd uintptr) (count, strays int) {
	for i := range r.messages {
		h := &r.messages[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(errorControl)
	}
	r.socket.erring.Lock()
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages)), errorBatch, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT, 0, 0)
	r.socket.erring.Unlock()
	if errno != 0 {
		return 0, 0
	}
	for i := range r.messages[:n] {
		m := &r.messages[i]
		control := r.controls[i*errorControl:][:min(int(m.header.Controllen), errorControl)]
		what, ok := whatFailed(control)
		if !ok || m.header.Namelen < unix.SizeofSockaddrInet4 {
			continue
		}
		if !r.tell(addrPort(&r.names[i]), what, r.quotes[i][:min(int(m.length), errorQuote)]) {
			strays++
		}
	}
	return int(n), strays
}

// readAll reads what errors there are, within bounds, and returns how many. If
// very many of them are forged they are muted: they share the receive buffer.
func (r *errorRing) readAll(fd uintptr) (count int) {
	strays := 0
	for range maxErrorReads {
		n, stray := r.read(fd)
		count += n
		strays += stray
		if n < errorBatch {
			break
		}
	}
	if strays > maxStrays {
		r.socket.erring.Lock()
		r.socket.muteErrors()
		r.socket.erring.Unlock()
	}
	return count
}

// whatFailed returns what the control messages of an error say. False: it is
// none that the network sent.
func whatFailed(control []byte) (Report, bool) {
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		length := int(h.Len)
		if length < unix.CmsgLen(0) || length > len(control) {
			break
		}
		data := control[unix.CmsgLen(0):length]
		isError := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR || h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR
		if isError && len(data) >= int(unsafe.Sizeof(unix.SockExtendedErr{})) {
			e := (*unix.SockExtendedErr)(unsafe.Pointer(&data[0]))
			fromNetwork := e.Origin == unix.SO_EE_ORIGIN_ICMP || e.Origin == unix.SO_EE_ORIGIN_ICMP6
			return reportOf(e), fromNetwork
		}
		control = control[min(unix.CmsgSpace(length-unix.CmsgLen(0)), len(control)):]
	}
	return 0, false
}

// reportOf returns what an ICMP message says, by what the kernel makes of it
// and, where that says too little, by its type and code.
func reportOf(e *unix.SockExtendedErr) Report {
	// RFC 792, RFC 1812 and RFC 4443.
	const unreachable4, timeExceeded4, timeExceeded6, inReassembly = 3, 11, 3, 1
	v4, v6 := e.Origin == unix.SO_EE_ORIGIN_ICMP, e.Origin == unix.SO_EE_ORIGIN_ICMP6
	switch {
	case v4 && e.Type == timeExceeded4 || v6 && e.Type == timeExceeded6:
		if e.Code == inReassembly {
			return ReportFragmentLost // the host is there
		}
		return ReportTTLExceeded
	case v4 && e.Type == unreachable4 && (e.Code == 9 || e.Code == 10 || e.Code == 13):
		return ReportProhibited
	}
	switch unix.Errno(e.Errno) {
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EHOSTDOWN, unix.ENONET:
		return ReportUnreachable
	case unix.EACCES:
		return ReportProhibited
	case unix.ECONNREFUSED, unix.ENOPROTOOPT:
		return ReportPortClosed
	case unix.EMSGSIZE:
		return ReportTooBig
	}
	return ReportOther
}

// ofTheNetwork reports whether a call can fail with errno because of what was
// sent before, to anyone: the kernel hands the error to the next call and
// clears it.
func ofTheNetwork(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EPROTO, unix.ENONET, unix.EHOSTDOWN, unix.EMSGSIZE:
		return true
	}
	return isRouteError(errno)
}

// isRouteError reports whether errno can also say that this host has no route.
func isRouteError(errno unix.Errno) bool {
	return errno == unix.EHOSTUNREACH || errno == unix.ENETUNREACH || errno == unix.EACCES
}
