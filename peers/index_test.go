package peers

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

// stranger returns a peer for the i-th of many addresses: IPv4, IPv6, and IPv6
// with a zone, of which those that differ only in the zone have one hash.
func stranger(i int) *Peer {
	const port = 9000
	switch n := i / 4; i % 4 {
	case 0:
		return &Peer{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), port)}
	case 1:
		return &Peer{addr: netip.AddrPortFrom(netip.AddrFrom16([16]byte{0x20, 1, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}), port)}
	default:
		addr := netip.AddrFrom16([16]byte{0xfe, 0x80, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)})
		return &Peer{addr: netip.AddrPortFrom(addr.WithZone(fmt.Sprintf("eth%d", i%4)), uint16(n))}
	}
}

func wantIndex(t *testing.T, x *index, live int) {
	t.Helper()
	if x.live != live {
		t.Fatalf("want %d peers in the index, got %d", live, x.live)
	}
	if err := x.disagreement(); err != nil {
		t.Fatalf("want slots and counts of the index to agree, got: %v", err)
	}
}

func TestIndexDoesWhatAMapDoes(t *testing.T) {
	const addresses = 150_000
	var (
		x        = newIndex()
		model    = map[netip.AddrPort]*Peer{}
		known    = make([]*Peer, addresses)
		most     int // peers at a time
		rebuilds int
		graves   int // most at a time
		slots    = x.slots.Load()
		seed     = rand.Uint64()
		random   = rand.New(rand.NewPCG(seed, 0))
	)
	t.Logf("seed %d", seed)
	for i := range known {
		known[i] = stranger(i)
	}
	change := func(p *Peer, wanted bool) {
		if got := x.find(p.addr); got != model[p.addr] {
			t.Fatalf("find(%v): want %p, got %p", p.addr, model[p.addr], got)
		}
		switch {
		case wanted && model[p.addr] == nil:
			x.add(p)
			model[p.addr] = p
		case !wanted && model[p.addr] != nil:
			x.remove(p)
			delete(model, p.addr)
		}
		if x.slots.Load() != slots {
			slots = x.slots.Load()
			rebuilds++
		}
		most, graves = max(most, x.live), max(graves, x.used-x.live)
	}
	// Mostly growing, churning, mostly shrinking, and growing again.
	for _, phase := range []struct{ steps, adds int }{{250_000, 90}, {100_000, 50}, {250_000, 5}, {50_000, 60}} {
		for range phase.steps {
			change(known[random.IntN(addresses)], random.IntN(100) < phase.adds)
		}
		for _, p := range known {
			if got := x.find(p.addr); got != model[p.addr] {
				t.Fatalf("find(%v): want %p, got %p", p.addr, model[p.addr], got)
			}
		}
		wantIndex(t, x, len(model))
	}
	t.Logf("at most %d peers and %d gravestones; %d rebuilds", most, graves, rebuilds)
	if most < 100_000 || graves < 10_000 || rebuilds < 8 {
		t.Errorf("want at least 100000 peers, 10000 gravestones and 8 rebuilds, got %d, %d and %d", most, graves, rebuilds)
	}
	for _, p := range known {
		change(p, false)
	}
	wantIndex(t, x, 0)
	for i := 0; len(*x.slots.Load()) > minSlots && i < 5_000_000; i++ {
		p := stranger(addresses + i)
		x.add(p)
		x.remove(p)
	}
	if got := len(*x.slots.Load()); got != minSlots {
		t.Errorf("want %d slots again once the gravestones were cleared away, got %d", minSlots, got)
	}
	wantIndex(t, x, 0)
}

// Peers whose search starts at the last slot fill the end and go on at the start.
func TestIndexTellsPeersOfOneBucketApart(t *testing.T) {
	x := newIndex()
	var bucket []*Peer
	for i := 0; len(bucket) < minSlots/2; i++ {
		if p := stranger(i); x.hash(p.addr)%minSlots == minSlots-1 {
			bucket = append(bucket, p)
		}
	}
	wantFound := func(p *Peer, want bool) {
		t.Helper()
		if got := x.find(p.addr); got != nil != want || want && got != p {
			t.Fatalf("find(%v): want it found %v, got %v", p.addr, want, got)
		}
	}
	for i, p := range bucket {
		wantFound(p, false)
		x.add(p)
		for j, q := range bucket {
			wantFound(q, j <= i)
		}
	}
	wantIndex(t, x, len(bucket))
	used := x.used
	for i, p := range bucket {
		if i%2 == 0 {
			x.remove(p)
			x.remove(p) // removes it no further
		}
	}
	for i, p := range bucket {
		wantFound(p, i%2 != 0)
	}
	wantIndex(t, x, len(bucket)/2)
	for i, p := range bucket {
		if i%2 == 0 {
			x.add(p)
		}
	}
	for _, p := range bucket {
		wantFound(p, true)
	}
	if x.used != used {
		t.Errorf("want gravestones to be used again, %d slots in all, got %d", used, x.used)
	}
}

func TestIndexTellsZonesApartThoughTheirHashIsOne(t *testing.T) {
	x := newIndex()
	zones := make([]*Peer, 200)
	for i := range zones {
		addr := netip.MustParseAddr("fe80::1").WithZone(fmt.Sprint(i))
		zones[i] = &Peer{addr: netip.AddrPortFrom(addr, 1)}
		x.add(zones[i])
	}
	for i, p := range zones {
		if i%3 == 0 {
			x.remove(p)
		}
	}
	for i, p := range zones {
		if got := x.find(p.addr); (got == p) != (i%3 != 0) || got != nil && got != p {
			t.Fatalf("find(%v): want it found %v, got %p", p.addr, i%3 != 0, got)
		}
	}
	wantIndex(t, x, 133)
}

func TestIndexOfFewPeersStaysSmall(t *testing.T) {
	x := newIndex()
	for i := range 100_000 {
		p := stranger(i)
		x.add(p)
		x.remove(p)
		if got := x.find(netip.AddrPort{}); got != nil {
			t.Fatalf("find of the zero address among gravestones: want nil, got %p", got)
		}
	}
	wantIndex(t, x, 0)
	if got := len(*x.slots.Load()); got != minSlots {
		t.Errorf("want %d slots after many came and went, got %d", minSlots, got)
	}
}

// However many peers stay, those that come and go do not make the index copy
// itself over and over.
func TestRebuildLeavesRoomForManyChanges(t *testing.T) {
	x := newIndex()
	next, rebuilds := 0, 0
	for staying := range 200 {
		x.add(stranger(next))
		next++
		for range 1000 {
			before := x.slots.Load()
			p := stranger(next)
			next++
			x.add(p)
			if slots := len(*x.slots.Load()); x.slots.Load() != before {
				rebuilds++
				if x.used*8 > slots*3 || slots > minSlots && x.used*16 <= slots*3 {
					t.Fatalf("want more than 3/16 and at most 3/8 of the slots used after a rebuild, got %d of %d with %d peers", x.used, slots, staying+2)
				}
			}
			x.remove(p)
		}
	}
	wantIndex(t, x, 200)
	if least := 200; rebuilds < least {
		t.Errorf("want at least %d rebuilds, got %d", least, rebuilds)
	}
}

// Peers that differ only in the port, or only in the address, do not crowd.
func TestHashSpreadsPortsAndAddresses(t *testing.T) {
	const peers, slots, least = 10_000, 1 << 14, 7000 // chance fills 7484
	for name, nth := range map[string]func(i int) netip.AddrPort{
		"ports":          func(i int) netip.AddrPort { return netip.AddrPortFrom(netip.IPv6Loopback(), uint16(i)) },
		"IPv4 addresses": func(i int) netip.AddrPort { return stranger(i * 4).addr },
		"IPv6 addresses": func(i int) netip.AddrPort { return stranger(i*4 + 1).addr },
	} {
		x, filled := newIndex(), map[uint64]bool{}
		for i := range peers {
			filled[x.hash(nth(i))%slots] = true
		}
		if got := len(filled); got < least {
			t.Errorf("%s: want %d to fall on at least %d of %d slots, got %d", name, peers, least, slots, got)
		}
	}
}

// A look-up beside changes must find who stays and nobody else: every datagram
// of a peer that was missed would wait for the lock.
func TestIndexFindsWhoStaysBesideChanges(t *testing.T) {
	const staying, passing, wantTurns = 500, 3000, 3000
	x := newIndex()
	stays, never := make([]*Peer, staying), make([]*Peer, staying)
	for i := range stays {
		stays[i], never[i] = stranger(i), stranger(1_000_000+i)
		x.add(stays[i])
	}
	var (
		turns   atomic.Int64
		readers sync.WaitGroup
	)
	for range 3 {
		readers.Go(func() {
			for turn := turns.Add(1); turn <= wantTurns && !t.Failed(); turn = turns.Add(1) {
				for i := range staying {
					if got := x.find(stays[i].addr); got != stays[i] {
						t.Errorf("find(%v) in turn %d: want %p, got %p", stays[i].addr, turn, stays[i], got)
						return
					}
					if got := x.find(never[i].addr); got != nil {
						t.Errorf("find(%v) in turn %d: want nil, got %p", never[i].addr, turn, got)
						return
					}
				}
			}
		})
	}
	rounds := 0
	for ; turns.Load() <= wantTurns && !t.Failed(); rounds++ {
		var passed []*Peer
		for i := range passing {
			passed = append(passed, stranger(10_000+rounds*passing+i))
			x.add(passed[i])
			if i%3 == 0 {
				x.remove(passed[i/2])
			}
		}
		for _, p := range passed {
			x.remove(p)
		}
	}
	readers.Wait()
	t.Logf("%d rounds of changes beside %d turns of look-ups", rounds, wantTurns)
	wantIndex(t, x, staying)
}
