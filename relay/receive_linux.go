package relay

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// bufferStride is the distance between the buffers of a ring, in bytes. It is
// no power of two, so that the first lines of 64 buffers, which is all that
// most datagrams fill, do not fall into the same few sets of the processor's
// caches.
const bufferStride = maxDatagram + 1 + 5*64

// controlSpace holds the destination of a datagram: on a socket of both
// families the kernel tells that of IPv4 in two ways.
var controlSpace = unix.CmsgSpace(unix.SizeofInet6Pktinfo) + unix.CmsgSpace(unix.SizeofInet4Pktinfo)

// A ring is what recvmmsg fills. It belongs to the receiving goroutine.
type ring struct {
	socket   *linuxSocket
	messages [maxBatch]mmsghdr
	vectors  [maxBatch]unix.Iovec
	names    [maxBatch]unix.RawSockaddrInet6
	controls []byte
	buffers  []byte // only the pages that datagrams reach take memory

	used    int  // messages that the last call filled
	calls   int  // in a row that were not in vain
	failing bool // there were errors of the network: they share the receive buffer
	err     error
	receive func() bool      // tryReceive
	call    func(fd uintptr) // recvmmsg
}

func newRing(s *linuxSocket) *ring {
	r := &ring{
		socket:   s,
		controls: make([]byte, maxBatch*controlSpace),
		buffers:  make([]byte, maxBatch*bufferStride),
	}
	for i := range r.messages {
		r.vectors[i].Base = &r.buffers[i*bufferStride]
		r.vectors[i].SetLen(maxDatagram)
		h := &r.messages[i].header
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
		h.Iov = &r.vectors[i]
		h.SetIovlen(1)
		h.Control = &r.controls[i*controlSpace]
	}
	r.used = maxBatch
	r.receive, r.call = r.tryReceive, r.recvmmsg
	return r
}

// errorsEvery is after how many receive calls the errors of the network are
// read while there is always something to receive. Once there are some they are
// read before each call.
const errorsEvery = 8

func (s *linuxSocket) receive(b *batch, failed func(netip.AddrPort, failure, []byte)) error {
	r := s.ring
	s.errors.tell = failed
	// The kernel has changed these fields of the messages that it filled.
	for i := range r.used {
		h := &r.messages[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		if s.wildcard {
			h.SetControllen(controlSpace)
		}
	}
	r.used, r.err = 0, nil
	if err := s.poller.wait(r.receive); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && s.goesOn() {
			return nil
		}
		return err
	}
	if r.err != nil {
		return r.err
	}
	for i := range r.used {
		m := &r.messages[i]
		b.datagrams = append(b.datagrams, Datagram{
			Payload: r.buffers[i*bufferStride:][:m.length:m.length],
			From:    addrPort(&r.names[i]),
		})
		b.sources = append(b.sources, s.sources.of(r.destination(i), s.sourceControl))
	}
	return nil
}

// tryReceive receives what is there. False: nothing is.
func (r *ring) tryReceive() (got bool) {
	if r.socket.raw.Control(r.call) != nil {
		r.err = net.ErrClosed
		return true
	}
	return r.used > 0 || r.err != nil
}

// recvmmsg calls it until there are datagrams, or nothing is left to do but to
// wait. Errors of the network wait apart from the datagrams, and end a wait as
// datagrams do: where there is nothing to receive after a wait, it was they.
func (r *ring) recvmmsg(fd uintptr) {
	if r.calls++; r.failing || r.calls%errorsEvery == 0 {
		r.failing = r.socket.errors.readAll(fd) > 0
	}
	for range maxErrorReads {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages)), maxBatch, unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == 0:
			r.used = int(n)
			r.socket.poller.leave(fd)
			return
		case errno == unix.EAGAIN:
			if !r.socket.poller.in || r.socket.errors.read(fd) == 0 {
				r.calls = 0
				r.err = r.socket.poller.enter(fd)
				return
			}
		case errno == unix.EINTR || ofTheNetwork(errno): // the call has cleared it
		default:
			r.err = os.NewSyscallError("recvmmsg", errno)
			return
		}
	}
	// Errors come as fast as they are read: let others have their turn.
	r.socket.poller.leave(fd)
	r.err = r.socket.poller.enter(fd)
}

// destination returns the local address that message i was sent to, or nothing
// if the kernel did not say.
func (r *ring) destination(i int) (to local) {
	if !r.socket.wildcard {
		return local{}
	}
	control := r.controls[i*controlSpace:][:min(int(r.messages[i].header.Controllen), controlSpace)]
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		data := control[unix.CmsgLen(0):]
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
			// Spec_dst is the local address also of what was broadcast.
			return local{addr: netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Spec_dst)}
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			to.addr = netip.AddrFrom16(info.Addr).Unmap()
			if to.addr.Is6() && to.addr.IsLinkLocalUnicast() {
				to.link = info.Ifindex
			}
		}
		control = control[min(unix.CmsgSpace(int(h.Len)-unix.CmsgLen(0)), len(control)):]
	}
	return to
}

// addrPort returns the address in name, which may also hold one of IPv4,
// unmapped. A zone is the number of the interface: names can change.
func addrPort(name *unix.RawSockaddrInet6) netip.AddrPort {
	if name.Family == unix.AF_INET {
		name := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(name.Addr), networkOrder(name.Port))
	}
	addr := netip.AddrFrom16(name.Addr).Unmap()
	if name.Scope_id != 0 {
		addr = addr.WithZone(strconv.FormatUint(uint64(name.Scope_id), 10))
	}
	return netip.AddrPortFrom(addr, networkOrder(name.Port))
}

// putAddr writes addr into name and returns its length in bytes.
func (s *linuxSocket) putAddr(name *unix.RawSockaddrInet6, addr netip.AddrPort) uint32 {
	if !s.v6 {
		if !addr.Addr().Is4() {
			name.Family = unix.AF_INET6 // the kernel answers EAFNOSUPPORT
			return unix.SizeofSockaddrInet4
		}
		*(*unix.RawSockaddrInet4)(unsafe.Pointer(name)) = unix.RawSockaddrInet4{
			Family: unix.AF_INET, Port: networkOrder(addr.Port()), Addr: addr.Addr().As4(),
		}
		return unix.SizeofSockaddrInet4
	}
	*name = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: networkOrder(addr.Port()), Addr: addr.Addr().As16()}
	if zone := addr.Addr().Zone(); zone != "" {
		scope, _ := strconv.ParseUint(zone, 10, 32) // names are resolved before they come here
		name.Scope_id = uint32(scope)
	}
	return unix.SizeofSockaddrInet6
}

// networkOrder translates a port to or from network byte order.
func networkOrder(port uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], port)
	return binary.NativeEndian.Uint16(b[:])
}
