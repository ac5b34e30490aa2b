package bench

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"udprelay/internal/proof"
)

// perAddress is how many sockets share one of the addresses 127.0.0.1 and up: a
// relay may limit how many peers join from one, and each has 28,000 ports.
const perAddress = 128

// A socket is one peer.
type socket struct {
	fd       int
	readElse bool          // by the listener or the generator; else nobody reads what the filter lets through
	read     atomic.Uint64 // datagrams of the run that were read
	foreign  atomic.Uint64 // datagrams of others that were read
	drops    uint32        // what the kernel's counter said last
	dropped  uint64        // datagrams since the run began, as counted by the kernel
	baseline uint64
	waits    bool // something was there to be read when the kernel's counter was
	full     bool // there was no room for more once, and what the kernel has counted may be of others
}

// openSockets opens the receivers and then the senders.
func openSockets(c *Config) (sockets []socket, err error) {
	count := c.receivers() + c.Senders
	if err := allowFiles(uint64(count) + 64); err != nil {
		return nil, err
	}
	sockets = make([]socket, 0, count)
	defer func() {
		if err != nil {
			closeSockets(sockets)
		}
	}()
	for i := range count {
		var fd int
		at := c.Relay
		if i < c.receivers() {
			at = c.receiversAt()
		}
		if i < len(c.Static) {
			fd, err = open(c.Static[i], netip.AddrPort{})
		} else {
			fd, err = open(netip.AddrPortFrom(ownAddress(at.Addr(), i), 0), at)
		}
		if err != nil {
			if errors.Is(err, unix.EADDRNOTAVAIL) || errors.Is(err, unix.EAGAIN) {
				err = fmt.Errorf("socket %d of %d: %w: this host has no more free ports (net.ipv4.ip_local_port_range); fewer peers would do", i+1, count, err)
			} else {
				err = fmt.Errorf("socket %d of %d: %w", i+1, count, err)
			}
			return nil, err
		}
		sockets = sockets[:i+1]
		sockets[i].fd = fd
	}
	return sockets, nil
}

// ownAddress returns where socket i is bound.
func ownAddress(relay netip.Addr, i int) netip.Addr {
	switch {
	case relay.Is4() && relay.IsLoopback():
		n := 1 + i/perAddress
		return netip.AddrFrom4([4]byte{127, byte(n >> 16), byte(n >> 8), byte(n)})
	case relay.Is4():
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// open returns a socket at own, connected to the relay if that is valid.
func open(own, relay netip.AddrPort) (int, error) {
	family := unix.AF_INET
	if own.Addr().Is6() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return 0, fmt.Errorf("open: %w", err)
	}
	if err = unix.Bind(fd, sockaddr(own)); err != nil {
		err = fmt.Errorf("bind %v: %w", own, err)
	} else if relay.IsValid() {
		if err = unix.Connect(fd, sockaddr(relay)); err != nil {
			err = fmt.Errorf("connect to %v: %w", relay, err)
		}
	}
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}

func sockaddr(addr netip.AddrPort) unix.Sockaddr {
	if addr.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}
	}
	to := &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	if zone := addr.Addr().Zone(); zone != "" {
		if link, err := net.InterfaceByName(zone); err == nil {
			to.ZoneId = uint32(link.Index)
		} else if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
			to.ZoneId = uint32(n)
		}
	}
	return to
}

func closeSockets(sockets []socket) {
	for i := range sockets {
		unix.Close(sockets[i].fd)
	}
}

// allowFiles lets the process have so many open files.
func allowFiles(count uint64) error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	switch {
	case limit.Cur >= count:
		return nil
	case limit.Max < count:
		return fmt.Errorf("so many peers need %d open files, and the limit is %d: raise it (ulimit -Hn), or take fewer peers", count, limit.Max)
	}
	limit.Cur = limit.Max
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files to %d: %w", count, err)
	}
	return nil
}

// filter has the kernel drop, and count, datagrams of the run: all of them, or,
// with every above 1, those whose number is no multiple of it. Others are
// received. Offsets count from the UDP header.
func filter(fd int, run uint32, every uint32) error {
	const (
		length  = unix.BPF_LD | unix.BPF_W | unix.BPF_LEN
		load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		atLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		equal   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		modulo  = unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K
		end     = unix.BPF_RET | unix.BPF_K
		header  = 8
		all     = 0xffffffff
	)
	code := []unix.SockFilter{
		{Code: length},
		{Code: atLeast, K: header + stampBytes, Jf: 2},
		{Code: load, K: header},
		{Code: equal, K: run, Jt: 1},
		{Code: end, K: all},
	}
	if every > 0 {
		code = append(code,
			unix.SockFilter{Code: load, K: header + 4},
			unix.SockFilter{Code: modulo, K: every},
			unix.SockFilter{Code: equal, K: 0, Jf: 1},
			unix.SockFilter{Code: end, K: all},
		)
	}
	code = append(code, unix.SockFilter{Code: end, K: 0})
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program); err != nil {
		return fmt.Errorf("attach a socket filter: %w", err)
	}
	return nil
}

// memoryAt returns how many bytes wait at a socket, how many may wait, and how
// many datagrams it has dropped, modulo 2³² (SO_MEMINFO).
func memoryAt(fd int) (waiting, room, drops uint32) {
	const used, most, dropped = 0, 1, 8 // SK_MEMINFO_RMEM_ALLOC, _RCVBUF, _DROPS
	var info [dropped + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return info[used], info[most], info[dropped]
}

// begin makes the count of s zero.
func (s *socket) begin() {
	_, _, s.drops = memoryAt(s.fd)
	s.dropped, s.baseline = 0, s.read.Load()
	s.foreign.Store(0)
}

// count returns how many datagrams of the run have come. One goroutine may call
// it, often enough for the kernel's counter not to go round in between.
func (s *socket) count() uint64 {
	waiting, room, now := memoryAt(s.fd)
	s.dropped += uint64(now - s.drops)
	s.drops = now
	s.waits = waiting > 0
	// The kernel turns away what does not fit, which long datagrams do earlier.
	s.full = s.full || !s.readElse && waiting > room/4*3
	return s.dropped + s.read.Load() - s.baseline
}

// drain drops what has been received, of which there may be no end, and counts
// what is of others: neither a probe nor an answer of the relay.
func (s *socket) drain(probe uint32) {
	var buffer [64]byte // more than a cookie takes
	for range 1024 {
		n, _, err := unix.Recvfrom(s.fd, buffer[:], unix.MSG_DONTWAIT)
		if err != nil {
			return
		}
		run, _, _, stamped := stampOf(buffer[:n])
		if _, isCookie := proof.Cookie(buffer[:n]); n > 0 && !isCookie && !(stamped && run == probe) {
			s.foreign.Add(1)
		}
	}
}
