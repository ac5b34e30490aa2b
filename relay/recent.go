package relay

import (
	"cmp"
	"encoding/binary"
	"hash/maphash"
	"net/netip"
	"slices"
	"sync"
	"time"

	"udprelay/peers"
)

// recentSlots is how many refused senders are remembered at most, each once for
// each reason.
const recentSlots = 1 << 12

// A Refusal says that datagrams of a sender that is no peer were dropped.
type Refusal struct {
	From   netip.AddrPort
	Reason Drop
	Rule   string    // the access rule that has decided; empty: none was asked
	Count  uint64    // datagrams, since this memory of the sender began
	Last   time.Time // when the last one came
}

// Recent returns what is remembered of the datagrams of a sender that were
// dropped before it was a peer, the latest first. Port 0 stands for any. The
// memory is fixed: of more than a few thousand senders, as in a flood, those
// that came last push out the others. Any goroutine may call it.
func (r *Relay) Recent(addr netip.AddrPort) []Refusal {
	addr, _ = numericZone(unmap(addr))
	var list []Refusal
	for _, s := range r.recent.of(addr) {
		refusal := Refusal{From: s.from, Reason: s.reason, Count: s.count, Last: r.began.Add(time.Duration(s.last))}
		if s.rule != nil {
			refusal.Rule = s.rule.String()
		}
		list = append(list, refusal)
	}
	slices.SortFunc(list, func(a, b Refusal) int {
		return cmp.Or(b.Last.Compare(a.Last), a.From.Compare(b.From), cmp.Compare(a.Reason, b.Reason))
	})
	return list
}

// refuse counts a datagram of one that is no peer as dropped. It is for the
// goroutine that receives, within admit.
func (r *Relay) refuse(from netip.AddrPort, reason Drop, t *tally) {
	t.drop(reason, 1, from)
	r.receiving.refusals.add(from, reason, r.receiving.rule)
}

// BatchRefusals are those of a batch.
type batchRefusals struct{ list []refused }

// A refused is a sender and how many of its datagrams were dropped for a reason.
type refused struct {
	from   netip.AddrPort
	rule   *peers.RuleTally // nil: none was asked
	count  uint64
	reason Drop
}

// add notes a datagram. They come in runs.
func (l *batchRefusals) add(from netip.AddrPort, reason Drop, rule *peers.RuleTally) {
	if last := len(l.list) - 1; last >= 0 && l.list[last].from == from && l.list[last].reason == reason && l.list[last].rule == rule {
		l.list[last].count++
		return
	}
	l.list = append(l.list, refused{from, rule, 1, reason})
}

// A recent remembers refused senders, by a seeded hash of address, port and
// reason, so that nobody can choose whose place he takes.
type recent struct {
	seed  maphash.Seed
	mu    sync.Mutex
	slots [recentSlots]remembering // guarded by mu
}

// A remembering is what a slot holds.
type remembering struct {
	refused
	last int64 // when the last datagram came, in nanoseconds since the relay was made
}

func newRecent() *recent { return &recent{seed: maphash.MakeSeed()} }

// count counts for each rule what it has refused.
func (l *batchRefusals) count() {
	var (
		rule *peers.RuleTally // of those before, for it is seldom another
		n    uint64
	)
	for i := range l.list {
		if r := &l.list[i]; r.reason == DropRule && r.rule != nil {
			if r.rule != rule && n > 0 {
				rule.Refuse(n)
				n = 0
			}
			rule = r.rule
			n += r.count
		}
	}
	if n > 0 {
		rule.Refuse(n)
	}
}

// note remembers and empties l.
func (m *recent) note(l *batchRefusals, at int64) {
	m.mu.Lock()
	for i := range l.list {
		r := &l.list[i]
		s := &m.slots[m.slot(r.from, r.reason)]
		s.last = at
		if s.from == r.from && s.reason == r.reason {
			s.count += r.count
			s.rule = r.rule
		} else {
			s.refused = *r
		}
	}
	m.mu.Unlock()
	l.list = l.list[:0]
}

func (m *recent) slot(from netip.AddrPort, reason Drop) uint64 {
	var key [19]byte
	ip := from.Addr().As16()
	copy(key[:], ip[:])
	binary.NativeEndian.PutUint16(key[16:], from.Port())
	key[18] = byte(reason)
	return maphash.Bytes(m.seed, key[:]) % recentSlots
}

// of returns what is remembered of a sender; port 0: of all at its address.
func (m *recent) of(addr netip.AddrPort) (list []remembering) {
	const atOnce = 256 // slots, so that the goroutine that receives waits for a moment only
	for from := 0; from < recentSlots; from += atOnce {
		m.mu.Lock()
		for i := from; i < from+atOnce; i++ {
			s := &m.slots[i]
			if s.count > 0 && s.from.Addr() == addr.Addr() && (addr.Port() == 0 || s.from.Port() == addr.Port()) {
				list = append(list, *s)
			}
		}
		m.mu.Unlock()
	}
	return list
}
