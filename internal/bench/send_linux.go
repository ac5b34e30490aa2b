package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

const (
	// mostBatch is how many datagrams leave with a system call, and in a train.
	mostBatch = 64

	// windowBatch leaves at once where there is a window.
	windowBatch = 32

	// sizesAhead is after how many datagrams the sizes of a mix come again. It
	// is prime, so that they do not come with the same senders.
	sizesAhead = 65521

	// A window is full until the relay relays, or until the marks have heard
	// nothing for so long that what is under way must be lost: leastStall, and
	// slowDelivery for each delivery of a window, which is more than the plain
	// loop takes. It doubles when that comes again, mostDoubled times.
	leastStall   = 5 * time.Millisecond
	slowDelivery = 5 * time.Microsecond
	mostDoubled  = 5

	// napTime is how long the thread that sends sleeps before it looks again.
	napTime = 20 * time.Microsecond

	// mostNap is how long it sleeps at most, so that it can be stopped.
	mostNap = 20 * time.Millisecond
)

// overtime is how long after the end datagrams may leave that were to leave before
// it. Tests that count them have more.
var overtime = time.Second

type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

// A generator sends. It belongs to one goroutine with a thread of its own; the
// counts may be read by others.
type generator struct {
	run     *running
	sizes   []int
	sizeAt  int
	turn    int   // of the senders
	most    int   // datagrams in a batch
	began   int64 // now() of the first datagram
	stopped func() bool

	buffers  [][]byte
	vectors  [mostBatch]unix.Iovec
	messages [mostBatch]mmsghdr
	counts   [mostBatch]int // datagrams in a message
	bytes    [mostBatch]int
	controls []byte // UDP_SEGMENT of each message

	known uint64      // datagrams that all marks have got, or that are taken for lost
	heard atomic.Bool // something has come

	sent, sentBytes, refused atomic.Uint64
	late                     *hdrhistogram.Histogram
	waited                   int64 // nanoseconds, for the window
	ended                    int64 // now() of the end
	processor                time.Duration
}

func newGenerator(r *running) *generator {
	g := &generator{run: r, sizes: r.config.Mix.sizes(sizesAhead), most: mostBatch}
	longest := r.config.Mix.longest()
	const sameSets = 5 * 64 // keeps the first lines of buffers out of the same sets of the caches
	memory := make([]byte, mostBatch*(longest+sameSets))
	space := unix.CmsgSpace(2)
	g.controls = make([]byte, mostBatch*space)
	for i := range mostBatch {
		g.buffers = append(g.buffers, memory[i*(longest+sameSets):][:longest])
		for at := range g.buffers[i] {
			g.buffers[i][at] = byte('a' + at%26)
		}
		g.vectors[i].Base = &g.buffers[i][0]
		control := (*unix.Cmsghdr)(unsafe.Pointer(&g.controls[i*space]))
		control.Level, control.Type = unix.SOL_UDP, unix.UDP_SEGMENT
		control.SetLen(unix.CmsgLen(2))
	}
	if r.config.Rate > 0 {
		g.late = newHistogram()
	}
	return g
}

// clock returns nanoseconds of the monotonic clock.
func clock() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail
	return t.Nano()
}

// send sends until the time is over or ctx is done.
func (g *generator) send(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // to wake in time; the default is 50 µs
	defer unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	var stop atomic.Bool
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()
	g.stopped = stop.Load
	before := threadTime()
	defer func() { g.processor, g.ended = threadTime()-before, clock() }()
	switch {
	case g.run.config.Rate > 0:
		return g.atRate()
	case g.run.config.Flood:
		return g.flood()
	}
	return g.inWindow()
}

func threadTime() time.Duration {
	var usage unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_THREAD, &usage) // cannot fail
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// over reports whether the run may end. At its end, until something has come, there
// is no figure yet: it goes on, since the relay or the machine may be slow.
func (g *generator) over(now, end int64) bool {
	return now >= end && (g.heard.Load() || now >= end+int64(mostDrain))
}

// atRate sends each datagram when it is to leave, or, if that is past, at once.
func (g *generator) atRate() error {
	rate, length := g.run.config.Rate, int64(g.run.config.Duration)
	total := uint64(rate * g.run.config.Duration.Seconds())
	when := func(number uint64) int64 { return int64(float64(number) / rate * 1e9) }
	for sent := uint64(0); sent < total && !g.stopped(); {
		now := clock() - g.began
		if g.over(now, length+int64(overtime)) {
			return nil
		}
		next := when(sent)
		if now < next {
			nap(min(time.Duration(next-now), mostNap))
			continue
		}
		due := min(total, uint64(float64(now)/1e9*rate)+1)
		count := int(min(max(due, sent+1)-sent, mostBatch))
		out, err := g.batch(count, func(i int) int64 { return when(sent + uint64(i)) })
		after := clock() - g.began
		for i := range out {
			note(g.late, after-when(sent+uint64(i)))
		}
		sent += uint64(out)
		if err != nil {
			return err
		}
	}
	for end := when(total); !g.stopped() && !g.over(clock()-g.began, end); { // the last one has its time, too
		nap(min(max(time.Duration(end-(clock()-g.began)), napTime), mostNap))
	}
	return nil
}

// flood sends all it can.
func (g *generator) flood() error {
	for end := int64(g.run.config.Duration); !g.stopped(); {
		now := clock() - g.began
		if g.over(now, end) {
			break
		}
		if _, err := g.batch(mostBatch, func(int) int64 { return now }); err != nil {
			return err
		}
	}
	return nil
}

// inWindow sends as much as the marks get.
func (g *generator) inWindow() error {
	window, end := uint64(g.run.config.window()), int64(g.run.config.Duration)
	count := min(windowBatch, max(1, int(window)/2))
	first := int64(leastStall) + int64(slowDelivery)*int64(window)*int64(g.run.config.due())
	stall := first
	for !g.stopped() {
		now := clock() - g.began
		if sent := g.sent.Load(); sent+uint64(count) > g.known+window {
			before := now
			for last := now; !g.stopped() && !g.over(now, end); {
				if g.back() {
					last, stall = now, first
				} else if now-last >= stall {
					g.known, stall = sent, min(2*stall, first<<mostDoubled)
				}
				if sent+uint64(count) <= g.known+window {
					break
				}
				nap(napTime)
				now = clock() - g.began
			}
			g.waited += now - before
		}
		if g.over(now, end) {
			break
		}
		if _, err := g.batch(count, func(int) int64 { return now }); err != nil {
			return err
		}
	}
	return nil
}

// back reads what the marks have received, and reports whether that is news. A
// mark gets only some of the numbers, so that the loss of one does not matter:
// the next one says more.
func (g *generator) back() (news bool) {
	least := ^uint64(0)
	for i := range g.run.marks {
		m := &g.run.marks[i]
		for {
			var stamp [stampBytes]byte
			n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(m.socket.fd), uintptr(unsafe.Pointer(&stamp)), stampBytes, unix.MSG_DONTWAIT, 0, 0)
			if errno != 0 {
				break
			}
			run, number, _, ok := stampOf(stamp[:n])
			if !ok || run != g.run.measured {
				continue
			}
			m.socket.read.Add(1)
			// The upper half of the number is not in the stamp.
			if ahead := int32(number + 1 - uint32(m.got)); ahead > 0 {
				m.got += uint64(ahead)
			}
		}
		least = min(least, m.got)
	}
	if len(g.run.marks) == 0 || least <= g.known {
		return false
	}
	g.known = least
	return true
}

// batch sends count datagrams from the sender whose turn it is, and returns how
// many have left. Datagram i is stamped with when(i).
func (g *generator) batch(count int, when func(int) int64) (out int, err error) {
	number := g.sent.Load()
	messages := 0
	for i := 0; i < count; messages++ {
		first, size, total := i, g.next(), 0
		for {
			putStamp(g.buffers[i], g.run.measured, uint32(number)+uint32(i), when(i))
			g.vectors[i].SetLen(size)
			total += size
			i++
			if !g.run.config.Trains || i == count || g.peek() != size || total+size > MostSize {
				break
			}
			g.next()
		}
		g.fill(messages, first, i-first, size)
		g.counts[messages], g.bytes[messages] = i-first, total
	}
	fd := g.run.sockets[g.run.config.receivers()+g.turn].fd
	g.turn = (g.turn + 1) % g.run.config.Senders
	for done := 0; done < messages; {
		n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&g.messages[done])), uintptr(messages-done), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case errno == 0:
			for range int(n) {
				out += g.counts[done]
				g.sentBytes.Add(uint64(g.bytes[done]))
				done++
			}
		case errno == unix.ECONNREFUSED: // by an earlier datagram
			g.refused.Add(1)
		case errno == unix.EINTR:
		case errno == unix.EAGAIN || errno == unix.ENOBUFS:
			if g.stopped() {
				g.sent.Add(uint64(out))
				return out, nil
			}
			wait := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
			_, _ = unix.Poll(wait, 10)
		default:
			g.sent.Add(uint64(out))
			if g.run.config.Trains && (errors.Is(errno, unix.EINVAL) || errors.Is(errno, unix.EIO) || errors.Is(errno, unix.EMSGSIZE)) {
				return out, fmt.Errorf("send trains to %v: %w: the way there takes none of this size", g.run.config.Relay, errno)
			}
			return out, fmt.Errorf("send to %v: %w", g.run.config.Relay, errno)
		}
	}
	g.sent.Add(uint64(out))
	return out, nil
}

// fill makes a message of count datagrams.
func (g *generator) fill(message, first, count, size int) {
	h := &g.messages[message].header
	*h = unix.Msghdr{Iov: &g.vectors[first]}
	h.SetIovlen(count)
	if count > 1 {
		space := unix.CmsgSpace(2)
		h.Control = &g.controls[message*space]
		h.SetControllen(space)
		*(*uint16)(unsafe.Pointer(&g.controls[message*space+unix.CmsgLen(0)])) = uint16(size)
	}
}

// peek returns how long the next datagram is, and next goes on behind it.
func (g *generator) peek() int { return g.sizes[g.sizeAt] }

func (g *generator) next() int {
	size := g.sizes[g.sizeAt]
	if g.sizeAt++; g.sizeAt == len(g.sizes) {
		g.sizeAt = 0
	}
	return size
}

func nap(d time.Duration) {
	t := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &t, nil) // woken early, it looks again
}
