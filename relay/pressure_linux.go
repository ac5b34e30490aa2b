package relay

import (
	"net/netip"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"udprelay/peers"
)

// A datagram for a neighbour that does not answer ARP or neighbour discovery
// waits, and with it room in the send buffer, some 200 KiB for each neighbour
// (unres_qlen_bytes, arp(7)), for three seconds until the kernel gives up and
// says so in the error queue. Before that, a few of them could take all the
// room from everyone else. So when the buffer is no longer as empty as it is
// when all is well, the kernel is asked which neighbours it is looking for.
const (
	// pressed is the share of the send buffer, as a divisor, beyond which it
	// is asked.
	pressed = 4

	// lookEvery is how often a sender looks how full the buffer is, which takes
	// a system call.
	lookEvery = 500 * time.Microsecond

	// askEvery is how often it is asked at most, and holdLookedFor how long
	// nothing is sent to a neighbour that it is looking for, from the last time
	// that it said so.
	askEvery      = 10 * time.Millisecond
	holdLookedFor = 500 * time.Millisecond
)

// queued returns how much of the send buffer is in use, in the bytes that the
// kernel charges.
func queued(fd uintptr) (size int) {
	var outq int32
	if _, _, errno := unix.RawSyscall(unix.SYS_IOCTL, fd, unix.SIOCOUTQ, uintptr(unsafe.Pointer(&outq))); errno != 0 {
		return 0
	}
	return int(outq)
}

// Neighbours is when the kernel was asked about them.
type neighbours struct {
	mu    sync.Mutex
	asked time.Time // guarded by mu
}

// relieve holds, of the receivers, those that the kernel is looking for, unless
// it was asked only just now. False: another goroutine is asking it.
func (n *neighbours) relieve(receivers []*peers.Peer, at int64) bool {
	if !n.mu.TryLock() {
		return false
	}
	defer n.mu.Unlock()
	if time.Since(n.asked) < askEvery {
		return true
	}
	defer func() { n.asked = time.Now() }() // what takes long is not asked for the more often
	lookedFor, err := lookedFor()
	if err != nil || len(lookedFor) == 0 {
		return true
	}
	for _, p := range receivers {
		looking, known := lookedFor[p.Addr().Addr()]
		until := p.Path.HoldUntil.Load()
		switch {
		case looking && until < at+int64(holdLookedFor):
			p.Path.HoldUntil.CompareAndSwap(until, (at+int64(holdLookedFor))|onTrial)
		case known && !looking && until&onTrial != 0: // the error about it may be lost
			p.Path.HoldUntil.CompareAndSwap(until, (at+int64(firstRetry))&^onTrial)
		}
	}
	return true
}

// retry returns how many of n datagrams are sent to p, whose hold has run out: at
// first one, then nothing while it is on trial, and then all, unless the kernel
// is still looking for the neighbour. So many dead ones take little room in the
// send buffer, whatever comes at once.
func (s *trainSender) retry(p *peers.Peer, until int64, n int) int {
	hold, at := &p.Path.HoldUntil, s.batch.at
	if until&onTrial == 0 {
		if hold.CompareAndSwap(until, (at+int64(trialTime))|onTrial) {
			return 1
		}
		return 0
	}
	if s.socket.neighbours.relieve(s.to.all, at) && (hold.CompareAndSwap(until, 0) || hold.Load() == 0) {
		return n
	}
	return 0
}

// lookedFor returns the neighbours of this host that have not answered: true for
// those that the kernel is looking for, false for those that it has given up.
func lookedFor() (map[netip.Addr]bool, error) {
	list, err := netlink.NeighList(0, 0)
	if err != nil {
		return nil, err
	}
	found := make(map[netip.Addr]bool)
	for _, neighbour := range list {
		if neighbour.State&(netlink.NUD_INCOMPLETE|netlink.NUD_FAILED) == 0 {
			continue
		}
		if addr, ok := netip.AddrFromSlice(neighbour.IP); ok {
			addr = addr.Unmap()
			if addr.Is6() && addr.IsLinkLocalUnicast() {
				addr = addr.WithZone(strconv.Itoa(neighbour.LinkIndex))
			}
			found[addr] = neighbour.State&netlink.NUD_INCOMPLETE != 0
		}
	}
	return found, nil
}
