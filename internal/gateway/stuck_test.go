package gateway

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"udprelay/internal/framing"
	"udprelay/peers"
	"udprelay/relay"
)

// stick returns a TCP client that is in the room and reads nothing.
func (r *room) stick() *streamTalker {
	r.t.Helper()
	conn := r.dial(peers.TCP, "")
	conn.SetReadBuffer(2 << 10)
	c := newStreamTalker(r.t, conn)
	r.awaitIn(c.address())
	return c
}

// Who takes nothing loses datagrams and then its connection, and nobody else
// notices.
func TestStuckClientCostsNobodyElseADatagram(t *testing.T) {
	const stuckFor = time.Second
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.Queue = 512 << 10 }, func(g *Gateway) { g.waits.stuck = stuckFor })
	stuck := r.stick()
	p := r.peer(stuck.address())
	live := []talker{r.udp(), r.udp(), r.tcp(), r.tcp()}

	var began, ended time.Time // of its being stuck
	var watch sync.WaitGroup
	done := make(chan struct{})
	watch.Go(func() {
		for ; ; time.Sleep(time.Millisecond) {
			switch {
			case began.IsZero() && r.relay.Stats().Dropped[relay.DropQueueFull] > 0:
				began = time.Now()
			case r.gateway.Stats().Ended[Stuck] == 1:
				ended = time.Now()
				return
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	rounds := 0
	for until := time.Now().Add(patience); r.gateway.Stats().Ended[Stuck] == 0 && time.Now().Before(until); rounds++ {
		converseBeside(r, live, 200, 1)
		if t.Failed() {
			break
		}
	}
	close(done)
	watch.Wait()
	if ended.IsZero() || began.IsZero() {
		t.Fatalf("want the connection of the stuck one ended; got %v, %+v", r.gateway.Stats().Ended, r.relay.Stats())
	}
	t.Logf("%d rounds; it ended %v after its queue was full", rounds, ended.Sub(began).Round(time.Millisecond))
	r.awaitPeers(len(live))
	r.balance()
	s, of := r.relay.Stats(), r.relay.PeerStats(p)
	for why, count := range s.Dropped {
		if drop := relay.Drop(why); count > 0 && (count != of.Dropped[why] || drop != relay.DropQueueFull && drop != relay.DropDisconnected) {
			t.Errorf("want all drops to be of the stuck one, for its queue; got %d as %v, of it %d", count, drop, of.Dropped[why])
		}
	}
	if of.Dropped[relay.DropQueueFull] == 0 {
		t.Errorf("want its queue full; got %+v", of)
	}
	if got := r.log.Lines("reason=stuck"); len(got) != 1 || !strings.Contains(got[0], "level=WARN") {
		t.Errorf("want a warning; got %q", got)
	}
	for _, c := range live {
		wantNothingMore(r, c, live)
	}
}

// A trickle is a connection that takes a few bytes at a time, and then none in
// time.
type trickle struct {
	net.Conn
	takes []int
	got   []byte
}

func (c *trickle) SetWriteDeadline(time.Time) error { return nil }

func (c *trickle) Write(b []byte) (n int, err error) {
	if len(c.takes) > 0 {
		n, c.takes = min(c.takes[0], len(b)), c.takes[1:]
	}
	c.got = append(c.got, b[:n]...)
	if n < len(b) {
		return n, &net.OpError{Op: "write", Err: os.ErrDeadlineExceeded}
	}
	return n, nil
}

// Who takes little, but takes it, is not stuck.
func TestWhoTakesLittleIsNotStuck(t *testing.T) {
	frames := framing.Append(framing.Append(framing.Append(nil, []byte("one")), []byte("two")), []byte("three"))
	for _, c := range []struct {
		takes []int
		sent  int // bytes, in whole frames
	}{
		{[]int{100}, 17}, {[]int{1, 1, 1, 14}, 17}, {[]int{5, 5, 6, 1}, 17},
		{nil, 0}, {[]int{4}, 0}, {[]int{5}, 5}, {[]int{1, 8}, 5}, {[]int{5, 5}, 10}, {[]int{16}, 10}, {[]int{3, 0, 14}, 0},
	} {
		conn := &trickle{takes: c.takes}
		s := &stream{conn: &paced{Conn: conn}}
		sent, err := s.send(frames)
		if sent != c.sent || (err == nil) != (sent == len(frames)) || err != nil && reasonOf(err) != Stuck {
			t.Errorf("takes %v: want %d bytes sent, stuck unless these are all; got %d, %v", c.takes, c.sent, sent, err)
		}
		if !bytes.HasPrefix(frames, conn.got) {
			t.Errorf("takes %v: want the frames as they are; got %q", c.takes, conn.got)
		}
	}
}

// What a stuck one has been sent is its queue, and what the kernel takes.
func TestQueueIsBounded(t *testing.T) {
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.Queue = 128 << 10 })
	stuck, sender := r.stick(), r.tcp()
	p := r.peer(stuck.address())
	var queue *queue
	r.gateway.mu.Lock()
	for c := range r.gateway.clients {
		if c.addr == stuck.address() {
			queue = c.queue
		}
	}
	r.gateway.mu.Unlock()
	held := func() (waiting, room int) {
		queue.mu.Lock()
		defer queue.mu.Unlock()
		if queue.frames != nil {
			room = cap(*queue.frames)
		}
		return queue.waiting, room
	}
	fill := func(most int) {
		t.Helper()
		before := r.relay.PeerStats(p).Dropped[relay.DropQueueFull]
		await(t, func() bool {
			sender.sayAll(strings.Repeat("x", 1400), strings.Repeat("y", 100), strings.Repeat("z", 1400))
			waiting, room := held()
			if waiting > most || room > 2*most {
				t.Fatalf("want at most %d bytes to wait; got %d, in %d bytes", most, waiting, room)
			}
			return waiting > most-4<<10 && r.relay.PeerStats(p).Dropped[relay.DropQueueFull] > before+500
		}, func() string {
			return fmt.Sprintf("want the queue of %d bytes full; got %+v", most, r.relay.PeerStats(p))
		})
	}
	fill(128 << 10)
	r.apply(func(o *Options) { o.Queue = 256 << 10 }) // also for those that are there
	fill(256 << 10)
	stuck.conn.Close()
	r.awaitPeers(1)
	r.balance()
	if of := r.relay.PeerStats(p); of.Dropped[relay.DropDisconnected] == 0 {
		t.Errorf("want what waited counted as disconnected; got %+v", of)
	}
}

// What was not dropped comes in order, once the client takes it again.
func TestStuckClientThatRecoversHearsWhatWaited(t *testing.T) {
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.Queue = 64 << 10 })
	stuck, sender := r.stick(), r.tcp()
	p := r.peer(stuck.address())
	said := 0
	for ; r.relay.PeerStats(p).Dropped[relay.DropQueueFull] == 0; said++ {
		sender.say(fmt.Sprintf("%d %s", said, strings.Repeat("x", 1000)))
	}
	last, heard := -1, uint64(0)
	hear := func() int {
		payload, err := stuck.hear()
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		fmt.Sscan(payload, &n)
		if n <= last {
			t.Errorf("want what was said after %d; got %d", last, n)
		}
		last, heard = n, heard+1
		return n
	}
	// It takes until there is room again, and a mark gets through. If one is
	// dropped, there is something else to hear.
	first := said
	await(t, func() bool {
		sender.say(fmt.Sprintf("%d mark", said))
		said++
		return hear() >= first
	}, func() string { return "want it to hear again" })
	r.awaitRelayed(uint64(said))
	r.balance()
	var of relay.PeerStats
	await(t, func() bool {
		of = r.relay.PeerStats(p)
		for heard < of.Delivered {
			hear()
		}
		return of.Delivered >= heard && of.Delivered+of.Dropped[relay.DropQueueFull] >= uint64(said)
	}, func() string {
		return fmt.Sprintf("want %d said accounted for, %d of them heard; got %+v", said, heard, of)
	})
	if of.Delivered != heard || of.Delivered+of.Dropped[relay.DropQueueFull] != uint64(said) {
		t.Errorf("want %d said, %d of them delivered; got %+v", said, heard, of)
	}
}
