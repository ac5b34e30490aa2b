package relay

import (
	"encoding/binary"
	"math"
	"sync"

	"golang.org/x/sys/unix"

	"udprelay/internal/fairqueue"
)

// An ingress keeps part of what some origins send out of the receive queue, by a
// socket filter (classic BPF), which needs no privilege. What it keeps out costs
// the kernel a little and the relay nothing.
//
// The kernel has one counter for what a filter has kept out and for what found
// the receive queue full. But the queue is full until the relay receives. So
// where it has room just before that, all that was lost since the last time was
// kept out by the filter.
type ingress struct {
	mu      sync.Mutex
	limited bool   // there is a filter
	seen    uint32 // the kernel's counter, up to where it is known what was lost to what
	earlier uint32 // of seen, what is none of the drops of a full receive queue in this relay

	// Of the goroutine that receives, since the last call of pressure.
	keptOut uint64
	outside fairqueue.Outside

	program []unix.SockFilter
}

// fullWithin is how many bytes of a receive buffer may be free when there is no
// room for a datagram, or for the datagrams that an interface has gathered.
const fullWithin = 128 << 10

// account finds out what was lost to what. It is called before the queue is read.
func (s *linuxSocket) account(fd uintptr) {
	s.ingress.mu.Lock()
	defer s.ingress.mu.Unlock()
	s.accountLocked(fd)
}

func (s *linuxSocket) accountLocked(fd uintptr) {
	if !s.ring.memory.read(fd) {
		return
	}
	i, info := &s.ingress, &s.ring.memory.info
	lost := info[meminfoDrops] - i.seen
	i.seen = info[meminfoDrops]
	i.outside.Used = float64(info[meminfoReceiveUsed]) / float64(max(1, info[meminfoReceive]))
	switch room := info[meminfoReceive]; {
	case lost == 0:
	case i.limited && info[meminfoReceiveUsed] < room-min(room/4, fullWithin):
		i.earlier += lost
		i.keptOut += uint64(lost)
	default:
		i.outside.Overflow = true
	}
}

func (s *linuxSocket) pressure() (keptOut uint64, outside fairqueue.Outside) {
	_ = s.raw.Control(s.ring.account) // closed: nothing is lost
	i := &s.ingress
	keptOut, outside = i.keptOut, i.outside
	i.keptOut, i.outside = 0, fairqueue.Outside{}
	return keptOut, outside
}

func (s *linuxSocket) limit(list []fairqueue.Limit) bool {
	return len(list) == 0 && !s.ingress.limited || s.setFilter(list)
}

func (s *linuxSocket) setFilter(list []fairqueue.Limit) (ok bool) {
	i := &s.ingress
	i.program = appendFilter(i.program[:0], list)
	err := s.raw.Control(func(fd uintptr) {
		i.mu.Lock()
		defer i.mu.Unlock()
		s.accountLocked(fd)
		program := unix.SockFprog{Len: uint16(len(i.program)), Filter: &i.program[0]}
		ok = len(list) == 0 || unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program) == nil
		if i.limited = ok && len(list) > 0; !i.limited {
			detachFilter(int(fd))
		}
	})
	return ok && err == nil
}

// detachFilter takes out the filter of a socket, if there is one.
func detachFilter(fd int) {
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) // ENOENT: there is none
}

// Offsets of the filter, by linux/filter.h: of the UDP header, which it begins at,
// the IP header, and what the kernel knows of a packet.
const (
	atSourcePort = 0
	atNetwork    = -0x100000
	atSource4    = atNetwork + 12
	atSource6    = atNetwork + 8
	atProtocol   = -0x1000 + 0
	atRandom     = -0x1000 + 56
)

// appendFilter appends a program that lets in what the limits say.
func appendFilter(p []unix.SockFilter, list []fairqueue.Limit) []unix.SockFilter {
	// The code of IPv4 is first and has its length in front of it.
	p = append(p, loadFrom(unix.BPF_W, atProtocol), jumpIf(unix.BPF_JEQ, unix.ETH_P_IP, 1, 0), unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JA})
	begin := len(p)
	p = appendLimits(p, list, true)
	p[begin-1].K = uint32(len(p) - begin)
	return appendLimits(p, list, false)
}

// appendLimits appends the code for datagrams of one family, which lets in those
// that no limit is about.
func appendLimits(p []unix.SockFilter, list []fairqueue.Limit, v4 bool) []unix.SockFilter {
	const letIn, keepOut = math.MaxUint32, 0
	p = append(p, loadFrom(unix.BPF_H, atSourcePort))
	for _, l := range list {
		addr := l.From.Addr()
		if addr.Is4() != v4 {
			continue
		}
		// Words of the source address, with where they are.
		at, words := atSource4, 1
		bytes := addr.As16()
		address := bytes[12:]
		if !v4 {
			at, words, address = atSource6, 4, bytes[:]
		}
		left := 2*words + 4                   // instructions until the port is loaded again
		if port := l.From.Port(); port != 0 { // 0: whatever the port
			p = append(p, jumpIf(unix.BPF_JEQ, uint32(port), 0, uint8(left+1)))
		}
		for w := range words {
			left -= 2
			p = append(p, loadFrom(unix.BPF_W, at+4*w), jumpIf(unix.BPF_JEQ, binary.BigEndian.Uint32(address[4*w:]), 0, uint8(left)))
		}
		p = append(p,
			loadFrom(unix.BPF_W, atRandom),
			jumpIf(unix.BPF_JGE, uint32(l.Pass*(1<<32)), 0, 1),
			end(keepOut),
			end(letIn),
			loadFrom(unix.BPF_H, atSourcePort))
	}
	return append(p, end(letIn))
}

func loadFrom(size uint16, at int) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: uint32(int32(at))}
}

func jumpIf(condition uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | condition | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

func end(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k}
}

// kernelDrops reads the counter of the socket itself (SO_MEMINFO, Linux 4.12),
// which costs the datapath nothing.
func (s *linuxSocket) kernelDrops() (total uint32, ok bool) {
	i := &s.ingress
	err := s.raw.Control(func(fd uintptr) {
		i.mu.Lock()
		defer i.mu.Unlock()
		if total, ok = i.seen, true; !i.limited {
			total, ok = dropsAt(fd)
		}
		total -= i.earlier
	})
	return total, ok && err == nil
}
