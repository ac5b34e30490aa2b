package peers

import "sync/atomic"

// DropReasons is how many reasons for drops [Counts] can tell apart.
const DropReasons = 24

// Counts are what the datapath has counted for a peer since it joined. Any
// goroutine may count and read; to count takes no lock, and no memory but for
// the first drop of a peer.
type Counts struct {
	Received, ReceivedBytes   atomic.Uint64
	Delivered, DeliveredBytes atomic.Uint64

	dropped atomic.Pointer[[DropReasons]drop] // nil: nothing was

	_ [24]byte // a cache line for each peer, so that those who count for others do not meet
}

// A drop is what was dropped for a reason.
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
