package gateway

import (
	"bytes"
	"testing"

	"udprelay/internal/framing"
	"udprelay/relay"
)

// datagrams returns so many of so many bytes.
func datagrams(count, size int) []relay.Datagram {
	batch := make([]relay.Datagram, count)
	for i := range batch {
		batch[i].Payload = bytes.Repeat([]byte{byte(i)}, size)
	}
	return batch
}

func TestQueueTakesWhatThereIsRoomFor(t *testing.T) {
	for _, c := range []struct {
		name         string
		most         int
		batches      [][]relay.Datagram
		full, tooBig int
		waiting      int // datagrams
	}{
		{"all", 1000, [][]relay.Datagram{datagrams(10, 98)}, 0, 0, 10},
		{"one too many", 999, [][]relay.Datagram{datagrams(10, 98)}, 1, 0, 9},
		{"smaller ones do not overtake", 1000, [][]relay.Datagram{append(datagrams(9, 98), append(datagrams(1, 200), datagrams(5, 1)...)...)}, 6, 0, 9},
		{"but later ones may", 1000, [][]relay.Datagram{append(datagrams(9, 98), datagrams(1, 200)...), datagrams(2, 10)}, 1, 0, 11},
		{"an empty queue takes any", 100, [][]relay.Datagram{datagrams(2, 65535)}, 1, 0, 1},
		{"none that is no frame", 1 << 20, [][]relay.Datagram{append(datagrams(2, 65536), datagrams(3, 1)...)}, 0, 2, 3},
	} {
		q := newQueue(c.most)
		full, tooBig := 0, 0
		for _, batch := range c.batches {
			f, b := q.add(batch)
			full, tooBig = full+f, tooBig+b
		}
		if full != c.full || tooBig != c.tooBig {
			t.Errorf("%s: want no room for %d and %d too big; got %d and %d", c.name, c.full, c.tooBig, full, tooBig)
		}
		frames := q.take()
		if n, _ := framing.Count(frames); n != c.waiting || q.waiting != len(frames) {
			t.Errorf("%s: want %d waiting; got %d, of %d bytes and %d counted", c.name, c.waiting, n, len(frames), q.waiting)
		}
		// What is taken takes room until it is sent.
		if full, _ := q.add(datagrams(20, min(c.most, framing.MaxPayload))); full == 0 {
			t.Errorf("%s: want no room while that is being sent; there was", c.name)
		}
		q.sent(len(frames))
		q.release()
		if full, _ := q.add(datagrams(1, min(c.most-2, 60_000))); full != 0 || len(q.take()) == 0 {
			t.Errorf("%s: want room when it is sent; there was none", c.name)
		}
		q.close()
		if full, tooBig := q.add(datagrams(3, 70_000)); full != 3 || tooBig != 0 || q.take() != nil {
			t.Errorf("%s: want nothing taken when it is closed; got %d, %d", c.name, full, tooBig)
		}
	}
}

func TestPiecesAreWholeFrames(t *testing.T) {
	for _, sizes := range [][]int{{}, {0}, {1, 2, 3}, {60_000, 5000, 700}, {65535, 65535}, {0, 65535, 0}, {pieceSize - 2, 1}, {pieceSize - 3, 0, 0}} {
		var frames []byte
		for _, size := range sizes {
			frames = framing.Append(frames, make([]byte, size))
		}
		count, pieces := 0, 0
		for rest := frames; len(rest) > 0; pieces++ {
			n := pieceOf(rest)
			inIt, bytes := framing.Count(rest[:n])
			if inIt == 0 || bytes+inIt*framing.HeaderSize != n || inIt > 1 && n > pieceSize {
				t.Fatalf("%v: want whole frames, at least one, at most %d bytes; got %d of %d bytes", sizes, pieceSize, inIt, n)
			}
			count += inIt
			rest = rest[n:]
		}
		if count != len(sizes) || pieces > len(sizes) {
			t.Errorf("%v: want all frames; got %d", sizes, count)
		}
	}
}

// The datapath pays for no allocation.
func TestDeliverAllocatesNothing(t *testing.T) {
	if raceDetector {
		t.Log("the race detector allocates: this is tested without it")
		return
	}
	r := openRoom(t, nil)
	l := &listener{gateway: r.gateway, way: byTCP}
	batch := datagrams(64, 500)
	for name, drain := range map[string]bool{"with room": true, "without": false} {
		c := l.newClient(nil, r.addr(0), 1)
		if why, done := c.admit(0); why != 0 || !done {
			t.Fatalf("want the client in; got %v", why)
		}
		allocs := testing.AllocsPerRun(1000, func() {
			c.Deliver(batch)
			if drain {
				c.queue.sent(len(c.queue.take()))
				c.queue.release()
			}
		})
		if allocs != 0 {
			t.Errorf("%s: want no allocation for a batch; got %v", name, allocs)
		}
		c.place.Detach()
	}
}
