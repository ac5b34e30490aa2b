package relay

import (
	"net"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A sink is a receiver whose socket has a filter that drops everything. So
// receiving costs next to nothing, and the kernel counts.
type sink struct {
	conn *net.UDPConn
	addr netip.AddrPort
	raw  func(func(fd uintptr)) error
}

// newSinks returns receivers at host.
func newSinks(t testing.TB, host string, count int) []*sink {
	t.Helper()
	sinks := make([]*sink, count)
	for i := range sinks {
		conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		s := &sink{conn, conn.LocalAddr().(*net.UDPAddr).AddrPort(), raw.Control}
		drop := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0}
		s.raw(func(fd uintptr) {
			err = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &drop})
		})
		if err != nil {
			t.Fatalf("attach a filter: %v", err)
		}
		sinks[i] = s
	}
	return sinks
}

func addrsOf(sinks []*sink) (addrs []netip.AddrPort) {
	for _, s := range sinks {
		addrs = append(addrs, s.addr)
	}
	return addrs
}

// count returns how many datagrams have come, modulo 2³².
func (s *sink) count() (n uint32) {
	s.raw(func(fd uintptr) { n = dropsOf(int(fd)) })
	return n
}

// dropsOf returns how many datagrams a socket has dropped (SO_MEMINFO).
func dropsOf(fd int) uint32 {
	var info [9]uint32
	size := uint32(unsafe.Sizeof(info))
	unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO, uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	return info[8]
}
