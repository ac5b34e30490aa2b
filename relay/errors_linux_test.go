package relay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
)

// control returns a control message.
func control(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// extended returns struct sock_extended_err.
func extended(errno unix.Errno, origin uint8) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(errno))
	kind := byte(3) // destination unreachable, of ICMP and of ICMPv6
	if origin == unix.SO_EE_ORIGIN_ICMP6 {
		kind = 1
	}
	return append(b, origin, kind, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
}

func TestWhatFailedIsReadFromControlMessages(t *testing.T) {
	four := func(errno unix.Errno, origin uint8) []byte {
		return control(unix.IPPROTO_IP, unix.IP_RECVERR, extended(errno, origin))
	}
	six := func(errno unix.Errno, origin uint8) []byte {
		return control(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, extended(errno, origin))
	}
	join := func(messages ...[]byte) []byte { return bytes.Join(messages, nil) }
	pktinfo := control(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, unix.SizeofInet4Pktinfo))
	pktinfo6 := control(unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, unix.SizeofInet6Pktinfo))
	odd := control(unix.SOL_SOCKET, unix.SCM_TIMESTAMPING, []byte("5 byt"))
	offender := control(unix.IPPROTO_IP, unix.IP_RECVERR, append(extended(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP), make([]byte, unix.SizeofSockaddrInet4)...))
	lengthOf := func(length uint64) []byte {
		b := four(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP)
		(*unix.Cmsghdr)(unsafe.Pointer(&b[0])).SetLen(int(length))
		return b
	}
	for _, test := range []struct {
		name    string
		control []byte
		what    Report
		ok      bool
	}{
		{"nothing", nil, 0, false},
		{"IPv4", four(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP), ReportUnreachable, true},
		{"IPv4, with the offender's address", offender, ReportUnreachable, true},
		{"IPv6", six(unix.ECONNREFUSED, unix.SO_EE_ORIGIN_ICMP6), ReportPortClosed, true},
		{"too big", four(unix.EMSGSIZE, unix.SO_EE_ORIGIN_ICMP), ReportTooBig, true},
		{"others before it", join(pktinfo, pktinfo6, odd, six(unix.ENETUNREACH, unix.SO_EE_ORIGIN_ICMP6)), ReportUnreachable, true},
		{"others behind it", join(four(unix.ECONNREFUSED, unix.SO_EE_ORIGIN_ICMP), pktinfo), ReportPortClosed, true},
		{"others only", join(pktinfo, pktinfo6, odd), 0, false},
		{"of this host", four(unix.EMSGSIZE, unix.SO_EE_ORIGIN_LOCAL), 0, false},
		{"of this host, unreachable", six(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_LOCAL), 0, false},
		{"a timestamp", six(unix.ENOMSG, unix.SO_EE_ORIGIN_TIMESTAMPING), 0, false},
		{"no origin", four(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_NONE), 0, false},
		{"zero copy", four(0, unix.SO_EE_ORIGIN_ZEROCOPY), 0, false},
		{"another level", control(unix.SOL_SOCKET, unix.IP_RECVERR, extended(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP)), 0, false},
		{"half an error", control(unix.IPPROTO_IP, unix.IP_RECVERR, extended(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP)[:8]), 0, false},
		{"an error of no bytes", control(unix.IPPROTO_IP, unix.IP_RECVERR, nil), 0, false},
		{"a length of 0", lengthOf(0), 0, false},
		{"a length of less than a header", lengthOf(15), 0, false},
		{"a length beyond the end", lengthOf(4096), 0, false},
		{"a length that is negative", lengthOf(1 << 63), 0, false},
		{"a length of the most", lengthOf(1<<63 - 1), 0, false},
	} {
		if what, ok := whatFailed(test.control); ok != test.ok || ok && what != test.what {
			t.Errorf("%s: want %d, %t; got %d, %t", test.name, test.what, test.ok, what, ok)
		}
	}
	// What is cut off says nothing, or what it said before.
	whole := join(pktinfo, odd, six(unix.ENETUNREACH, unix.SO_EE_ORIGIN_ICMP6))
	for size := range whole {
		if what, ok := whatFailed(whole[:size:size]); ok && (what != ReportUnreachable || size < len(whole)-unix.CmsgSpace(0)) {
			t.Errorf("the first %d of %d bytes: want nothing; got %d, %t", size, len(whole), what, ok)
		}
	}
}

func TestReportOf(t *testing.T) {
	// icmp_err_convert in net/ipv4/icmp.c, tab_unreach in net/ipv6/icmp.c.
	for _, test := range []struct {
		errno      unix.Errno
		kind, code uint8 // of ICMP, or ICMPv6
		v6         bool
		want       Report
	}{
		{unix.ENETUNREACH, 3, 0, false, ReportUnreachable},
		{unix.EHOSTUNREACH, 3, 1, false, ReportUnreachable},
		{unix.ENOPROTOOPT, 3, 2, false, ReportPortClosed},
		{unix.ECONNREFUSED, 3, 3, false, ReportPortClosed},
		{unix.EMSGSIZE, 3, 4, false, ReportTooBig},
		{unix.EOPNOTSUPP, 3, 5, false, ReportOther}, // source route failed
		{unix.EHOSTDOWN, 3, 7, false, ReportUnreachable},
		{unix.ENONET, 3, 8, false, ReportUnreachable},
		{unix.ENETUNREACH, 3, 9, false, ReportProhibited},
		{unix.EHOSTUNREACH, 3, 10, false, ReportProhibited},
		{unix.EHOSTUNREACH, 3, 12, false, ReportUnreachable},
		{unix.EHOSTUNREACH, 3, 13, false, ReportProhibited},
		{unix.EHOSTUNREACH, 11, 0, false, ReportTTLExceeded},
		{unix.EHOSTUNREACH, 11, 1, false, ReportFragmentLost},
		{unix.EPROTO, 12, 0, false, ReportOther}, // parameter problem
		{unix.ENETUNREACH, 1, 0, true, ReportUnreachable},
		{unix.EACCES, 1, 1, true, ReportProhibited},
		{unix.EHOSTUNREACH, 1, 3, true, ReportUnreachable},
		{unix.ECONNREFUSED, 1, 4, true, ReportPortClosed},
		{unix.EACCES, 1, 5, true, ReportProhibited},
		{unix.EMSGSIZE, 2, 0, true, ReportTooBig},
		{unix.EHOSTUNREACH, 3, 0, true, ReportTTLExceeded},
		{unix.EHOSTUNREACH, 3, 1, true, ReportFragmentLost},
		{unix.EPROTO, 4, 1, true, ReportOther},
	} {
		e := &unix.SockExtendedErr{Errno: uint32(test.errno), Origin: unix.SO_EE_ORIGIN_ICMP, Type: test.kind, Code: test.code}
		if test.v6 {
			e.Origin = unix.SO_EE_ORIGIN_ICMP6
		}
		if got := reportOf(e); got != test.want {
			t.Errorf("ICMP (IPv6: %t) type %d code %d, %v: want %v; got %v", test.v6, test.kind, test.code, test.errno, test.want, got)
		}
	}
}

// Each error that an ICMP message can make pending must be
// known to be one, or it would be taken for one of the call.
func TestAllErrorsOfICMPAreOfTheNetwork(t *testing.T) {
	for _, errno := range pendings {
		if !ofTheNetwork(errno) {
			t.Errorf("want %v known as an error of the network; it is not", errno)
		}
	}
	for _, errno := range []unix.Errno{0, unix.EINTR, unix.EAGAIN, unix.EINVAL, unix.EIO, unix.EPERM, unix.ENOBUFS, unix.EBADF, unix.ENOTSOCK} {
		if ofTheNetwork(errno) {
			t.Errorf("want %v known as an error of the call; it is not", errno)
		}
	}
}

// FuzzWhatFailed has the control messages end where reading on is a fault.
func FuzzWhatFailed(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(control(unix.IPPROTO_IP, unix.IP_RECVERR, extended(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP)))
	f.Add(append(control(unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, 12)), control(unix.IPPROTO_IPV6, unix.IPV6_RECVERR, extended(unix.EACCES, unix.SO_EE_ORIGIN_ICMP6))...))
	f.Add(control(unix.IPPROTO_IP, unix.IP_RECVERR, nil)[:unix.CmsgLen(0)-1])
	f.Add(append(control(unix.IPPROTO_IP, unix.IP_PKTINFO, []byte("odd")), 0xff, 0xff, 0xff))
	page := unix.Getpagesize()
	pages, err := unix.Mmap(-1, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { unix.Munmap(pages) })
	if err := unix.Mprotect(pages[page:], unix.PROT_NONE); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[max(0, len(data)-page):]
		at := pages[page-len(data) : page : page]
		copy(at, data)
		what, ok := whatFailed(at)
		if again, okAgain := whatFailed(bytes.Clone(data)); what != again || ok != okAgain {
			t.Errorf("want the same of a copy; got %d, %t and %d, %t", what, ok, again, okAgain)
		}
		if !bytes.Equal(at, data) {
			t.Error("want the control messages left as they are; they are changed")
		}
		if what >= reports {
			t.Errorf("want one of the failures; got %d", what)
		}
	})
}

// pendings are the errors that ICMP leaves at a socket for its next call.
var pendings = []unix.Errno{
	unix.ECONNREFUSED, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EPROTO, unix.ENONET, unix.EHOSTDOWN,
	unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.EMSGSIZE,
}

// kinds are the types and codes of ICMP that say a datagram was not delivered.
var kinds4, kinds6 = func() (four, six [][2]byte) {
	for code := range byte(16) {
		four = append(four, [2]byte{3, code}) // unreachable
	}
	for code := range byte(7) {
		six = append(six, [2]byte{1, code})
	}
	return append(four, [2]byte{11, 0}, [2]byte{12, 0}), // time exceeded, parameter problem
		append(six, [2]byte{2, 0}, [2]byte{3, 0}, [2]byte{3, 1}, [2]byte{4, 0}, [2]byte{4, 1}) // too big, time exceeded, parameter problem
}()

func kindsOf(addr netip.AddrPort) [][2]byte {
	if addr.Addr().Is4() {
		return kinds4
	}
	return kinds6
}

// closedPort returns the address of a port that nobody listens at.
func closedPort(t testing.TB, place string) netip.AddrPort {
	t.Helper()
	port, err := testneed.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return netip.AddrPortFrom(netip.MustParseAddrPort(place).Addr(), port)
}

// processorTime returns what this process has used.
func processorTime(t testing.TB) time.Duration {
	t.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func TestRelaySleepsAfterErrors(t *testing.T) {
	for _, w := range ways[:2] {
		for _, place := range []string{on4, on6} {
			t.Run(w.name+"/"+place, func(t *testing.T) {
				r := startRelay(t, w, place, defaults())
				r.SetStatic([]netip.AddrPort{closedPort(t, place), closedPort(t, place)})
				link := r.Attach(discard{})
				defer link.Detach()
				for round := range 2 {
					for n := range 10 {
						bring(t, link, mark(n, 100), mark(n, 100), mark(n, 100))
					}
					const window = 100 * time.Millisecond
					least := window
					for try := 0; try < 10 && least > window/10; try++ {
						before := processorTime(t)
						time.Sleep(window)
						least = min(least, processorTime(t)-before)
					}
					if least > window/10 {
						t.Errorf("round %d: want less than a tenth of a processor used while there is nothing to do; got %v in %v", round, least, window)
					}
				}
			})
		}
	}
}

func TestRelayWakesForWhatComesBehindAnError(t *testing.T) {
	for _, w := range ways[:2] {
		for _, place := range []string{on4, on6} {
			t.Run(w.name+"/"+place, func(t *testing.T) {
				r := startRelay(t, w, place, defaults())
				r.SetStatic([]netip.AddrPort{closedPort(t, place)})
				sender, peer := newPeer(t, r, r.Addr()), newPeer(t, r, r.Addr())
				link := r.Attach(discard{})
				defer link.Detach()
				for n := range 200 {
					bring(t, link, mark(n, 50))
					switch n % 4 {
					case 1:
						time.Sleep(50 * time.Microsecond)
					case 2:
						time.Sleep(time.Millisecond)
					}
					sender.send(mark(1000+n, 50))
					peer.wants(mark(n, 50), mark(1000+n, 50))
					sender.wants(mark(n, 50))
				}
				checkNoDrops(t, r)
			})
		}
	}
}
