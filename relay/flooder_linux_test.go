package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// floodText begins what a flood says; a number of eight digits follows, for no
// two datagrams to be alike. It is long enough to be answered with a cookie.
const (
	floodText   = "flood "
	floodLength = len(floodText) + 8
)

// floodWindow is how many datagrams of a flood may be under way: with their
// answers they fit the kernel's queue between sending and receiving
// (net.core.netdev_max_backlog, by default 1,000).
const floodWindow = 256

// floodHeaders is what comes before the payload: IPv4 and UDP.
const floodHeaders = 20 + 8

// A flooder sends datagrams that say they come from many addresses, by a raw
// socket of another machine.
type flooder struct {
	t       testing.TB
	fd      int
	to      unix.RawSockaddrInet4
	packets [maxBatch][floodHeaders + floodLength]byte
	vectors [maxBatch]unix.Iovec
	headers [maxBatch]mmsghdr
	source  func(n int) netip.AddrPort // of datagram n
	sent    int
}

func newFlooder(t testing.TB, m *machine, to netip.AddrPort, source func(n int) netip.AddrPort) *flooder {
	t.Helper()
	f := &flooder{t: t, source: source}
	var err error
	m.Do(func() { f.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW) })
	if err != nil {
		t.Fatalf("open a raw socket: %v", err)
	}
	t.Cleanup(func() { unix.Close(f.fd) })
	f.to = unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	for i := range f.packets {
		p := f.packets[i][:]
		p[0], p[8], p[9] = 0x45, 64, unix.IPPROTO_UDP // the kernel fills in the rest
		copy(p[16:], f.to.Addr[:])
		binary.BigEndian.PutUint16(p[22:], to.Port())
		binary.BigEndian.PutUint16(p[24:], uint16(8+floodLength)) // without a checksum (RFC 768)
		copy(p[floodHeaders:], floodText)
		f.vectors[i].Base = &p[0]
		f.vectors[i].SetLen(len(p))
		h := &f.headers[i].header
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&f.to)), unix.SizeofSockaddrInet4
		h.Iov = &f.vectors[i]
		h.SetIovlen(1)
	}
	return f
}

// burst sends the next count datagrams, at most maxBatch.
func (f *flooder) burst(count int) error {
	for i := range count {
		from, p := f.source(f.sent+i), f.packets[i][:]
		addr := from.Addr().As4()
		copy(p[12:], addr[:])
		binary.BigEndian.PutUint16(p[20:], from.Port())
		for k, left := len(p)-1, f.sent+i; k >= floodHeaders+len(floodText); k-- {
			p[k] = byte('0' + left%10)
			left /= 10
		}
	}
	for done := 0; done < count; {
		n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(f.fd), uintptr(unsafe.Pointer(&f.headers[done])), uintptr(count-done), 0, 0, 0)
		switch errno {
		case 0:
			done += int(n)
		case unix.EINTR:
		default:
			return fmt.Errorf("flood: %w", errno)
		}
	}
	f.sent += count
	return nil
}

// flood sends count datagrams to r, as fast as it takes them: never are more
// than floodWindow under way, so that no queue of the kernel fills however slow
// the machine is. Others may send, too, and count into beside what they send.
func (f *flooder) flood(r *Relay, count int, beside *atomic.Int64) error {
	first, end := f.sent, f.sent+count
	before, besideBefore := seen(r), beside.Load()
	for most, since := first, time.Now(); f.sent < end; {
		arrived := first + int(seen(r)-before-(beside.Load()-besideBefore)) // at least
		if arrived > most {
			most, since = arrived, time.Now()
		}
		if f.sent-arrived+maxBatch > floodWindow {
			if time.Since(since) > patience {
				return fmt.Errorf("the flood has stopped at %d of %d: want all of it received or counted as dropped; got %d", f.sent, end, arrived)
			}
			time.Sleep(20 * time.Microsecond)
			continue
		}
		if err := f.burst(min(maxBatch, end-f.sent)); err != nil {
			return err
		}
	}
	return nil
}

// seen returns how many datagrams have come to r, also if the kernel dropped
// them.
func seen(r *Relay) int64 {
	s := r.Stats()
	return int64(s.Received + s.Dropped[DropReceiveQueueFull])
}
