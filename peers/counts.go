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

	dropped atomic.Pointer[[DropReasons]atomic.Uint64] // nil: nothing was

	_ [24]byte // a cache line for each peer, so that those who count for others do not meet
}

// Drop counts n datagrams that were dropped for a reason, a number below
// [DropReasons].
func (c *Counts) Drop(reason int, n uint64) {
	dropped := c.dropped.Load()
	if dropped == nil {
		c.dropped.CompareAndSwap(nil, new([DropReasons]atomic.Uint64))
		dropped = c.dropped.Load()
	}
	dropped[reason].Add(n)
}

// Dropped returns how many datagrams were dropped, by reason.
func (c *Counts) Dropped() (counts [DropReasons]uint64) {
	if dropped := c.dropped.Load(); dropped != nil {
		for reason := range counts {
			counts[reason] = dropped[reason].Load()
		}
	}
	return counts
}
