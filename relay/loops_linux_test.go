package relay

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// delayedEcho returns a peer of r that sends back whatever it gets, so much
// later, until the test ends.
func delayedEcho(t *testing.T, r *Relay, delay time.Duration) netip.AddrPort {
	c := newPeer(t, r, near(r))
	type held struct {
		payload []byte
		until   time.Time
	}
	queue := make(chan held, 1<<16)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for h := range queue {
			time.Sleep(time.Until(h.until))
			c.conn.Write(h.payload)
		}
	}()
	go func() {
		defer close(queue)
		buffer := make([]byte, maxDatagram)
		for {
			n, err := c.conn.Read(buffer)
			if err != nil {
				return
			}
			select {
			case queue <- held{append([]byte(nil), buffer[:n]...), time.Now().Add(delay)}:
			default: // as a socket whose buffer is full
			}
		}
	}()
	t.Cleanup(func() { c.conn.Close(); <-done })
	return c.addr
}

// A loop is found though it takes long, and though a limit for each peer hides
// most of what it repeats; what is new passes all the while.
func TestLoopsAreCutBesideHonestTraffic(t *testing.T) {
	for _, test := range []struct {
		name   string
		delay  time.Duration
		limits Limits
	}{
		{"at once", 0, Limits{}},
		{"after 0.6 s", 600 * time.Millisecond, Limits{}},
		{"below a limit for each peer", 20 * time.Millisecond, Limits{PeerDatagrams: 200}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // they wait more than they compute
			options, book := logging(defaults())
			options.Limits = test.limits
			r := startRelay(t, ways[0], on4, options)
			echoes := []netip.AddrPort{delayedEcho(t, r, test.delay), delayedEcho(t, r, test.delay)}
			speaker, listener := newPeer(t, r, near(r)), newPeer(t, r, near(r))
			drainAll(speaker, listener)
			n := 0
			began := time.Now()
			await(t, func() bool {
				speaker.send(fmt.Sprintf("datagram %d", n))
				n++
				time.Sleep(5 * time.Millisecond)
				return len(book.cutPeers()) >= 2
			}, func() string {
				return fmt.Sprintf("want both echoes cut; got %q, %s", book.Lines("storm"), show(r.Stats()))
			})
			t.Logf("both are cut after %v", time.Since(began).Round(time.Millisecond))
			awaitCut(t, []*logBook{book}, echoes...)
			of := r.PeerStats(r.Peers().Lookup(speaker.addr))
			if lost := of.Dropped[DropWithheld]; lost > 40 || of.Dropped[DropStorm] > 0 {
				t.Errorf("want at most 40 datagrams of the speaker withheld in two trials; got %d, and %d dropped as a storm", lost, of.Dropped[DropStorm])
			}
		})
	}
}
