package gateway

import (
	"sync"

	"udprelay/internal/framing"
	"udprelay/relay"
)

// A queue is what waits to be written to a client, as frames. The datapath
// fills it and never waits; the client's writer empties it. An empty one has no
// memory but its own.
type queue struct {
	more chan struct{} // has an entry when there is something

	mu      sync.Mutex // guards what follows
	frames  *[]byte    // of buffers; nil: nothing waits to be taken
	waiting int        // bytes, those included that are taken and not sent
	most    int        // that may wait
	closed  bool

	taken *[]byte // belongs to the writer
}

// buffers are those that no queue needs now.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 2<<10)) }}

func newQueue(most int) *queue { return &queue{more: make(chan struct{}, 1), most: most} }

// add adds datagrams as long as there is room for them, and returns how many
// there was none for, and how many are longer than a frame can be. One fits
// always if nothing waits. Smaller ones do not overtake.
func (q *queue) add(batch []relay.Datagram) (full, tooBig int) {
	added := false
	q.mu.Lock()
	for i := range batch {
		payload := batch[i].Payload
		size := framing.HeaderSize + len(payload)
		if !q.closed && len(payload) > framing.MaxPayload {
			tooBig++
			continue
		}
		if q.closed || full > 0 || q.waiting > 0 && q.waiting+size > q.most {
			full++
			continue
		}
		if q.frames == nil {
			if q.frames = buffers.Get().(*[]byte); cap(*q.frames) > 2*q.most {
				q.frames = new([]byte) // that one was of a longer queue
			}
		}
		*q.frames = framing.Append(*q.frames, payload)
		q.waiting += size
		added = true
	}
	q.mu.Unlock()
	if added {
		select {
		case q.more <- struct{}{}:
		default:
		}
	}
	return full, tooBig
}

// take returns what waits. It is good until release, which must come before the
// next call.
func (q *queue) take() []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.taken, q.frames = q.frames, nil; q.taken == nil {
		return nil
	}
	return *q.taken
}

// sent makes room, for so many bytes of what was taken do not wait any more.
func (q *queue) sent(bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting -= bytes
}

// release is told that what was taken is not needed any more.
func (q *queue) release() {
	if q.taken != nil {
		*q.taken = (*q.taken)[:0]
		buffers.Put(q.taken)
		q.taken = nil
	}
}

// close has nothing more added.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// setMost changes how many bytes may wait.
func (q *queue) setMost(most int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.most = most
}
