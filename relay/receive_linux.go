package relay

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"time"
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

// controlSpace holds the destination of a datagram, which on a socket of both
// families the kernel tells of IPv4 in two ways, the size of those of a train,
// and before them what else the kernel may tell of a socket that another program
// has opened: the times of SO_TIMESTAMPING and SO_TIMESTAMPNS, and some numbers.
var controlSpace = unix.CmsgSpace(unix.SizeofInet6Pktinfo) + unix.CmsgSpace(unix.SizeofInet4Pktinfo) + unix.CmsgSpace(4) +
	unix.CmsgSpace(3*16) + unix.CmsgSpace(16) + 4*unix.CmsgSpace(4)

// A ring is what recvmmsg fills. It belongs to the receiving goroutine.
type ring struct {
	socket   *linuxSocket
	messages [maxBatch]mmsghdr
	vectors  [maxBatch]unix.Iovec
	names    [maxBatch]unix.RawSockaddrInet6
	controls []byte
	buffers  []byte // only the pages that datagrams reach take memory

	used    int    // messages that the last call filled
	next    int    // the first of them that is not wholly in a batch
	taken   int    // bytes of that one that are
	control inside // of that one

	controlSpace int // of a message; 0: the kernel has nothing to say

	calls   int  // in a row that were not in vain
	failing bool // there were errors of the network: they share the receive buffer
	err     error
	receive func() bool      // tryReceive
	call    func(fd uintptr) // recvmmsg
	sleep   func(time.Duration)

	memory   memory           // of the socket, as it was last read
	crowded  bool             // result of look
	look     func(fd uintptr) // whether it is crowded
	pollCall func(fd uintptr) // recvmmsgNow
	account  func(fd uintptr) // linuxSocket.account
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
	if s.wildcard || s.wholeTrains {
		r.controlSpace = controlSpace
	}
	r.used, r.next = maxBatch, maxBatch
	r.receive, r.call, r.sleep = r.tryReceive, r.recvmmsg, sleepRaw
	r.pollCall, r.account = r.recvmmsgNow, s.account
	r.look = func(fd uintptr) {
		info := &r.memory.info
		r.crowded = r.memory.read(fd) && info[meminfoReceiveUsed] > info[meminfoReceive]/crowdedShare
	}
	return r
}

// errorsEvery is after how many receive calls the errors of the network are
// read while there is always something to receive. Once there are some they are
// read before each call.
const errorsEvery = 8

func (s *linuxSocket) receive(b *batch, failed func(netip.AddrPort, Report, []byte) bool) error {
	r := s.ring
	if r.next == r.used {
		s.errors.tell = failed
		if err := r.fill(); err != nil || r.used == 0 {
			return err
		}
	}
	r.drain(b)
	return nil
}

func (s *linuxSocket) holds() bool { return s.ring.next < s.ring.used }

func (s *linuxSocket) emptied() bool { return s.ring.used < maxBatch && !s.holds() }

// crowdedShare is the share of the receive buffer, as a divisor, beyond which it
// is crowded. The kernel frees what was received only once that is a quarter of
// the buffer (udp_rmem_release), so less than half may mean that it is empty.
const crowdedShare = 2

func (s *linuxSocket) crowded() (crowded bool) {
	if s.emptied() {
		return false
	}
	_ = s.raw.Control(s.ring.look) // closed: it is as it was
	return s.ring.crowded
}

func (s *linuxSocket) poll(b *batch) {
	r := s.ring
	if r.next == r.used {
		if s.stopBy.Load() != nil {
			return
		}
		r.reset()
		if s.raw.Control(r.pollCall) != nil {
			return
		}
	}
	r.drain(b)
}

// reset makes the ring ready to be filled.
func (r *ring) reset() {
	// The kernel has changed these fields of the messages that it filled.
	for i := range r.used {
		h := &r.messages[i].header
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(r.controlSpace)
	}
	r.used, r.next, r.taken, r.err = 0, 0, 0, nil
}

// fill waits for datagrams. There are none if it was woken.
func (r *ring) fill() error {
	r.reset()
	if err := r.socket.poller.wait(r.receive); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) && r.socket.goesOn() {
			return nil
		}
		return err
	}
	return r.err
}

// drain puts what was received into b, as much as there is room for.
func (r *ring) drain(b *batch) {
	for ; r.next < r.used; r.next++ {
		i := r.next
		size := int(r.messages[i].length)
		if r.taken == 0 {
			r.control = r.parse(i)
		}
		from, source := addrPort(&r.names[i]), r.socket.sources.of(r.control.to, r.socket.sourceControl)
		each := size
		if r.control.segment > 0 {
			each = r.control.segment
		}
		for {
			if len(b.datagrams) == maxBatch {
				return
			}
			end := min(r.taken+each, size)
			payload := r.buffers[i*bufferStride:][r.taken:end:end]
			b.datagrams = append(b.datagrams, Datagram{Payload: payload, From: from})
			b.sources = append(b.sources, source)
			if r.taken = end; end == size {
				break
			}
		}
		r.taken = 0
	}
}

// tryReceive receives what is there. False: nothing is.
func (r *ring) tryReceive() (got bool) {
	if r.socket.raw.Control(r.call) != nil {
		r.err = net.ErrClosed
		return true
	}
	return r.used > 0 || r.err != nil
}

// recvmmsgNow calls it once. An error that lasts is told by the next receive.
func (r *ring) recvmmsgNow(fd uintptr) {
	if r.calls++; r.failing || r.calls%errorsEvery == 0 {
		r.failing = r.socket.errors.readAll(fd) > 0
	}
	r.socket.account(fd)
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages)), maxBatch, unix.MSG_DONTWAIT, 0, 0)
	if errno == 0 {
		r.used = int(n)
	}
}

// recvmmsg calls it until there are datagrams, or nothing is left to do but to
// wait. Errors of the network wait apart from the datagrams, and end a wait as
// datagrams do: where there is nothing to receive after a wait, it was they.
func (r *ring) recvmmsg(fd uintptr) {
	if r.calls++; r.failing || r.calls%errorsEvery == 0 {
		r.failing = r.socket.errors.readAll(fd) > 0
	}
	if r.socket.ingress.limited { // only this goroutine changes it
		r.socket.account(fd)
	}
	for range maxErrorReads {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages)), maxBatch, unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == 0:
			r.used = int(n)
			r.socket.poller.leave(fd)
			r.linger(fd)
			return
		case errno == unix.EAGAIN:
			if r.socket.poller.in {
				if n, _ := r.socket.errors.read(fd); n > 0 {
					break
				}
			}
			r.calls = 0
			r.err = r.socket.poller.enter(fd)
			return
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

// lingerSlice bounds how long the garbage collector may have to wait for who
// lingers.
const lingerSlice = 500 * time.Microsecond

// linger waits for more datagrams, if it is to and there is room for some.
func (r *ring) linger(fd uintptr) {
	if r.socket.inVain.Load() || r.socket.ingress.limited { // in an overload batches are full
		return
	}
	for left := r.socket.coalesce; left > 0 && r.hasRoom() && r.socket.stopBy.Load() == nil; left -= lingerSlice {
		r.sleep(min(left, lingerSlice))
		runtime.Gosched()
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.messages[r.used])), uintptr(maxBatch-r.used), unix.MSG_DONTWAIT, 0, 0)
		if errno == 0 {
			r.used += int(n)
		} // an error comes again, or was of the network and is read with the others
	}
}

// hasRoom reports whether what was received is less than a batch.
func (r *ring) hasRoom() bool {
	count := 0
	for i := range r.used {
		count++
		if c := r.parse(i); c.segment > 0 {
			count += (int(r.messages[i].length) - 1) / c.segment
		}
	}
	return count < maxBatch
}

// sleepRaw sleeps as all calls are made here, without Go's scheduler.
func sleepRaw(d time.Duration) {
	span := unix.NsecToTimespec(int64(d))
	unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&span)), 0, 0)
}

// Inside is what the kernel says of a message beside its payload.
type inside struct {
	to      local // the local address that it was sent to; nothing if the kernel did not say
	segment int   // it is a train: the size of each datagram but the last, which may be shorter, in bytes; 0: it is none
}

// parse returns what the kernel says of message i.
func (r *ring) parse(i int) (c inside) {
	control := r.controls[i*controlSpace:][:min(int(r.messages[i].header.Controllen), controlSpace)]
	for len(control) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&control[0]))
		length := int(h.Len)
		if length < unix.CmsgLen(0) || length > len(control) {
			break
		}
		// What had no room is cut off.
		data := control[unix.CmsgLen(0):length]
		switch {
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			c.segment = int(*(*int32)(unsafe.Pointer(&data[0])))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			// Spec_dst is the local address also of what was broadcast.
			c.to = local{addr: netip.AddrFrom4((*unix.Inet4Pktinfo)(unsafe.Pointer(&data[0])).Spec_dst)}
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := (*unix.Inet6Pktinfo)(unsafe.Pointer(&data[0]))
			addr := netip.AddrFrom16(info.Addr).Unmap()
			if addr.Is4() && c.to.addr.IsValid() {
				break // IP_PKTINFO has said it
			}
			c.to = local{addr: addr}
			if addr.Is6() && addr.IsLinkLocalUnicast() {
				c.to.link = info.Ifindex
			}
		}
		control = control[min(unix.CmsgSpace(length-unix.CmsgLen(0)), len(control)):]
	}
	return c
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
