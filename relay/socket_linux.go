package relay

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"udprelay/peers"
)

// A linuxSocket receives with recvmmsg and sends trains with sendmmsg, always
// with MSG_DONTWAIT.
//
// The socket is taken out of Go's network poller, see [poller]. The calls are
// raw, which Go's scheduler does not notice: else each that follows a wait
// wakes the sysmon thread, which at moderate rates costs a tenth. In return
// each call is short (see maxGathered), for the garbage collector waits for it,
// and other goroutines get their turn by runtime.Gosched.
type linuxSocket struct {
	// Never change.
	file     *os.File        // of the socket, in blocking mode, so that Go does not poll it
	raw      syscall.RawConn // of file; it keeps a close from pulling the descriptor away
	poller   *poller
	own      *own
	v6       bool   // an AF_INET6 socket; IPv4 peers have mapped addresses
	wildcard bool   // bound to no address, so that replies must say where from
	noTrains string // why datagrams do not leave in trains; empty: they do
	cookie   uint64 // which socket it is, see Past; 0: unknown
	again    bool   // it was another relay's before

	wholeTrains bool // it receives trains, and what is in them is told
	log         *slog.Logger
	coalesce    time.Duration // how long datagrams wait for more, so that trains grow

	inVain     atomic.Bool // they need not wait: nobody gets trains
	saidInVain atomic.Bool

	waker
	room       atomic.Int64 // of the send buffer, in the bytes that the kernel charges
	sources    sources
	ring       *ring
	errors     *errorRing
	erring     sync.Mutex // held while errors of the network are read or muted changes
	muted      bool       // the kernel keeps none for a moment; guarded by erring
	answering  answering
	neighbours neighbours
	ingress    ingress
}

func newSocket(conn *net.UDPConn, own *own, options Options) (socket, error) {
	s := &linuxSocket{own: own}
	if err := s.takeOver(conn); err != nil {
		return nil, fmt.Errorf("take over the socket: %w", err)
	}
	var failed error
	err := s.raw.Control(func(fd uintptr) { failed = s.setUp(int(fd), options) })
	if err = errors.Join(err, failed); err != nil {
		s.close()
		return nil, fmt.Errorf("set up the socket: %w", err)
	}
	s.setCoalesce(options)
	s.ring = newRing(s)
	s.errors = newErrorRing(s)
	s.answering.init(s)
	return s, nil
}

// takeOver makes the socket of conn ours and closes conn, which takes it out of
// the poller.
func (s *linuxSocket) takeOver(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		var copied int
		if copied, failed = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); failed != nil {
			return
		}
		if failed = unix.SetNonblock(copied, false); failed != nil {
			unix.Close(copied)
			return
		}
		s.file = os.NewFile(uintptr(copied), "udp "+conn.LocalAddr().String())
	})
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	if err := conn.Close(); err != nil {
		s.file.Close()
		return err
	}
	if s.raw, err = s.file.SyscallConn(); err != nil {
		return err
	}
	if s.poller, err = newPoller(); err != nil {
		s.file.Close()
		return fmt.Errorf("poll the socket: %w", err)
	}
	s.setDeadline = s.poller.file.SetReadDeadline
	return nil
}

func (s *linuxSocket) close() error {
	s.unmuteErrors() // for other descriptors of the socket, see notePast
	return errors.Join(s.file.Close(), s.poller.close())
}

func (s *linuxSocket) setUp(fd int, options Options) error {
	name, err := unix.Getsockname(fd)
	if err != nil {
		return err
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		s.wildcard = netip.AddrFrom4(name.Addr).IsUnspecified()
	case *unix.SockaddrInet6:
		s.v6 = true
		s.wildcard = netip.AddrFrom16(name.Addr).IsUnspecified()
	}
	switch {
	case s.wildcard && s.v6:
		err = errors.Join(
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1),
			unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1))
	case s.wildcard:
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
	}
	if err != nil {
		return fmt.Errorf("ask for the destination of datagrams: %w", err)
	}
	// Go lets every UDP socket send to broadcast addresses. A relay must not:
	// a forged sender would make it one that shouts.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 0); err != nil {
		return fmt.Errorf("forbid broadcasts: %w", err)
	}
	if err := allowFragments(fd, s.v6); err != nil {
		return fmt.Errorf("allow fragments: %w", err)
	}
	if err := leaveGroups(fd, s.v6); err != nil {
		s.log.Debug("groups of other programs are received", "error", err)
	}
	if err := s.setBuffersOf(fd, options.ReceiveBuffer, options.SendBuffer, options.Logger); err != nil {
		return err
	}
	detachFilter(fd) // of a relay that has crashed
	s.notePast(fd)
	if err := s.askForErrors(fd, 1); err != nil {
		return fmt.Errorf("ask for the errors of the network: %w", err)
	}
	s.noTrains = whyNoTrains(fd, options)
	// Trains of senders, and those that network interfaces make, are received
	// whole (UDP_GRO, Linux 5.0). That is never switched off: trains that wait at
	// the time could not be told from datagrams.
	s.wholeTrains = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	return nil
}

// setCoalesce says for how long datagrams wait for more: not at all where the
// kernel has no trains. Who has switched them off knows.
func (s *linuxSocket) setCoalesce(options Options) {
	s.log, s.coalesce = options.Logger, options.Coalesce
	if s.coalesce > 0 && s.noTrains != "" && !options.NoTrains {
		s.coalesce = 0
		s.log.Warn("datagrams do not wait for more, as there are no trains: " + s.noTrains)
	}
}

// lookForTrains finds out whether a receiver of the batch may get trains. Where
// nobody does, as the interfaces to them cannot split any, datagrams do not wait
// for more. It is called with each batch; mostly the first receiver tells.
func (s *linuxSocket) lookForTrains(b *batch, receivers []*peers.Peer) {
	inVain := false
	for _, p := range receivers {
		if p.Path.TrainLimit.Load() == 1 {
			inVain = true
		} else if _, spoke := slices.BinarySearchFunc(b.speakers, p, byNumber); !spoke { // who speaks alone gets nothing
			inVain = false
			break
		}
	}
	if s.inVain.Load() != inVain {
		s.inVain.Store(inVain)
	}
	if inVain && s.saidInVain.CompareAndSwap(false, true) {
		s.log.Warn("datagrams do not wait for more while there are no trains: the network interfaces to the peers split none",
			"hint", "ethtool -k shows whether tx-udp-segmentation and tx-checksumming are on")
	}
}

func (s *linuxSocket) setBuffers(receive, send int, log *slog.Logger) {
	// It is not called if the socket is closed, for Run may have ended.
	s.raw.Control(func(fd uintptr) {
		if err := s.setBuffersOf(int(fd), receive, send, log); err != nil {
			log.Warn(err.Error())
		}
	})
}

func (s *linuxSocket) setBuffersOf(fd, receive, send int, log *slog.Logger) error {
	wantBuffer(fd, log, receiveBuffer, receive)
	wantBuffer(fd, log, sendBuffer, send)
	room, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF)
	if err != nil {
		return fmt.Errorf("read the size of the send buffer: %w", err)
	}
	s.room.Store(int64(room))
	return nil
}

// allowFragments has datagrams leave without the DF bit, as a router forwards
// them: their size is the choice of their senders, who do not learn that it is too
// long for a link. Linux sets the bit on datagrams by themselves, but not on those
// of a train. What ICMP says about the path MTU is not followed for IPv4
// (IP_PMTUDISC_OMIT, Linux 3.15): a router splits datagrams itself, and a forged
// message would have all of them split. With IPv6 only their origin can.
func allowFragments(fd int, v6 bool) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT)
	if err != nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	}
	if v6 {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_WANT))
	}
	return err
}

// leaveGroups has multicast groups that other programs have joined not be received:
// by default a socket that listens at all addresses gets what comes for any group
// of this host (ip(7), IPV6_MULTICAST_ALL of Linux 4.20).
func leaveGroups(fd int, v6 bool) error {
	err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0)
	if v6 {
		err = errors.Join(err, unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0))
	}
	return err
}

// notePast notes which socket it is, and what the kernel has dropped so far if
// it was another relay's before, which has counted that: only a relay asks for
// errors. It must be called before this one does.
func (s *linuxSocket) notePast(fd int) {
	total, ok := dropsAt(uintptr(fd))
	if !ok {
		return
	}
	if cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE); err == nil {
		s.cookie = cookie
	}
	if asked, err := unix.GetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR); err == nil && asked != 0 {
		s.again, s.ingress.earlier = true, total
	}
	s.ingress.seen = total
}

func (s *linuxSocket) past() Past {
	if s.cookie == 0 {
		return Past{}
	}
	s.ingress.mu.Lock()
	defer s.ingress.mu.Unlock()
	return Past{s.cookie, s.ingress.earlier}
}

// resume asks for more than the cookie, which was unique in a network namespace
// only before Linux 5.4: a socket that was no relay's before cannot be the one.
// The kernel counts modulo 2³². What the relay before had counted lies behind
// what notePast has found, by less than half of that.
func (s *linuxSocket) resume(p Past) bool {
	if !s.again || s.cookie == 0 || p.Socket != s.cookie || int32(s.ingress.earlier-p.KernelDrops) < 0 {
		return false
	}
	s.ingress.earlier = p.KernelDrops
	return true
}

func (s *linuxSocket) source(l local) *peers.Source {
	if !s.wildcard || !s.v6 && !l.addr.Is4() {
		return nil
	}
	return s.sources.of(l, s.sourceControl)
}

func (s *linuxSocket) way() string {
	if s.noTrains != "" {
		return "sendmmsg, without trains: " + s.noTrains
	}
	return fmt.Sprintf("sendmmsg, in trains of up to %d datagrams (UDP_SEGMENT)", maxBatch)
}

// whyNoTrains says why UDP_SEGMENT is not to be used, or nothing if it is.
func whyNoTrains(fd int, options Options) string {
	if options.NoTrains {
		return "they are switched off"
	}
	if _, err := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT); err != nil {
		return fmt.Sprintf("the kernel has no UDP_SEGMENT (Linux 4.18 and later have): %v", err)
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Sprintf("the kernel does not tell its version: %v", err)
	}
	release := unix.ByteSliceToString(name.Release[:])
	if corruptsTrains(release) {
		return fmt.Sprintf("Linux %s corrupts trains of equal datagrams (7.0 to 7.1.4 do)", release)
	}
	return ""
}

// corruptsTrains reports whether the kernel of that release sends trains whose
// datagrams are all of one size with wrong contents: 7.0 up to 7.1.4.
func corruptsTrains(release string) bool {
	var major, minor, patch int
	// A release is "7.1.4-suffix", "7.1-rc3" or the like: a missing patch is 0.
	if n, _ := fmt.Sscanf(release, "%d.%d.%d", &major, &minor, &patch); n < 2 {
		return false
	}
	return major == 7 && (minor == 0 || minor == 1 && patch <= 4)
}

type buffer struct {
	name          string // as in the configuration
	option, force int
	sysctl        string
}

var (
	receiveBuffer = buffer{"receive", unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, "net.core.rmem_max"}
	sendBuffer    = buffer{"send", unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, "net.core.wmem_max"}
)

// dropsAt returns how many datagrams the kernel has dropped at a socket since
// it was opened, modulo 2³².
func dropsAt(fd uintptr) (total uint32, ok bool) {
	info, ok := memoryAt(fd)
	return info[meminfoDrops], ok
}

func (s *linuxSocket) buffers() (b Buffers) {
	_ = s.raw.Control(func(fd uintptr) { // closed: there are none
		if info, ok := memoryAt(fd); ok {
			b = Buffers{
				Receive: int(info[meminfoReceive]), ReceiveUsed: int(info[meminfoReceiveUsed]),
				Send: int(info[meminfoSend]), SendUsed: int(info[meminfoSendUsed]),
			}
		}
	})
	return b
}

// What SO_MEMINFO says, by linux/sock_diag.h.
const (
	meminfoReceiveUsed = 0
	meminfoReceive     = 1
	meminfoSendUsed    = 2
	meminfoSend        = 3
	meminfoDrops       = 8
	meminfoVars        = 9
)

func memoryAt(fd uintptr) ([meminfoVars]uint32, bool) {
	var m memory
	ok := m.read(fd)
	return m.info, ok
}

// A memory is what a socket says of its memory. Where it is read again and again,
// it is kept: what a system call gets is on the heap.
type memory struct {
	info [meminfoVars]uint32
	size uint32
}

func (m *memory) read(fd uintptr) bool {
	m.size = uint32(unsafe.Sizeof(m.info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&m.info)), uintptr(unsafe.Pointer(&m.size)), 0)
	return errno == 0 && m.size == uint32(unsafe.Sizeof(m.info))
}

// sizeText writes a size in bytes as the configuration does.
func sizeText(bytes int) string {
	for _, unit := range []struct {
		name string
		size int
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if bytes >= unit.size && bytes%unit.size == 0 {
			return fmt.Sprintf("%d%s", bytes/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%dB", bytes)
}

// sourceSpace holds the source of a datagram.
var sourceSpace = unix.CmsgSpace(unix.SizeofInet6Pktinfo)

// sourceControl returns the control message that makes a datagram leave from a
// local address.
func (s *linuxSocket) sourceControl(l local) []byte {
	if s.v6 {
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: l.addr.As16(), Ifindex: l.link})
	}
	return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: l.addr.As4()})
}
