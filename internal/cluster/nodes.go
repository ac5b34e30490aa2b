//go:build !nocluster

package cluster

import (
	"cmp"
	"crypto/cipher"
	"encoding/hex"
	"log/slog"
	"slices"
	"sync"
	"time"
)

const (
	// goneAfter is how long a node may be silent. It beats each second.
	goneAfter = 3500 * time.Millisecond

	// rememberFor is how long a node that is gone is remembered, so that
	// nothing it has said is taken twice.
	rememberFor = 10 * time.Minute

	maxNodes = 256

	// mostRTT is more than a message can be under way.
	mostRTT = time.Minute

	// What a node says of itself that no node is like is cut to this, so that
	// sums of it are numbers.
	mostPeers = 1 << 30
	mostRate  = 1 << 40

	// freshFor is how long ago a node that proves itself may have heard this
	// one. Less than rememberFor, so that what a node said that is forgotten
	// proves nothing.
	freshFor = 30 * time.Second
)

const _ = uint64(rememberFor - 2*freshFor)

// A node is another node of the room, of this start of it.
type node struct {
	id     nodeID
	sealer cipher.AEAD
	seen   time.Time
	left   bool // it said that it goes
	told   bool // it was told that this node is here

	// proven says that the node has shown that it says now what it says. It can
	// not have been brought what it said before. With a secret a node proves it
	// by telling the time of a beat of this node; without one there is no use
	// in that.
	proven bool
	base   uint64 // number of the first datagram that may come, from when it was proven

	next      uint64 // number of the datagram that is to come; 0: not known
	nextBeat  uint64
	questions uint64 // number of its last question

	name, version string
	peers         int
	in, out       float64
	beatAt        int64 // what its last beat said
	beatCame      time.Time
	echoed        bool // it was told of a beat of its
	rtt           time.Duration
	shares        bool   // what follows is known
	shared        uint64 // digest of what is shared there

	received, lost, duplicates uint64
}

func (n *node) gone(now time.Time) bool { return n.left || now.Sub(n.seen) > goneAfter }

// here reports whether the node can be counted on.
func (n *node) here(now time.Time) bool { return n.proven && n.nextBeat > 0 && !n.gone(now) }

// isFresh reports whether a time that another node tells, at which this one
// has beaten, is a short while ago.
func isFresh(at, sinceStart int64) bool {
	return at > 0 && at <= sinceStart && sinceStart-at <= int64(freshFor)
}

// nodes are the other nodes of the room.
type nodes struct {
	secret []byte
	room   string
	self   nodeID
	shared Shared // nil: nothing

	mu   sync.Mutex // guards what follows
	byID map[nodeID]*node
	echo int // whose turn it is to be told the time of its beat
}

// sealer returns what opens the messages of a node, of one that is not known
// also.
func (t *nodes) sealer(id nodeID) cipher.AEAD {
	t.mu.Lock()
	n := t.byID[id]
	t.mu.Unlock()
	if n != nil {
		return n.sealer
	}
	return newSealer(t.secret, t.room, id)
}

// find returns the node, made if it is new, and what that means. Nil: there are
// too many. The mutex is held.
func (t *nodes) find(id nodeID, sealer cipher.AEAD, now time.Time) (*node, heard) {
	if n := t.byID[id]; n != nil {
		return n, heard{}
	}
	if len(t.byID) == maxNodes {
		var oldest *node
		for _, other := range t.byID {
			if (!other.proven || other.gone(now)) && (oldest == nil || oldest.outlasts(other)) {
				oldest = other
			}
		}
		if oldest == nil {
			return nil, heard{tooMany: true}
		}
		delete(t.byID, oldest.id)
	}
	n := &node{id: id, sealer: sealer, proven: len(t.secret) == 0}
	t.byID[id] = n
	return n, heard{isNew: true}
}

// outlasts reports whether the other is to be forgotten rather than n.
func (n *node) outlasts(other *node) bool {
	if n.proven != other.proven {
		return n.proven
	}
	return other.seen.Before(n.seen)
}

// A heard says what a message meant for what is known of its node.
type heard struct {
	isNew     bool
	tooMany   bool
	duplicate bool
	unproven  bool   // the node might have said it long ago
	moved     bool   // the node is here now, or is no more
	lost      uint64 // datagrams before it that did not come
}

// datagrams notes that count datagrams came from a node, the first of which is
// number.
func (t *nodes) datagrams(id nodeID, sealer cipher.AEAD, number uint64, count int, now time.Time) heard {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, h := t.find(id, sealer, now)
	if n == nil {
		return h
	}
	if !n.proven {
		n.seen = now
	}
	switch {
	case !n.proven || number < n.base:
		h.unproven = true
		return h
	case n.next != 0 && number < n.next:
		n.duplicates++
		h.duplicate = true
		return h
	case n.next != 0:
		h.lost = number - n.next
	}
	n.seen = now
	n.lost += h.lost
	n.received += uint64(count)
	n.next = number + uint64(count)
	return h
}

// beat notes what a node says of itself.
func (t *nodes) beat(id nodeID, sealer cipher.AEAD, number uint64, b *beat, now time.Time, sinceStart int64) heard {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, h := t.find(id, sealer, now)
	if n == nil {
		return h
	}
	if number < n.nextBeat {
		h.duplicate = true
		return h
	}
	before := n.here(now)
	n.nextBeat = number + 1
	if n.gone(now) { // it is back
		n.echoed, h.isNew = false, true
	}
	n.seen, n.left = now, b.Leaving
	n.name, n.version = printable(b.Name), printable(b.Version)
	n.peers, n.in, n.out = min(max(b.Peers, 0), mostPeers), rate(b.In), rate(b.Out)
	n.beatAt, n.beatCame = b.At, now
	n.shares = b.Shared != nil
	if n.shares {
		n.shared = uint64(*b.Shared)
	}
	e, ok := b.Echo[hex.EncodeToString(t.self[:])]
	if ok && !n.proven && isFresh(e.At, sinceStart) {
		n.proven, n.base, n.next = true, b.Next, b.Next
	}
	if ok && e.Held >= 0 && e.At > 0 && e.At <= sinceStart { // so that nothing overflows
		if rtt := sinceStart - e.At - e.Held; rtt > 0 && rtt <= int64(mostRTT) {
			n.rtt = time.Duration(rtt)
		}
	}
	h.moved = n.here(now) != before
	return h
}

// question notes a question of a node, which is fresh.
func (t *nodes) question(id nodeID, sealer cipher.AEAD, number uint64, now time.Time) heard {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, h := t.find(id, sealer, now)
	if n == nil {
		return h
	}
	if number <= n.questions {
		h.duplicate = true
		return h
	}
	n.questions, n.seen = number, now
	return h
}

// rate returns what a node says of a rate, as far as it may be true.
func rate(said float64) float64 { return min(max(said, 0), mostRate) }

// beaten returns when a node that is here said to have beaten last.
func (t *nodes) beaten(id nodeID, now time.Time) (at int64, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.byID[id]
	if n == nil || !n.here(now) {
		return 0, false
	}
	return n.beatAt, true
}

// echoes returns, for some nodes, when they said to have beaten, and how long
// ago it came: those first that were not told yet, the others in turn. It
// reports whether there are more that were not told.
func (t *nodes) echoes(now time.Time) (list map[string]echo, more bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var untold, rest []*node
	for _, n := range t.byID {
		switch {
		case n.gone(now) || n.beatAt <= 0:
		case n.echoed:
			rest = append(rest, n)
		default:
			untold = append(untold, n)
		}
	}
	more = len(untold) > maxFirstEchoes
	slices.SortFunc(rest, func(a, b *node) int { return slices.Compare(a.id[:], b.id[:]) })
	chosen := untold[:min(len(untold), maxFirstEchoes)]
	for range min(len(rest), max(maxEchoes-len(chosen), 0)) {
		chosen = append(chosen, rest[t.echo%len(rest)])
		t.echo++
	}
	list = make(map[string]echo)
	for _, n := range chosen {
		n.echoed = true
		list[hex.EncodeToString(n.id[:])] = echo{At: n.beatAt, Held: int64(now.Sub(n.beatCame))}
	}
	return list, more
}

// pause returns the least time between two beats.
func (t *nodes) pause() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return beatPause * time.Duration(1+len(t.byID)/maxEchoes)
}

// A sharer is a node that has something else than this one.
type sharer struct {
	id     nodeID
	name   string
	shared uint64
}

// differing returns the nodes that are here and have another digest, in any
// order.
func (t *nodes) differing(ours uint64, now time.Time) (list []sharer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, n := range t.byID {
		if n.here(now) && n.shares && n.shared != ours {
			list = append(list, sharer{n.id, n.name, n.shared})
		}
	}
	return list
}

// missing returns the nodes that have another digest or none, by name, and
// whether one of them may have the same in time. A node that is silent is among
// them until it is forgotten, unless one of its name is here.
func (t *nodes) missing(ours uint64, now time.Time) (list []Node, hope bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := make(map[string]bool) // names, of those that are here first
	var silent []*node
	for _, n := range t.byID {
		switch {
		case !n.here(now):
			if n.proven && n.nextBeat > 0 && !n.left {
				silent = append(silent, n)
			}
			continue
		case !n.shares || n.shared != ours:
			list = append(list, n.public(now, ours))
			hope = hope || n.shares
		}
		known[n.name] = true
	}
	slices.SortFunc(silent, func(a, b *node) int { return b.seen.Compare(a.seen) })
	for _, n := range silent {
		if !known[n.name] && (!n.shares || n.shared != ours) {
			list = append(list, n.public(now, ours))
		}
		known[n.name] = true // of two starts the last counts
	}
	sortNodes(list)
	return list, hope
}

// A change is that of a node since the last look.
type change struct {
	id   nodeID
	name string
	here bool
	left bool // it said that it goes
}

func (c change) String() string {
	switch {
	case c.here:
		return "is here"
	case c.left:
		return "has left"
	}
	return "is gone"
}

// level returns how much it matters.
func (c change) level() slog.Level {
	if c.here || c.left {
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// look returns which nodes came and went since the last look, and lets go of
// who has been gone for long.
func (t *nodes) look(now time.Time) (changes []change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, n := range t.byID {
		gone := n.gone(now)
		if here := n.here(now); here != n.told && (here || gone) {
			n.told = here
			changes = append(changes, change{id, n.name, here, n.left})
		}
		if gone && (now.Sub(n.seen) > rememberFor || !n.proven) {
			delete(t.byID, id)
		}
	}
	return changes
}

// list returns the nodes by name.
func (t *nodes) list(now time.Time) []Node {
	var ours uint64
	if t.shared != nil {
		ours = t.shared.Digest()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Node, 0, len(t.byID))
	for _, n := range t.byID {
		if n.proven {
			list = append(list, n.public(now, ours))
		}
	}
	sortNodes(list)
	return list
}

// public returns what is told of the node, if ours is the digest of what is
// shared here.
func (n *node) public(now time.Time, ours uint64) Node {
	return Node{
		ID: hex.EncodeToString(n.id[:]), Name: n.name, Version: n.version,
		Peers: n.peers, In: n.in, Out: n.out,
		LastSeen: n.seen, Gone: n.gone(now), Left: n.left, RTT: n.rtt,
		SameShared: n.shares && n.shared == ours,
		Received:   n.received, Lost: n.lost, Duplicates: n.duplicates,
	}
}

func sortNodes(list []Node) {
	slices.SortFunc(list, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
}
