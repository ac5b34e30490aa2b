package relay

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// A stage is a relay with peers whose datagrams are counted, and a clock for
// those that send: it waits for the relay, so that nothing is lost because the
// machine is slow.
type stage struct {
	t     *testing.T
	relay *Relay
	book  *logBook
	sent  uint64
}

func newStage(t *testing.T, w way) *stage {
	options, book := logging(defaults())
	return &stage{t: t, relay: startRelay(t, w, on4, options), book: book}
}

// send sends a payload from a peer.
func (s *stage) send(c *client, payload string) {
	c.send(payload)
	s.sent++
}

// every calls round so many times, at the rate given, or as fast as the relay
// receives what is sent.
func (s *stage) every(rate, rounds int, round func(n int)) {
	before := s.relay.Stats().Received - s.sent
	next := time.Now()
	for n := range rounds {
		round(n)
		await(s.t, func() bool { return s.relay.Stats().Received-before >= s.sent }, "want the relay to receive what was sent; it does not")
		next = next.Add(time.Second / time.Duration(rate))
		if left := time.Until(next); left > 0 {
			time.Sleep(left)
		} else {
			next = time.Now()
			runtime.Gosched()
		}
	}
}

// costs checks that the watch for loops has cost next to nothing. How much it is
// at most is tested in simulated time: here a machine that stands still at the
// wrong moment makes a trial undecided, so that there is another.
func (s *stage) costs() {
	s.t.Helper()
	stats := s.relay.Stats()
	relayed := stats.Relayed + stats.Dropped[DropWithheld]
	if lost := stats.Dropped[DropWithheld]; lost*20 > relayed || stats.Dropped[DropStorm] > 0 {
		s.t.Errorf("want next to no datagram withheld and none dropped as a storm; got %d of %d; %s", lost, relayed, show(stats))
	}
	if lines := s.book.Lines("storm cut"); len(lines) > 0 {
		s.t.Errorf("want no peer cut; got %q", lines)
	}
	s.t.Logf("%d of %d withheld; suspected: %d", stats.Dropped[DropWithheld], relayed, len(s.book.Lines("looking for a loop")))
}

func TestHonestRepeatsOnRealSocketsLoseNextToNothing(t *testing.T) {
	for _, w := range ways[:1] {
		for _, test := range []struct {
			name string
			run  func(s *stage)
		}{
			{"two peers answer each of 600 requests per second alike", func(s *stage) {
				asks, answers := newPeer(s.t, s.relay, near(s.relay)), newPeers(s.t, s.relay, near(s.relay), 2)
				drainAll(asks)
				drainAll(answers...)
				s.every(600, 3000, func(n int) {
					s.send(asks, fmt.Sprintf("request %d", n))
					for _, c := range answers {
						s.send(c, "answered")
					}
				})
				s.costs()
			}},
			{"one of them changes its port", func(s *stage) {
				asks, answers := newPeer(s.t, s.relay, near(s.relay)), newPeers(s.t, s.relay, near(s.relay), 2)
				drainAll(asks)
				drainAll(answers...)
				s.every(600, 2000, func(n int) {
					s.send(asks, fmt.Sprintf("request %d", n))
					s.send(answers[n/1000], "answered")
				})
				s.costs()
			}},
			{"two constant payloads at 1000/s", func(s *stage) {
				list := newPeers(s.t, s.relay, near(s.relay), 3)
				drainAll(list...)
				s.every(1000, 5000, func(int) {
					for _, c := range list[:2] {
						s.send(c, "constant")
					}
				})
				s.costs()
			}},
			{"twelve receivers deliver the same frames", func(s *stage) {
				list := newPeers(s.t, s.relay, near(s.relay), 12)
				drainAll(list...)
				s.every(1000, 3000, func(n int) {
					for i := range list {
						s.send(list[(i+n)%len(list)], fmt.Sprintf("frame %d", n))
					}
				})
				s.costs()
			}},
			{"sixty clients with one keep-alive at 60 Hz", func(s *stage) {
				list := newPeers(s.t, s.relay, near(s.relay), 60)
				drainAll(list...)
				s.every(60, 300, func(int) {
					for _, c := range list {
						s.send(c, "still there")
					}
				})
				s.costs()
			}},
		} {
			t.Run(w.name+"/"+test.name, func(t *testing.T) {
				t.Parallel() // they wait more than they compute
				test.run(newStage(t, w))
			})
		}
	}
}

// drainAll has clients receive and forget what comes.
func drainAll(clients ...*client) {
	for _, c := range clients {
		go func() {
			buffer := make([]byte, maxDatagram)
			for {
				if _, err := c.conn.Read(buffer); err != nil {
					return
				}
			}
		}()
	}
}

// Two peers that echo with a counter that changes are reported, and not cut.
func TestPeersThatAnswerEachOtherAreReported(t *testing.T) {
	options, book := logging(defaults())
	r := startRelay(t, ways[0], on4, options)
	list := newPeers(t, r, near(r), 2)
	for _, c := range list {
		go func() {
			buffer := make([]byte, maxDatagram)
			for {
				n, err := c.conn.Read(buffer)
				if err != nil {
					return
				}
				binary.BigEndian.PutUint64(buffer, binary.BigEndian.Uint64(buffer)+1)
				c.conn.Write(buffer[:n])
			}
		}()
	}
	speaker := newPeer(t, r, near(r))
	drainAll(speaker)
	answering := func() bool {
		talks := r.Talks()
		return len(talks) == 1 && netip.AddrPort.Compare(talks[0].A, talks[0].B) < 0 && talks[0].PerSecond >= 500 &&
			(talks[0].A == list[0].addr && talks[0].B == list[1].addr || talks[0].A == list[1].addr && talks[0].B == list[0].addr)
	}
	speaker.send("first datagram")
	began, n := time.Now(), uint64(0)
	await(t, func() bool {
		if s := r.Stats(); time.Since(began) > time.Second && s.Received == n { // the loop has lost its last datagram
			speaker.send(fmt.Sprintf("datagram after %d", n))
			began = time.Now()
		} else {
			n = s.Received
		}
		return answering()
	}, func() string {
		return fmt.Sprintf("want %v and %v reported; got %v, %s", list[0].addr, list[1].addr, r.Talks(), show(r.Stats()))
	})
	await(t, func() bool { return len(book.Lines("answer each other")) == 1 }, func() string {
		return fmt.Sprintf("want one line in the log; got %q", book.Lines("answer each other"))
	})
	if s := r.Stats(); s.Dropped[DropStorm] > 0 {
		t.Errorf("want nothing cut; got %s", show(s))
	}
}
