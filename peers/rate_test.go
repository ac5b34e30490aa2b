package peers_test

import (
	"fmt"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"udprelay/peers"
)

const second = int64(time.Second)

// takeAll takes one by one at a time until it is refused.
func takeAll(b *peers.Bucket, perSecond int, at int64) (passed int) {
	for passed <= 2*perSecond && b.Take(perSecond, 1, at) {
		passed++
	}
	return passed
}

func TestBucketLetsASecondsWorthThroughAtOnce(t *testing.T) {
	// Up to some 30,000 to the piece, whether or not a second has that many
	// whole nanoseconds.
	rapid.Check(t, func(t *rapid.T) {
		perSecond := rapid.OneOf(rapid.IntRange(1, 100), rapid.IntRange(1, 30_000)).Draw(t, "perSecond")
		now := rapid.Int64Range(0, 1<<60).Draw(t, "now")
		var b peers.Bucket
		if got := takeAll(&b, perSecond, now); got != perSecond {
			t.Fatalf("want %d to pass at once, got %d", perSecond, got)
		}
		// A second later it is full, and an hour later no fuller.
		for _, pause := range []int64{second, 3600 * second} {
			if now += pause + int64(perSecond); takeAll(&b, perSecond, now) != perSecond { // + what was rounded up
				t.Fatalf("want %d to pass after a pause of %v", perSecond, time.Duration(pause))
			}
		}
	})
	// Beyond that the same where a second has that many whole nanoseconds, and
	// otherwise never more, and hardly less.
	for _, perSecond := range []int{100_000, 1_000_000} {
		var b peers.Bucket
		if got := takeAll(&b, perSecond, 0); got != perSecond {
			t.Errorf("want %d to pass at once, got %d", perSecond, got)
		}
	}
	for _, perSecond := range []int{31_627, 99_999, 700_001, 2_999_999} {
		var b peers.Bucket
		if got := takeAll(&b, perSecond, 0); got > perSecond || float64(got) < 0.99*float64(perSecond) {
			t.Errorf("want %d or hardly less to pass at once, got %d", perSecond, got)
		}
	}
}

func TestBucketLetsOneThroughEachTimeOneIsPaidFor(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perSecond := rapid.IntRange(1, 2000).Draw(t, "perSecond")
		one := int64(math.Ceil(float64(second) / float64(perSecond)))
		var b peers.Bucket
		takeAll(&b, perSecond, 0)
		for i := range int64(3 * perSecond) {
			now := (i + 1) * one
			if !b.Take(perSecond, 1, now) {
				t.Fatalf("%d a second: want one to pass after %v, got none", perSecond, time.Duration(now))
			}
			if b.Take(perSecond, 1, now) {
				t.Fatalf("%d a second: want just one to pass after %v, got two", perSecond, time.Duration(now))
			}
		}
	})
}

// However often it is asked, what passes in the long run is the rate.
func TestBucketKeepsTheRate(t *testing.T) {
	for _, perSecond := range []int{1, 3, 10, 333, 1000} {
		var b peers.Bucket
		const seconds = 30
		passed := takeAll(&b, perSecond, 0)
		for now := int64(1); now <= seconds*second; now += second / 7777 {
			if b.Take(perSecond, 1, now) {
				passed++
			}
		}
		// The second's worth at the start, and one that the bucket was not quite empty for.
		if most := perSecond*(seconds+1) + 1; passed > most || passed < most*99/100-1 {
			t.Errorf("%d a second: want %d in %d seconds, got %d", perSecond, most, seconds, passed)
		}
	}
}

// A limit below the size of a datagram is a slow rate and not a wall.
func TestBucketLetsWhatIsLargerThanItThroughAndIsPaidAfterwards(t *testing.T) {
	var b peers.Bucket
	if !b.Take(100, 1000, 0) {
		t.Fatal("want what is larger than the bucket to pass when that is full, got refused")
	}
	for _, now := range []int64{0, 1, second, 9 * second} { // ten seconds' worth, of which one may be owed
		for _, n := range []int{1, 1000} {
			if b.Take(100, n, now) {
				t.Fatalf("want nothing to pass after %v, for 1000 at 100 a second are not paid for; got %d through", time.Duration(now), n)
			}
		}
	}
	if !b.Take(100, 1000, 9*second+1) {
		t.Error("want the next to pass as soon as there is room, got refused")
	}
	passed := 0
	b = peers.Bucket{}
	for now := int64(0); now <= 1000*second; now += second / 10 {
		if b.Take(100, 1000, now) {
			passed++
		}
	}
	if passed < 99 || passed > 102 {
		t.Errorf("want some 100 of 1000 each to pass in 1000 seconds at 100 a second, got %d", passed)
	}
}

func TestBucketDoesWhatItsModelDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		perSecond := rapid.SampledFrom([]int{1, 2, 5, 8, 1000, 125_000}).Draw(t, "perSecond")
		var b peers.Bucket
		model, now := newModelBucket(perSecond), start
		sizes := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, 3*perSecond))
		pauses := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 3*second/int64(perSecond)), rapid.Int64Range(0, 2*second))
		for range rapid.IntRange(1, 100).Draw(t, "takes") {
			now = now.Add(time.Duration(pauses.Draw(t, "pause")))
			n := sizes.Draw(t, "n")
			if want, got := model.take(n, now), b.Take(perSecond, n, int64(now.Sub(start))); got != want {
				t.Fatalf("Take(%d, %d) after %v: want %v, got %v", perSecond, n, now.Sub(start), want, got)
			}
		}
	})
}

func TestConcurrentTakesNeverLetMoreThrough(t *testing.T) {
	const (
		perSecond = 1000
		takers    = 8
		rounds    = 20
	)
	var b peers.Bucket
	for round := range int64(rounds) {
		var (
			passed atomic.Int64
			all    sync.WaitGroup
		)
		for range takers {
			all.Go(func() {
				for range perSecond {
					if b.Take(perSecond, 1, round*second) {
						passed.Add(1)
					}
				}
			})
		}
		all.Wait()
		if got := passed.Load(); got != perSecond {
			t.Fatalf("round %d: want exactly %d of %d to pass, got %d", round, perSecond, takers*perSecond, got)
		}
	}
}

func TestRatesCostNoAllocation(t *testing.T) {
	var b peers.Bucket
	rate := peers.NewAddressRate(10)
	v4, v6, zone := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fe80::1%eth0")
	now := int64(0)
	if allocs := testing.AllocsPerRun(1000, func() {
		now += 1000
		b.Take(10, 1, now)
		b.Take(10, 1500, now)
		rate.Take(v4, now)
		rate.Take(v6, now)
		rate.Take(zone, now)
	}); allocs != 0 {
		t.Errorf("want no allocation, got %v", allocs)
	}
	if want, got := uintptr(8), unsafe.Sizeof(b); got != want {
		t.Errorf("want a bucket of %d bytes, for each peer has two; got %d", want, got)
	}
}

// A flood of forged addresses is let through as often as there are buckets, and
// takes no memory.
func TestAddressRateIsBounded(t *testing.T) {
	const forged, most, buckets = 200_000, 64 << 10, 4096
	before, _ := heap()
	rate := peers.NewAddressRate(1)
	passed := 0
	for i := range forged {
		if rate.Take(nth(i).Addr(), 0) {
			passed++
		}
	}
	if passed > buckets || passed < buckets*99/100 {
		t.Errorf("want some %d of %d addresses to pass at once, got %d", buckets, forged, passed)
	}
	after, _ := heap()
	if after-before > most {
		t.Errorf("want %d addresses to take at most %d bytes, got %d", forged, most, after-before)
	}
	if !rate.Take(nth(0).Addr(), 2*second) {
		t.Error("want the flood to be forgotten two seconds later, got refused")
	}
}

func TestAddressRateTellsMostAddressesApart(t *testing.T) {
	const addresses, least = 1000, 820 // 887 of 1000 have a bucket that nobody before them had, on average; one standard deviation is 9
	rate := peers.NewAddressRate(1)
	passed := 0
	for i := range addresses {
		if rate.Take(nth(i).Addr(), 0) {
			passed++
		}
	}
	if passed < least {
		t.Errorf("want at least %d of %d addresses to pass, got %d", least, addresses, passed)
	}
	for i := range addresses {
		if rate.Take(nth(i).Addr(), 0) {
			t.Fatalf("want %v, which has had its turn, to be refused, got it through", nth(i).Addr())
		}
	}
}

// Nobody can work out whom he shares a bucket with: it is another in each.
func TestAddressRatesShareBucketsInWaysOfTheirOwn(t *testing.T) {
	who := func() (shared string) {
		rate := peers.NewAddressRate(1)
		for i := range 1000 {
			if !rate.Take(nth(i).Addr(), 0) {
				shared += fmt.Sprint(i, " ")
			}
		}
		return shared
	}
	if first, second := who(), who(); first == second {
		t.Errorf("want two rates to share buckets among others, got %s for both", first)
	}
}

func TestAddressRateCountsWhatOneCustomerHas(t *testing.T) {
	for _, same := range [][2]string{
		{"127.0.0.1", "127.255.0.9"},
		{"2001:db8::1", "2001:db8::ffff:1"},
		{"fe80::1%eth0", "fe80::1%eth1"},
	} {
		rate := peers.NewAddressRate(1)
		if first, second := rate.Take(netip.MustParseAddr(same[0]), 0), rate.Take(netip.MustParseAddr(same[1]), 0); !first || second {
			t.Errorf("want %s to pass and %s, which is the same customer, to be refused; got %v and %v", same[0], same[1], first, second)
		}
	}
}
