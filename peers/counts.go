package peers

import (
	"math/bits"
	"sync/atomic"
)

// DropReasons is how many reasons for drops [Counts] can tell apart.
const DropReasons = 24

// ReportKinds is how many kinds of reports of the network [Counts] can tell
// apart.
const ReportKinds = 8

// Counts are what the datapath has counted for a peer since it joined. Any
// goroutine may count and read; to count takes no lock, and no memory but for
// the first drop of a peer.
type Counts struct {
	Received, ReceivedBytes   atomic.Uint64
	Delivered, DeliveredBytes atomic.Uint64

	dropped  atomic.Pointer[[DropReasons]drop] // nil: nothing was
	reported atomic.Pointer[[ReportKinds]drop] // nil: nothing was

	_ [32 - 2*bits.UintSize/8]byte // a cache line for each peer, so that those who count for others do not meet
}

// A drop is what was dropped for a reason, or reported.
type drop struct {
	count atomic.Uint64
	last  atomic.Int64
}

// Drop counts n datagrams that were dropped at a time for a reason, a number
// below [DropReasons]. The time is a number of nanoseconds, since whenever its
// caller likes, such as of [Path.HoldUntil].
func (c *Counts) Drop(reason int, n uint64, at int64) {
	dropped := c.dropped.Load()
	if dropped == nil {
		c.dropped.CompareAndSwap(nil, new([DropReasons]drop))
		dropped = c.dropped.Load()
	}
	dropped[reason].last.Store(at)
	dropped[reason].count.Add(n)
}

// Dropped returns how many datagrams were dropped, by reason.
func (c *Counts) Dropped() (counts [DropReasons]uint64) {
	if dropped := c.dropped.Load(); dropped != nil {
		for reason := range counts {
			counts[reason] = dropped[reason].count.Load()
		}
	}
	return counts
}

// LastDrop returns when a datagram was last dropped for a reason, if one was.
func (c *Counts) LastDrop(reason int) (at int64, ever bool) {
	dropped := c.dropped.Load()
	if dropped == nil || dropped[reason].count.Load() == 0 {
		return 0, false
	}
	return dropped[reason].last.Load(), true
}

// Report counts a report of the network about a datagram for the peer, of a kind
// below [ReportKinds], that came at a time as [Counts.Drop] has it.
func (c *Counts) Report(kind int, at int64) {
	reported := c.reported.Load()
	if reported == nil {
		c.reported.CompareAndSwap(nil, new([ReportKinds]drop))
		reported = c.reported.Load()
	}
	reported[kind].last.Store(at)
	reported[kind].count.Add(1)
}

// Reported returns how many reports of the network there were, by kind.
func (c *Counts) Reported() (counts [ReportKinds]uint64) {
	if reported := c.reported.Load(); reported != nil {
		for kind := range counts {
			counts[kind] = reported[kind].count.Load()
		}
	}
	return counts
}

// LastReport returns when a report of a kind last came, if one did.
func (c *Counts) LastReport(kind int) (at int64, ever bool) {
	reported := c.reported.Load()
	if reported == nil || reported[kind].count.Load() == 0 {
		return 0, false
	}
	return reported[kind].last.Load(), true
}
