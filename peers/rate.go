package peers

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync/atomic"
	"time"
)

// A Bucket bounds a rate. The zero Bucket is full; any goroutine may use it.
//
// It is the token bucket of one second's worth, in the form of the generic cell
// rate algorithm (ITU-T I.371): eight bytes, no lock, and what is larger than
// the bucket passes when the bucket is not empty and is paid for afterwards, so
// that a limit below the size of a datagram is a slow rate and not a wall.
type Bucket struct {
	owed atomic.Int64 // when all that has passed is paid for, in nanoseconds
}

// second is what may be owed, in nanoseconds.
const second = int64(time.Second)

// Take reports whether n more may pass at the time at, in nanoseconds, where
// perSecond may pass in a second, and notes that they did.
func (b *Bucket) Take(perSecond, n int, at int64) bool {
	// Rounded up, or one more than perSecond would pass.
	cost := int64(math.Ceil(float64(n) * float64(second) / float64(perSecond)))
	for {
		owed := b.owed.Load()
		from := max(owed, at)
		if from-at >= second {
			return false
		}
		if b.owed.CompareAndSwap(owed, from+cost) {
			return true
		}
	}
}

// Left returns how many more may pass at the time at, one by one, and takes
// nothing.
func (b *Bucket) Left(perSecond int, at int64) int {
	cost := int64(math.Ceil(float64(second) / float64(perSecond)))
	room := second - max(b.owed.Load()-at, 0)
	return int(max(room+cost-1, 0) / cost)
}

// addressBuckets is how many buckets an AddressRate has.
const addressBuckets = 4096

// An AddressRate bounds how often something may happen for each IPv4 address or
// IPv6 /64. Its memory is fixed: addresses share 4,096 buckets by a seeded
// hash, so that a flood of forged addresses takes no memory and nobody can
// choose whom he shares a bucket with.
type AddressRate struct {
	perSecond int
	seed      maphash.Seed
	buckets   [addressBuckets]Bucket
}

// NewAddressRate returns one that lets perSecond through for each address.
func NewAddressRate(perSecond int) *AddressRate {
	return &AddressRate{perSecond: perSecond, seed: maphash.MakeSeed()}
}

// Take reports whether it may happen for addr, which must be unmapped, at the
// time at, in nanoseconds, and notes that it did.
func (r *AddressRate) Take(addr netip.Addr, at int64) bool {
	key := keyOf(addr)
	return r.buckets[maphash.Bytes(r.seed, key[:])%addressBuckets].Take(r.perSecond, 1, at)
}

// Left returns how often it may still happen for addr at the time at, and takes
// nothing.
func (r *AddressRate) Left(addr netip.Addr, at int64) int {
	key := keyOf(addr)
	return r.buckets[maphash.Bytes(r.seed, key[:])%addressBuckets].Left(r.perSecond, at)
}
