package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"udprelay/peers"
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
		what    failure
		ok      bool
	}{
		{"nothing", nil, 0, false},
		{"IPv4", four(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP), unreachable, true},
		{"IPv4, with the offender's address", offender, unreachable, true},
		{"IPv6", six(unix.ECONNREFUSED, unix.SO_EE_ORIGIN_ICMP6), portClosed, true},
		{"too big", four(unix.EMSGSIZE, unix.SO_EE_ORIGIN_ICMP), failedOtherwise, true},
		{"others before it", join(pktinfo, pktinfo6, odd, six(unix.ENETUNREACH, unix.SO_EE_ORIGIN_ICMP6)), unreachable, true},
		{"others behind it", join(four(unix.ECONNREFUSED, unix.SO_EE_ORIGIN_ICMP), pktinfo), portClosed, true},
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
		if what, ok := whatFailed(whole[:size:size]); ok && (what != unreachable || size < len(whole)-unix.CmsgSpace(0)) {
			t.Errorf("the first %d of %d bytes: want nothing; got %d, %t", size, len(whole), what, ok)
		}
	}
}

func TestFailureOf(t *testing.T) {
	// icmp_err_convert in net/ipv4/icmp.c, tab_unreach in net/ipv6/icmp.c.
	want := map[unix.Errno]failure{
		unix.ENETUNREACH: unreachable, unix.EHOSTUNREACH: unreachable, unix.EHOSTDOWN: unreachable, unix.ENONET: unreachable, unix.EACCES: unreachable,
		unix.ECONNREFUSED: portClosed, unix.ENOPROTOOPT: portClosed,
		unix.EMSGSIZE: failedOtherwise, unix.EOPNOTSUPP: failedOtherwise, unix.EPROTO: failedOtherwise, 0: failedOtherwise, unix.ENOENT: failedOtherwise,
	}
	for errno, what := range want {
		if got := failureOf(errno); got != what {
			t.Errorf("%v: want %d; got %d", errno, what, got)
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
		if what > portClosed {
			t.Errorf("want one of the failures; got %d", what)
		}
	})
}

// pendings are the errors that ICMP leaves at a socket for its next call.
var pendings = []unix.Errno{
	unix.ECONNREFUSED, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EPROTO, unix.ENONET, unix.EHOSTDOWN,
	unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EACCES, unix.EMSGSIZE,
}

// checkInnocent fails the test unless all got everything as if nothing was.
func (k *fakeKernel) checkInnocent(p *peers.Peer, want []string, withSource bool, what string) {
	k.t.Helper()
	k.checkGot(p, want, what)
	if got := p.Path.Source.Load() != nil; got != withSource {
		k.t.Fatalf("%s: want the source address remembered for %v: %t; got %t", what, p.Addr(), withSource, got)
	}
	if limit := p.Path.TrainLimit.Load(); limit != 0 {
		k.t.Fatalf("%s: want no train limit for %v; got %d", what, p.Addr(), limit)
	}
	for _, a := range k.got[p.Addr()] {
		if withSource != a.source.IsValid() {
			k.t.Fatalf("%s: want %v to get everything from the address it knows: %t; got it from %v", what, p.Addr(), withSource, a.source)
		}
	}
}

// An error of the network comes to whichever call is next.
func TestPendingErrorCostsTheInnocentNothing(t *testing.T) {
	const count = 6
	eachKind(t, func(t *testing.T, v6, withSource bool, payloads []string) {
		for _, pending := range pendings {
			for every := 2; every <= 9; every++ {
				s, kernel := newFakeSender(t, v6)
				room := newRoom(v6, count)
				if withSource {
					knownBy(s, room.peers...)
				}
				looks := 0
				kernel.refuse = func(*wireMessage) unix.Errno {
					if looks++; looks%every == 0 {
						return pending
					}
					return 0
				}
				what := fmt.Sprintf("%v at every call of %d", pending, every)
				var counts tally
				var want []string
				for range 5 {
					if err := s.send(fromALink(payloads), room.table.Receivers(), &counts); err != nil {
						t.Fatalf("%s: want no error; got %v", what, err)
					}
					want = append(want, payloads...)
				}
				for _, p := range room.peers {
					kernel.checkInnocent(p, want, withSource, what)
				}
				checkCounts(t, &counts, count*len(want), nil)
			}
		}
	})
}

// Errors come in rows when many answer at once.
func TestPendingErrorsInARowCostTheInnocentNothing(t *testing.T) {
	const count = 4
	eachKind(t, func(t *testing.T, v6, withSource bool, payloads []string) {
		for _, pending := range pendings {
			for _, row := range []int{2, fewTries, manyTries} {
				if row == manyTries && eitherWay(pending) {
					continue
				}
				s, kernel := newFakeSender(t, v6)
				room := newRoom(v6, count)
				if withSource {
					knownBy(s, room.peers...)
				}
				tries := make(map[string]int)
				kernel.refuse = func(m *wireMessage) unix.Errno {
					key := fmt.Sprint(m.to, m.datagrams[0])
					if tries[key]++; tries[key] <= row {
						return pending
					}
					return 0
				}
				var counts tally
				if err := s.send(fromALink(payloads), room.table.Receivers(), &counts); err != nil {
					t.Fatal(err)
				}
				for _, p := range room.peers {
					kernel.checkInnocent(p, payloads, withSource, fmt.Sprintf("%d times %v", row, pending))
				}
				checkCounts(t, &counts, count*len(payloads), nil)
			}
		}
	})
}

// What errors of the network hit while trains and source addresses are given
// up for good reasons must not be lost either.
func TestPendingErrorWhileAMessageChangesCostsNothing(t *testing.T) {
	for _, pending := range pendings {
		for _, reason := range []unix.Errno{unix.EMSGSIZE, unix.EIO, unix.EINVAL} {
			what := fmt.Sprintf("%v while trains meet %v", pending, reason)
			s, kernel := newFakeSender(t, false)
			room := newRoom(false, 3)
			hit := false
			kernel.refuse = func(m *wireMessage) unix.Errno {
				switch {
				case m.to != room.peers[1].Addr():
				case m.train():
					hit = false
					return reason
				case !hit:
					hit = true
					return pending
				}
				return 0
			}
			var counts tally
			if err := s.send(fromALink(train20), room.table.Receivers(), &counts); err != nil {
				t.Fatal(err)
			}
			for _, p := range room.peers {
				kernel.checkGot(p, train20, what)
			}
			checkCounts(t, &counts, 3*len(train20), nil)
		}
		for _, gone := range sourceGone {
			for _, payloads := range [][]string{loneDatagram, train20} {
				what := fmt.Sprintf("%v while the source address is gone (%v)", pending, gone)
				s, kernel := newFakeSender(t, false)
				room := newRoom(false, 3)
				knownBy(s, room.peers[1])
				hit := false
				kernel.refuse = func(m *wireMessage) unix.Errno {
					switch {
					case m.source.IsValid():
						hit = false
						return gone
					case m.to == room.peers[1].Addr() && !hit:
						hit = true
						return pending
					}
					return 0
				}
				var counts tally
				if err := s.send(fromALink(payloads), room.table.Receivers(), &counts); err != nil {
					t.Fatal(err)
				}
				for _, p := range room.peers {
					kernel.checkGot(p, payloads, what)
				}
				checkCounts(t, &counts, 3*len(payloads), nil)
			}
		}
	}
}

// Whatever is pending beside whoever is bad, the good get everything, and all
// is counted.
func TestPendingErrorsBesideBadPeers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v6 := rapid.Bool().Draw(t, "IPv6")
		s, kernel := newFakeSender(t, v6)
		room := newRoom(v6, rapid.IntRange(1, 12).Draw(t, "peers"))
		withSource := rapid.Bool().Draw(t, "with source")
		if withSource {
			knownBy(s, room.peers...)
		}
		bad := make(map[netip.AddrPort]int) // indexes of errnos
		for _, p := range room.peers {
			if rapid.IntRange(0, 3).Draw(t, "bad") == 0 {
				bad[p.Addr()] = rapid.IntRange(0, len(errnos)-1).Draw(t, "errno")
			}
		}
		row := make(map[string]int) // errors in a row, for each message
		kernel.refuse = func(m *wireMessage) unix.Errno {
			key := fmt.Sprint(m.to, m.datagrams[0])
			if row[key] < fewTries && rapid.IntRange(0, 2).Draw(t, "pending") == 0 {
				row[key]++
				return rapid.SampledFrom(pendings).Draw(t, "error")
			}
			if i, ok := bad[m.to]; ok {
				return errnos[i].errno
			}
			return 0
		}
		kernel.short = func(n int) int { return rapid.IntRange(1, n).Draw(t, "looks") }
		payloads := rapid.SampledFrom([][]string{loneDatagram, twoTrains, train20}).Draw(t, "payloads")
		var counts tally
		if err := s.send(fromALink(payloads), room.table.Receivers(), &counts); err != nil {
			t.Fatal(err)
		}
		dropped := 0
		for _, p := range room.peers {
			if _, ok := bad[p.Addr()]; ok {
				kernel.checkGot(p, nil, "a bad peer")
				if got := p.Path.Source.Load() != nil; got != withSource {
					t.Fatalf("want the source address of bad peer %v remembered: %t; got %t", p.Addr(), withSource, got)
				}
				dropped += len(payloads)
				continue
			}
			kernel.checkInnocent(p, payloads, withSource, "an innocent peer")
		}
		if want := uint64(len(room.peers)*len(payloads) - dropped); counts.Delivered != want {
			t.Fatalf("want %d delivered; got %s", want, show(counts.Stats))
		}
		total := uint64(0)
		for _, n := range counts.Dropped {
			total += n
		}
		if total != uint64(dropped) {
			t.Fatalf("want %d dropped; got %s", dropped, show(counts.Stats))
		}
	})
}

func TestPeerThatFailsAlwaysCostsFewTries(t *testing.T) {
	lone := make([]string, maxBatch)
	for i := range lone {
		lone[i] = strings.Repeat("x", 1+i)
	}
	for _, errno := range append([]unix.Errno{unix.EINVAL, unix.EIO, unix.EPERM, unix.EAGAIN, unix.ENOBUFS}, pendings...) {
		for _, payloads := range [][]string{loneDatagram, twoTrains, lone} {
			for _, withSource := range []bool{false, true} {
				s, kernel := newFakeSender(t, true)
				room := newRoom(true, 3)
				if withSource {
					knownBy(s, room.peers...)
				}
				kernel.refuse = func(m *wireMessage) unix.Errno {
					if m.to == room.peers[1].Addr() {
						return errno
					}
					return 0
				}
				var counts tally
				if err := s.send(fromALink(payloads), room.table.Receivers(), &counts); err != nil {
					t.Fatal(err)
				}
				kernel.checkInnocent(room.peers[2], payloads, withSource, errno.Error())
				most := 1 // for each datagram and each train, once more without source
				if ofTheNetwork(errno) {
					most += manyTries
				}
				if eitherWay(errno) {
					most = 1 + fewTries
				}
				messages := len(payloads)
				if len(payloads) > 1 && len(payloads) < maxBatch {
					messages += 2
				}
				if most = most*messages*2 + 1; kernel.told > most {
					t.Errorf("%v for a batch of %d: want at most %d tries; got %d", errno, len(payloads), most, kernel.told)
				}
			}
		}
	}
}

// A forger sends errors of the network about datagrams that it has not seen.
type forger struct {
	t        testing.TB
	fd4, fd6 int
	n        int // errors forged so far
}

func (m *machine) forger(t testing.TB) *forger {
	t.Helper()
	f := &forger{t: t}
	var err4, err6 error
	m.do(func() {
		f.fd4, err4 = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		f.fd6, err6 = unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMPV6)
	})
	if err4 != nil || err6 != nil {
		t.Fatalf("open raw sockets: %v, %v", err4, err6)
	}
	t.Cleanup(func() { unix.Close(f.fd4); unix.Close(f.fd6) })
	return f
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

// forge sends relay an error of a kind that quotes a datagram from it to peer.
func (f *forger) forge(kind [2]byte, relay, peer netip.AddrPort, payload string) {
	f.t.Helper()
	icmp := []byte{kind[0], kind[1], 0, 0, 0, 0, 1400 >> 8, 1400 & 0xff} // of those too big it says what fits
	fd, dest := f.fd4, unix.Sockaddr(nil)
	if relay.Addr().Is4() {
		icmp = append(icmp, 0x45, 0)
		icmp = binary.BigEndian.AppendUint16(icmp, uint16(20+8+200))
		icmp = append(icmp, 0, 1, 0, 0, 63, unix.IPPROTO_UDP, 0, 0)
		dest = &unix.SockaddrInet4{Addr: relay.Addr().As4()}
	} else {
		icmp = append(icmp, 0x60, 0, 0, 0)
		icmp = binary.BigEndian.AppendUint16(icmp, 8+200)
		icmp = append(icmp, unix.IPPROTO_UDP, 63)
		fd, dest = f.fd6, &unix.SockaddrInet6{Addr: relay.Addr().As16()}
	}
	icmp = append(icmp, relay.Addr().AsSlice()...)
	icmp = append(icmp, peer.Addr().AsSlice()...)
	icmp = binary.BigEndian.AppendUint16(icmp, relay.Port())
	icmp = binary.BigEndian.AppendUint16(icmp, peer.Port())
	icmp = binary.BigEndian.AppendUint16(icmp, 8+200)
	icmp = append(icmp, 0, 0)
	icmp = append(icmp, payload...)
	if relay.Addr().Is4() { // for ICMPv6 the kernel does it
		binary.BigEndian.PutUint16(icmp[2:], icmpChecksum(icmp))
	}
	if err := unix.Sendto(fd, icmp, 0, dest); err != nil {
		f.t.Errorf("send an ICMP message to %v by a raw socket: %v", relay, err)
	}
	f.n++
}

// icmpChecksum returns the checksum of RFC 792.
func icmpChecksum(icmp []byte) uint16 {
	var sum uint32
	for i, c := range icmp {
		sum += uint32(c) << (8 * (1 - i%2))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// strays waits until r has told of count stray errors. They are published with
// the next batch, which somebody must bring.
func strays(t testing.TB, r *Relay, by *client, count uint64) {
	t.Helper()
	await(t, func() bool { by.send(""); return r.Stats().StrayErrors >= count },
		func() string { return fmt.Sprintf("want %d stray errors; got %d", count, r.Stats().StrayErrors) })
	if got := r.Stats().StrayErrors; got != count {
		t.Errorf("want %d stray errors; got %d", count, got)
	}
}

// checkUnhurt fails the test if any of the network's errors were believed.
func checkUnhurt(t testing.TB, r *Relay, clients ...*client) {
	t.Helper()
	for _, c := range clients {
		p := r.Peers().Lookup(c.addr)
		if p == nil {
			t.Errorf("want %v to be a peer; it is forgotten", c.addr)
			continue
		}
		if until := p.Path.HoldUntil.Load(); until != 0 {
			t.Errorf("want %v sent to; it is held until %v", c.addr, time.Duration(until))
		}
	}
	checkNoDrops(t, r)
}

// Who has not seen what was sent cannot quote it.
func TestForgedErrorsChangeNothing(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	for _, host := range []string{"10.77.0.", "fd77:0::"} {
		t.Run("some/"+host, func(t *testing.T) { checkForged(t, other, host) })
		for _, w := range ways[:2] {
			t.Run("a flood/"+w.name+"/"+host, func(t *testing.T) { checkFlood(t, w, other, host) })
		}
	}
}

func checkForged(t *testing.T, other *machine, host string) {
	forger := other.forger(t)
	r := startRelay(t, ways[0], onAll, defaults())
	relay := at(r, host+"1")
	live, static, sender := other.client(t, host+"11", relay), other.client(t, host+"12", relay), other.client(t, host+"13", relay)
	live.join(r)
	sender.join(r)
	r.SetStatic([]netip.AddrPort{static.addr})
	stranger := netip.AddrPortFrom(netip.MustParseAddr(host+"14"), live.addr.Port())
	payload := mark(1, 200)
	sender.send(payload)
	live.wants(payload)
	static.wants(payload)
	forger.n = 0
	for _, kind := range kindsOf(relay) {
		for range refusals + 1 {
			for _, peer := range []netip.AddrPort{live.addr, static.addr} {
				forger.forge(kind, relay, peer, mark(99, 100)) // never sent
				forger.forge(kind, relay, peer, "")
				forger.forge(kind, relay, peer, payload[:8])
				forger.forge(kind, relay, peer, payload[:sentPrefix-1])
			}
			forger.forge(kind, relay, stranger, payload[:100])
			forger.forge(kind, relay, stranger, mark(99, 100))
		}
		strays(t, r, sender, uint64(forger.n))
	}
	time.Sleep(refusingTime)
	for range refusals {
		forger.forge([2]byte{kindsOf(relay)[0][0], map[bool]byte{true: 3, false: 4}[relay.Addr().Is4()]}, relay, live.addr, mark(98, 100))
	}
	strays(t, r, sender, uint64(forger.n))
	wantsNothingBefore("the mark", sender, live, static)
	checkUnhurt(t, r, live, sender, static)
}

func checkFlood(t *testing.T, w way, other *machine, host string) {
	const forged, brought, burst = 20_000, 2_000, 20
	forger := other.forger(t)
	r := startRelay(t, w, onAll, defaults())
	relay := at(r, host+"1")
	var live []*client
	for i := range 4 {
		c := other.client(t, fmt.Sprintf("%s%d", host, 11+i), relay)
		roomFor(t, c.conn, 16<<20)
		c.join(r)
		live = append(live, c)
	}
	sender := live[0]
	wantsNothingBefore("the neighbours are found", sender, live[1:]...)
	stranger := netip.AddrPortFrom(netip.MustParseAddr(host+"16"), 9)

	// Neither is ahead of the other by so much that the queue between the
	// machines (net.core.netdev_max_backlog) is full.
	const each = forged / (brought / burst)
	lead := make(chan struct{}, 2)
	flooded := make(chan struct{})
	go func() {
		defer close(flooded)
		kinds := kindsOf(relay)
		for n := range forged {
			if n%each == 0 {
				lead <- struct{}{}
			}
			peer := live[n%len(live)].addr
			switch n / len(live) % 4 {
			case 0, 1:
				forger.forge(kinds[n%len(kinds)], relay, peer, mark(9_000_000, 100))
			case 2:
				forger.forge(kinds[n%len(kinds)], relay, peer, "")
			case 3:
				forger.forge(kinds[n%len(kinds)], relay, stranger, mark(n, 100))
			}
		}
	}()
	link := r.Attach(discard{})
	defer link.Detach()
	for n := 0; n < brought; n += burst {
		<-lead
		for i := range burst {
			sender.send(mark(2_000_000+n+i, 200))
			if i%(burst/4) == 0 {
				var batch []Datagram
				for k := range burst / 4 {
					batch = append(batch, Datagram{Payload: []byte(mark(1_000_000+n+i+k, 200))})
				}
				if err := link.Bring(batch); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	<-flooded
	for i, c := range live {
		want := 2 * brought
		if c == sender {
			want = brought
		}
		next := map[byte]int{'1': 1_000_000, '2': 2_000_000}
		for range want {
			got := c.receive()
			if got != mark(next[got[0]], 200) {
				t.Fatalf("peer %d: want %s next; got %s; %s", i, short(mark(next[got[0]], 200)), short(got), show(r.Stats()))
			}
			next[got[0]]++
		}
		if source := r.Peers().Lookup(c.addr).Path.Source.Load(); source == nil {
			t.Errorf("want the source address for peer %d remembered; it is forgotten", i)
		}
	}
	checkUnhurt(t, r, live...)
	s := r.Stats()
	if want := uint64(brought*len(live) + (brought+1)*(len(live)-1)); s.Delivered != want {
		t.Errorf("want %d delivered; got %s", want, show(s))
	}
	await(t, func() bool { sender.send(""); return r.Stats().StrayErrors > forged/2 },
		func() string {
			return fmt.Sprintf("want most of %d errors counted as stray; got %d", forged, r.Stats().StrayErrors)
		})
	t.Logf("%d of %d errors counted; %s", r.Stats().StrayErrors, forged, show(s))
}

// closedPort returns the address of a port that nobody listens at.
func closedPort(t testing.TB, place string) netip.AddrPort {
	t.Helper()
	conn := listen(t, place)
	defer conn.Close()
	return unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())
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
