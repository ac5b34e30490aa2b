package peers_test

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"udprelay/peers"
)

// heap returns the bytes that are in use after everything dead is gone, and
// those that were ever allocated.
func heap() (used, ever int64) {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc), int64(stats.TotalAlloc)
}

func TestHundredThousandPeersTakeLittleMemoryAndGiveItBack(t *testing.T) {
	const (
		many  = 100_000
		most  = 40 << 20  // bytes
		ever  = 100 << 20 // bytes: lists and maps grow by copying, but not with each peer
		after = 10 << 20  // bytes: maps and slots keep some room for the next
	)
	before, everBefore := heap()
	table := openTable(many, 1)
	for i := range many {
		if _, got := table.Heard(nth(i), start); got != peers.Joined {
			t.Fatalf("Heard(%v): want %q, got %q", nth(i), peers.Joined, got)
		}
	}
	taken, allocated := heap()
	taken -= before
	allocated -= everBefore
	t.Logf("%d peers take %.1f MiB, %d bytes each, of %.1f MiB allocated", many, float64(taken)/(1<<20), taken/many, float64(allocated)/(1<<20))
	if allocated > ever {
		t.Errorf("want at most %d bytes to be allocated as %d peers join, got %d", ever, many, allocated)
	}
	if taken > most {
		t.Errorf("want %d peers to take at most %d bytes, got %d", many, most, taken)
	}
	if got := len(table.Receivers()); got != many {
		t.Fatalf("want %d receivers, got %d", many, got)
	}
	wantCounts(t, table, many, 0)
	wantHeard(t, table, "192.0.2.1:1", start, peers.TableFull)

	if got := len(table.Expire(at(time.Minute))); got != many {
		t.Fatalf("want %d peers to expire at once, got %d", many, got)
	}
	wantPeers(t, "Receivers", table.Receivers())
	wantCounts(t, table, 0, 0)
	left, _ := heap()
	left -= before
	t.Logf("%.1f MiB stay when all are gone", float64(left)/(1<<20))
	if left > after {
		t.Errorf("want at most %d bytes when all peers are gone, got %d", after, left)
	}
	for i := range many {
		if got := table.Lookup(nth(i)); got != nil {
			t.Fatalf("Lookup(%v): want nil, got a peer", nth(i))
		}
	}
	runtime.KeepAlive(table)
}

// A flood of senders that come once must not make the table grow for ever.
func TestPeersThatComeAndGoLeaveNothingBehind(t *testing.T) {
	const each, rounds = 1000, 200
	table := openTable(0, 0)
	before, _ := heap()
	for round := range rounds {
		now := at(time.Duration(round) * time.Minute)
		table.Expire(now)
		for i := range each {
			table.Heard(nth(round*each+i), now)
		}
	}
	wantCounts(t, table, each, 0)
	const most = 4 << 20 // bytes
	if after, _ := heap(); after-before > most {
		t.Errorf("want a table of %d peers to grow by at most %d bytes in %d rounds, got %d", each, most, rounds, after-before)
	}
	runtime.KeepAlive(table)
}

// One datagram from each of many ports of one address must not fill the table.
func TestOneAddressCannotFillTheTable(t *testing.T) {
	const limit = 256
	table := openTable(10_000, limit)
	const first = 1024 // below are ports that never join
	for port := first; port <= 1<<16-1; port++ {
		want := peers.Joined
		if port >= first+limit {
			want = peers.AddressFull
		}
		from := netip.AddrPortFrom(netip.MustParseAddr("2001:db8::").Next(), uint16(port))
		if _, got := table.Heard(from, start); got != want {
			t.Fatalf("Heard(%v): want %q, got %q", from, want, got)
		}
	}
	wantCounts(t, table, limit, 0)
}
