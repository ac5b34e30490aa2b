package cluster

import (
	"cmp"
	"crypto/cipher"
	"encoding/hex"
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
)

// A node is another node of the room, of this start of it.
type node struct {
	id     nodeID
	sealer cipher.AEAD
	seen   time.Time
	left   bool // it said that it goes
	told   bool // it was told that this node is here

	next     uint64 // number of the datagram that is to come; 0: not known
	nextBeat uint64

	name, version string
	peers         int
	in, out       float64
	beatAt        int64 // what its last beat said
	beatCame      time.Time
	rtt           time.Duration

	received, lost, duplicates uint64
}

func (n *node) gone(now time.Time) bool { return n.left || now.Sub(n.seen) > goneAfter }

// nodes are the other nodes of the room.
type nodes struct {
	secret []byte
	room   string
	self   nodeID

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

// find returns the node, made if it is new. Nil: there are too many. The mutex
// is held.
func (t *nodes) find(id nodeID, sealer cipher.AEAD, now time.Time) (n *node, isNew bool) {
	if n = t.byID[id]; n != nil {
		return n, false
	}
	if len(t.byID) == maxNodes {
		var oldest *node
		for _, other := range t.byID {
			if other.gone(now) && (oldest == nil || other.seen.Before(oldest.seen)) {
				oldest = other
			}
		}
		if oldest == nil {
			return nil, false
		}
		delete(t.byID, oldest.id)
	}
	n = &node{id: id, sealer: sealer}
	t.byID[id] = n
	return n, true
}

// A heard says what a message meant for what is known of its node.
type heard struct {
	isNew     bool
	tooMany   bool
	duplicate bool
	lost      uint64 // datagrams before it that did not come
}

// datagrams notes that count datagrams came from a node, the first of which is
// number.
func (t *nodes) datagrams(id nodeID, sealer cipher.AEAD, number uint64, count int, now time.Time) (h heard) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, isNew := t.find(id, sealer, now)
	if n == nil {
		return heard{tooMany: true}
	}
	h.isNew = isNew
	n.seen = now
	switch {
	case n.next != 0 && number < n.next:
		n.duplicates++
		h.duplicate = true
		return h
	case n.next != 0:
		h.lost = number - n.next
	}
	n.lost += h.lost
	n.received += uint64(count)
	n.next = number + uint64(count)
	return h
}

// beat notes what a node says of itself.
func (t *nodes) beat(id nodeID, sealer cipher.AEAD, number uint64, b *beat, now time.Time, sinceStart int64) (h heard) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, isNew := t.find(id, sealer, now)
	if n == nil {
		return heard{tooMany: true}
	}
	h.isNew = isNew
	if number < n.nextBeat {
		h.duplicate = true
		return h
	}
	n.nextBeat = number + 1
	n.seen, n.left = now, b.Leaving
	n.name, n.version = printable(b.Name), printable(b.Version)
	n.peers, n.in, n.out = max(b.Peers, 0), b.In, b.Out
	n.beatAt, n.beatCame = b.At, now
	if e, ok := b.Echo[hex.EncodeToString(t.self[:])]; ok && e.Held >= 0 {
		if rtt := sinceStart - e.At - e.Held; rtt > 0 && rtt <= int64(mostRTT) && e.At > 0 {
			n.rtt = time.Duration(rtt)
		}
	}
	return h
}

// echoes returns, for some nodes in turn, when they said to have beaten, and
// how long ago it came.
func (t *nodes) echoes(now time.Time) map[string]echo {
	t.mu.Lock()
	defer t.mu.Unlock()
	var alive []*node
	for _, n := range t.byID {
		if !n.gone(now) && n.beatAt > 0 {
			alive = append(alive, n)
		}
	}
	slices.SortFunc(alive, func(a, b *node) int { return slices.Compare(a.id[:], b.id[:]) })
	list := make(map[string]echo)
	for range min(len(alive), maxEchoes) {
		n := alive[t.echo%len(alive)]
		t.echo++
		list[hex.EncodeToString(n.id[:])] = echo{At: n.beatAt, Held: int64(now.Sub(n.beatCame))}
	}
	return list
}

// A change is that of a node since the last look.
type change struct{ what, name, id string }

// look returns which nodes came and went since the last look, and lets go of
// who has been gone for long.
func (t *nodes) look(now time.Time) (changes []change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, n := range t.byID {
		gone := n.gone(now)
		if here := !gone && n.nextBeat > 0; here != n.told && (here || gone) {
			n.told = here
			what := "is gone"
			if here {
				what = "is here"
			}
			changes = append(changes, change{what, n.name, hex.EncodeToString(id[:])})
		}
		if gone && now.Sub(n.seen) > rememberFor {
			delete(t.byID, id)
		}
	}
	return changes
}

// list returns the nodes by name.
func (t *nodes) list(now time.Time) []Node {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Node, 0, len(t.byID))
	for _, n := range t.byID {
		list = append(list, Node{
			ID: hex.EncodeToString(n.id[:]), Name: n.name, Version: n.version,
			Peers: n.peers, In: n.in, Out: n.out,
			LastSeen: n.seen, Gone: n.gone(now), RTT: n.rtt,
			Received: n.received, Lost: n.lost, Duplicates: n.duplicates,
		})
	}
	slices.SortFunc(list, func(a, b Node) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return list
}
