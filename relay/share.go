package relay

import (
	"slices"

	"udprelay/peers"
)

// A share is the receivers that a sender sends a batch to: count of all, from
// the one at first on; after the last of all comes the first of all.
type share struct {
	all          []*peers.Peer // in ascending order of number
	first, count int
	more         bool // the sender has had a share of this batch before
}

// everyone is all receivers, beginning with the first.
func everyone(receivers []*peers.Peer) share { return share{all: receivers, count: len(receivers)} }

// everyoneFrom is all receivers, beginning with another one for each batch, so
// that none is always the first or the last: for batches that are numbered one
// after the other the beginnings spread evenly.
func everyoneFrom(receivers []*peers.Peer, batch uint32) share {
	const golden = 2654435769 // 2³² divided by the golden ratio
	s := everyone(receivers)
	s.first = int(uint64(batch*golden) * uint64(len(receivers)) >> 32)
	return s
}

// part returns count receivers of s, from the one at first on.
func (s share) part(first, count int) share {
	s.first = (s.first + first) % len(s.all)
	s.count = count
	return s
}

// runs returns the receivers of s as two parts of all, of which the second may be
// empty.
func (s share) runs() [2][]*peers.Peer {
	if end := s.first + s.count; end > len(s.all) {
		return [2][]*peers.Peer{s.all[s.first:], s.all[:end-len(s.all)]}
	}
	return [2][]*peers.Peer{s.all[s.first : s.first+s.count]}
}

// A walk goes through receivers and says of each whether it is in a list, such
// as of those who have spoken in the batch. Both ascend, so that one comparison
// a receiver does.
type walk struct{ left []*peers.Peer }

// walkFrom returns a walk through a list for receivers from the first of run on.
func walkFrom(list, run []*peers.Peer) walk {
	if len(list) == 0 || len(run) == 0 {
		return walk{}
	}
	at, _ := slices.BinarySearchFunc(list, run[0], byNumber)
	return walk{list[at:]}
}

// meets reports whether p, whose number is higher than that of the call
// before, is in the list.
func (w *walk) meets(p *peers.Peer) bool {
	for len(w.left) > 0 && w.left[0].Number() < p.Number() {
		w.left = w.left[1:]
	}
	return len(w.left) > 0 && w.left[0] == p
}
