package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	// speakers is how many origins there are; all of them also receive.
	speakers = 10

	// blockLength times two is how many datagrams of an origin may be under
	// way. All of them, to all, must fit the kernel's queue between sending
	// and receiving (net.core.netdev_max_backlog, by default 1,000): 10 × 8
	// come in, and 9 times as many leave.
	blockLength = 4

	// fence is what the last datagram is, by none of the origins.
	fence = "the end"
)

// TestMillionDatagramsKeepOrderAndPayload: every receiver gets exactly what
// the others said, each in order, bit for bit, and nothing of its own.
func TestMillionDatagramsKeepOrderAndPayload(t *testing.T) {
	million := 1_000_000
	if raceEnabled || testing.Short() {
		million /= 10
	}
	places := []struct {
		name, listen string
		hosts        []string
	}{
		{"IPv4", on4, []string{"127.0.0.1"}},
		{"IPv6", on6, []string{"::1"}},
		{"mixed", onAll, []string{"127.0.0.1", "::1", "127.0.0.2"}},
	}
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range places {
			t.Run(place.name, func(t *testing.T) {
				var hosts []string
				for i := range speakers {
					hosts = append(hosts, place.hosts[i%len(place.hosts)])
				}
				// One datagram said is delivered to all others.
				said := million/len(places)/speakers/(speakers-1) + 1
				talk(t, w, place.listen, hosts, said)
			})
		}
	})
}

// A conversation is everyone speaking to everyone.
type conversation struct {
	*testing.T
	clients  []*client
	each     int // datagrams that each says
	longest  int // bytes in a datagram
	block    pacer
	credit   [][]chan struct{} // by speaker and hearer: one for each block heard
	heard    atomic.Int64
	whatever context.Context // ends when there is a failure
	fail     context.CancelCauseFunc
}

// talk lets clients at hosts say so many datagrams each.
func talk(t *testing.T, w way, place string, hosts []string, each int) {
	r := makeRelay(t, w, place, defaults())
	var spied spy
	trains := spied.watch(r.receiving.sender)
	run(t, r)

	c := &conversation{T: t, each: each}
	room := roomOf(t, r)
	for _, host := range hosts {
		client := newClient(t, at(r, host))
		room = min(room, roomFor(t, client.conn, 8<<20))
		client.join(r)
		c.clients = append(c.clients, client)
	}
	last := newClient(t, near(r))
	before := r.Stats()

	// Two blocks of each origin may be under way at a time.
	c.block = pacer{most: blockLength, room: room / len(hosts) / 4}
	c.longest = min(65507, (c.block.room-kernelCost(0))/2)
	if c.longest < 65507 {
		t.Logf("the receive buffers of this system have room for %d bytes: no datagram is longer than %d", room, c.longest)
	}
	c.run(r)
	last.send(fence)
	for i, client := range c.clients {
		if got := client.receive(); got != fence {
			t.Errorf("want nothing more at receiver %d; got %s", i, short(got))
		}
	}

	said := uint64(each * len(hosts))
	want := before
	want.Received += said + 1
	want.Relayed += said + 1
	want.Due += said*uint64(len(hosts)-1) + uint64(len(hosts))
	want.Delivered += said*uint64(len(hosts)-1) + uint64(len(hosts))
	awaitStats(t, r, fmt.Sprintf("received %d, delivered %d, no drops", want.Received, want.Delivered), func(s Stats) bool {
		want.ReceivedBytes, want.DeliveredBytes = s.ReceivedBytes, s.DeliveredBytes
		return s == want
	})
	if trains {
		spied.check(t)
	}
}

// run has everyone speak and hear, and returns when all is heard.
func (c *conversation) run(r *Relay) {
	c.whatever, c.fail = context.WithCancelCause(c.Context())
	defer c.fail(nil)
	c.credit = make([][]chan struct{}, len(c.clients))
	for i := range c.credit {
		for range c.clients {
			c.credit[i] = append(c.credit[i], make(chan struct{}, 2))
		}
	}
	release := context.AfterFunc(c.whatever, func() {
		for _, client := range c.clients {
			client.conn.SetReadDeadline(time.Unix(1, 0))
		}
	})
	var all sync.WaitGroup
	for i := range c.clients {
		for _, part := range []func(int) error{c.speak, c.hear} {
			all.Go(func() {
				if err := part(i); err != nil {
					c.fail(err)
				}
			})
		}
	}
	watching := make(chan struct{})
	go func() { c.watch(); close(watching) }()
	all.Wait()
	release()
	failure := context.Cause(c.whatever)
	c.fail(nil)
	<-watching
	if failure != nil {
		c.Fatalf("%v; the relay: %s", failure, show(r.Stats()))
	}
}

// speak says everything that client i has to say.
func (c *conversation) speak(i int) error {
	words, blocks := newSpeech(byte(i), c.longest), c.block
	payload := make([]byte, 0, maxDatagram)
	for range 2 {
		c.hearers(i, func(credit chan struct{}) { credit <- struct{}{} })
	}
	for begins, n := true, 0; n < c.each; n++ {
		if begins {
			c.hearers(i, func(credit chan struct{}) {
				select {
				case <-credit:
				case <-c.whatever.Done():
				}
			})
		}
		if c.whatever.Err() != nil {
			return nil
		}
		payload = words.say(payload[:0])
		begins = blocks.ends(len(payload))
		if _, err := c.clients[i].conn.Write(payload); err != nil {
			return fmt.Errorf("origin %d sends datagram %d of %d bytes: %w", i, n, len(payload), err)
		}
	}
	return nil
}

// hearers does something with the credit that each hearer gives speaker i.
func (c *conversation) hearers(i int, do func(chan struct{})) {
	for j := range c.clients {
		if j != i {
			do(c.credit[i][j])
		}
	}
}

// hear hears what all the others say to client j.
func (c *conversation) hear(j int) error {
	speeches, blocks := make([]*speech, len(c.clients)), make([]pacer, len(c.clients))
	for i := range speeches {
		speeches[i], blocks[i] = newSpeech(byte(i), c.longest), c.block
	}
	buffer := make([]byte, maxDatagram)
	for range c.each * (len(c.clients) - 1) {
		n, err := c.clients[j].conn.Read(buffer)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
			return nil // the failure is told already
		case err != nil:
			return fmt.Errorf("receiver %d: %w", j, err)
		case n == 0 || int(buffer[0]) >= len(speeches):
			return fmt.Errorf("receiver %d: want a datagram of one of %d origins; got %q", j, len(speeches), buffer[:min(n, 60)])
		}
		i := int(buffer[0])
		if i == j {
			return fmt.Errorf("receiver %d: want no datagram of its own; got one of %d bytes", j, n)
		}
		if err := speeches[i].hear(buffer[:n]); err != nil {
			return fmt.Errorf("receiver %d: %w", j, err)
		}
		c.heard.Add(1)
		if blocks[i].ends(n) {
			c.credit[i][j] <- struct{}{}
		}
	}
	return nil
}

// watch ends the conversation if nobody hears anything for a while.
func (c *conversation) watch() {
	ticker := time.NewTicker(patience)
	defer ticker.Stop()
	for was := int64(-1); ; {
		select {
		case <-c.whatever.Done():
			return
		case <-ticker.C:
			now := c.heard.Load()
			if now == was {
				c.fail(fmt.Errorf("want %d datagrams heard; got %d and no more for %v", c.each*len(c.clients)*(len(c.clients)-1), now, patience))
			}
			was = now
		}
	}
}
