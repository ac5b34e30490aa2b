package peers

import (
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"sync/atomic"
)

// An index finds peers by address: a hash table with open addressing and
// linear probing. Look-ups take no lock and may run beside changes; changes
// need the table's lock. The hash is seeded, so that nobody can choose
// addresses that collide.
//
// A look-up beside a change may miss a peer that is just being added, so that
// its caller looks again under the lock, or find one that is just being
// removed, which is as if the datagram had come a moment earlier.
type index struct {
	seed  maphash.Seed
	slots atomic.Pointer[[]slot] // a power of two of them
	used  int                    // slots that are not empty, gravestones included
	live  int                    // peers
}

type slot = atomic.Pointer[Peer]

// gravestone stands in a slot whose peer was removed: look-ups go on past it.
var gravestone = new(Peer)

const minSlots = 64

func newIndex() *index {
	x := &index{seed: maphash.MakeSeed()}
	slots := make([]slot, minSlots)
	x.slots.Store(&slots)
	return x
}

// find returns the peer at addr, or nil.
func (x *index) find(addr netip.AddrPort) *Peer {
	slots := *x.slots.Load()
	mask := uint64(len(slots) - 1)
	for i := x.hash(addr) & mask; ; i = (i + 1) & mask {
		p := slots[i].Load()
		if p == nil {
			return nil
		}
		if p.addr == addr && p != gravestone {
			return p
		}
	}
}

// add puts p, whose address must not be there yet, into the index.
func (x *index) add(p *Peer) {
	if (x.used+1)*4 > len(*x.slots.Load())*3 {
		x.rebuild()
	}
	slots := *x.slots.Load()
	mask := uint64(len(slots) - 1)
	for i := x.hash(p.addr) & mask; ; i = (i + 1) & mask {
		switch slots[i].Load() {
		case nil:
			x.used++
			fallthrough
		case gravestone:
			slots[i].Store(p)
			x.live++
			return
		}
	}
}

// remove takes p out of the index.
func (x *index) remove(p *Peer) {
	slots := *x.slots.Load()
	mask := uint64(len(slots) - 1)
	for i := x.hash(p.addr) & mask; ; i = (i + 1) & mask {
		switch slots[i].Load() {
		case p:
			slots[i].Store(gravestone)
			x.live--
			return
		case nil:
			return
		}
	}
}

// rebuild publishes a new slice of slots, without gravestones, at most three
// eighths full: the next rebuild is then a good many changes away.
func (x *index) rebuild() {
	size := minSlots
	for size*3 < (x.live+1)*8 {
		size *= 2
	}
	old := *x.slots.Load()
	slots := make([]slot, size)
	mask := uint64(size - 1)
	for i := range old {
		p := old[i].Load()
		if p == nil || p == gravestone {
			continue
		}
		j := x.hash(p.addr) & mask
		for slots[j].Load() != nil {
			j = (j + 1) & mask
		}
		slots[j].Store(p)
	}
	x.used = x.live
	x.slots.Store(&slots)
}

// hash leaves the zone out: addresses that differ in nothing else are few.
func (x *index) hash(addr netip.AddrPort) uint64 {
	var key [18]byte
	ip := addr.Addr().As16()
	copy(key[:], ip[:])
	binary.NativeEndian.PutUint16(key[16:], addr.Port())
	return maphash.Bytes(x.seed, key[:])
}
