//go:build !nocluster

package cluster

import (
	"sync"

	"udprelay/relay"
)

// A queue holds messages between the goroutines that deliver and the one that
// publishes. Datagrams are written into a message at once, so that each is
// copied once; while one message is being published, the next grows.
type queue struct {
	ready chan struct{} // holds one: there is something to take

	mu      sync.Mutex // guards what follows; held for no longer than a copy takes
	most    int        // messages there may be
	made    int        // messages there are, being published also
	free    []*message
	full    []*message // in order, a ring
	first   int        // of full
	waiting int        // in full
	filling *message   // nil, or one with at least one datagram
}

func newQueue(size int) *queue {
	most := max(size/maxMessage, 2)
	return &queue{
		ready: make(chan struct{}, 1),
		most:  most,
		free:  make([]*message, 0, most),
		full:  make([]*message, most),
	}
}

// put adds the datagrams, in order, and returns how many were not: those that
// no message has room for, and those that came when the queue was full.
func (q *queue) put(batch []relay.Datagram) (tooBig, noRoom int) {
	q.mu.Lock()
	for i := range batch {
		switch d := &batch[i]; {
		case len(d.Payload) > maxPayload:
			tooBig++
		case len(d.Payload) > 0 && !q.add(d):
			noRoom++
		}
	}
	some := q.waiting > 0 || q.filling != nil
	q.mu.Unlock()
	if some {
		select {
		case q.ready <- struct{}{}:
		default:
		}
	}
	return tooBig, noRoom
}

func (q *queue) add(d *relay.Datagram) bool {
	if q.filling != nil {
		if q.filling.add(d) {
			return true
		}
		// One more than is waiting is being filled or published, so that there
		// is a place in full.
		next := q.empty()
		if next == nil {
			return false
		}
		q.full[(q.first+q.waiting)%q.most] = q.filling
		q.waiting++
		q.filling = next
		return q.filling.add(d)
	}
	if q.filling = q.empty(); q.filling == nil {
		return false
	}
	return q.filling.add(d)
}

// empty returns an empty message, nil if there are as many as there may be.
func (q *queue) empty() *message {
	if n := len(q.free); n > 0 {
		m := q.free[n-1]
		q.free = q.free[:n-1]
		return m
	}
	if q.made == q.most {
		return nil
	}
	q.made++
	return newMessage()
}

// take returns the next message, nil if there is none. Who took it gives it
// back with release.
func (q *queue) take() *message {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting > 0 {
		m := q.full[q.first]
		q.full[q.first] = nil
		q.first = (q.first + 1) % q.most
		q.waiting--
		return m
	}
	m := q.filling
	q.filling = nil
	return m
}

// release takes back a message that was taken.
func (q *queue) release(m *message) {
	m.reset()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.free = append(q.free, m)
}
