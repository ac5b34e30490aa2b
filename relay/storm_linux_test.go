package relay

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"udprelay/internal/testlog"
)

// A logBook keeps what is logged.
type logBook struct{ testlog.Log }

func logging(options Options) (Options, *logBook) {
	book := new(logBook)
	options.Logger = book.Logger()
	return options, book
}

// cutPeers returns whom the log names as cut.
func (l *logBook) cutPeers() (named []string) {
	for _, line := range l.Lines("storm cut") {
		if found := regexp.MustCompile(`level=WARN msg="storm cut: .*" peer=(\S+) repeats_per_second=[1-9]\d+ hint=`).FindStringSubmatch(line); found != nil {
			named = append(named, found[1])
		}
	}
	return named
}

// awaitEnd waits until the relays receive no more than most datagrams in a
// tenth of a second, in two of them in a row, and says how long that took.
func awaitEnd(t *testing.T, most uint64, relays ...*Relay) {
	t.Helper()
	received := func() (sum uint64) {
		for _, r := range relays {
			sum += r.Stats().Received
		}
		return sum
	}
	began, first := time.Now(), received()
	before := first
	for calm := 0; calm < 2; calm++ {
		if time.Since(began) > patience {
			t.Fatalf("want the storm to end; it goes on after %v, with %d datagrams; %s", patience, before-first, show(relays[0].Stats()))
		}
		time.Sleep(100 * time.Millisecond)
		now := received()
		if now-before > most {
			calm = -1
		}
		before = now
	}
	t.Logf("quiet after %v; %d datagrams came meanwhile", (time.Since(began) - 200*time.Millisecond).Round(time.Millisecond), before-first)
}

// awaitStorm waits until datagrams go round, or have until somebody was cut.
func awaitStorm(t *testing.T, books []*logBook, r *Relay) {
	t.Helper()
	await(t, func() bool {
		return r.Stats().Received > 5000 || slices.ContainsFunc(books, func(b *logBook) bool { return len(b.cutPeers()) > 0 })
	}, "want the datagrams to go round; they do not")
}

// awaitCut waits until one of the logs names peers that loop as cut. Nobody
// else may be.
func awaitCut(t *testing.T, books []*logBook, looping ...netip.AddrPort) {
	t.Helper()
	cut := func() (named []string) {
		for _, book := range books {
			named = append(named, book.cutPeers()...)
		}
		return named
	}
	await(t, func() bool { return len(cut()) > 0 }, func() string {
		return fmt.Sprintf("want a log to name some of %v as cut; got %q", looping, books[0].Lines("storm"))
	})
	for _, who := range cut() {
		if !slices.Contains(looping, netip.MustParseAddrPort(who)) {
			t.Errorf("want the log to name only %v as cut; got %s", looping, who)
		}
	}
}

// A relayRing is relays of which each has the next as a static peer.
type relayRing struct {
	relays []*Relay
	books  []*logBook
}

func newRelayRing(t *testing.T, w way, count int) *relayRing {
	ring := new(relayRing)
	for range count {
		options, book := logging(defaults())
		ring.relays = append(ring.relays, startRelay(t, w, on4, options))
		ring.books = append(ring.books, book)
	}
	for i, r := range ring.relays {
		r.SetStatic([]netip.AddrPort{ring.relays[(i+1)%count].Addr()})
	}
	return ring
}

// mend takes all links of the ring away.
func (ring *relayRing) mend() {
	for _, r := range ring.relays {
		r.SetStatic(nil)
	}
	for _, r := range ring.relays {
		for _, other := range ring.relays {
			if p := r.Peers().Lookup(other.Addr()); p != nil {
				r.Peers().Forget(p)
			}
		}
	}
}

// Each of three relays in a ring would get each datagram for ever.
func TestRelaysInARingDoNotMeltTheNetwork(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		ring := newRelayRing(t, w, 3)
		var clients []*client
		for _, r := range ring.relays {
			clients = append(clients, newPeer(t, r, r.Addr()))
		}
		for i := range 20 {
			clients[0].send(fmt.Sprintf("first %d", i))
		}
		awaitStorm(t, ring.books, ring.relays[0])
		awaitEnd(t, 10, ring.relays...)
		// It is enough if one of them breaks the ring.
		var addrs []netip.AddrPort
		for _, r := range ring.relays {
			addrs = append(addrs, r.Addr())
		}
		awaitCut(t, ring.books, addrs...)

		// While the ring lasts it works: when the trials are over, what is new
		// gets everywhere.
		for try := 1; !ringWorks(clients, try); try++ {
			if try == 20 {
				t.Fatalf("want what is new to get everywhere while the ring lasts; it does not, %d times: %s", try, show(ring.relays[0].Stats()))
			}
		}
		awaitEnd(t, 10, ring.relays...)
		storms := uint64(0)
		for _, r := range ring.relays {
			storms += r.Stats().Dropped[DropStorm]
		}
		if storms == 0 {
			t.Error("want drops counted as storm; got none")
		}

		ring.mend()
		await(t, func() bool {
			for _, book := range ring.books {
				if len(book.Lines("storm over")) != len(book.Lines("storm cut")) {
					return false
				}
			}
			return true
		}, "want the log of each relay to say that the storm is over when the ring is mended; it does not")
	})
}

// ringWorks reports whether all that clients of relays in a ring send gets to
// all others.
func ringWorks(clients []*client, try int) bool {
	for _, c := range clients {
		c.drain()
	}
	const rounds = 50
	text := func(round, i int) string { return fmt.Sprintf("try %d, round %d of %d", try, round, i) }
	for round := range rounds {
		for i, c := range clients {
			c.send(text(round, i))
		}
		time.Sleep(2 * time.Millisecond)
	}
	buffer := make([]byte, maxDatagram)
	for i, c := range clients {
		missing := make(map[string]bool)
		for round := range rounds {
			for j := range clients {
				if j != i {
					missing[text(round, j)] = true
				}
			}
		}
		c.conn.SetReadDeadline(time.Now().Add(2 * time.Second))
		for len(missing) > 0 {
			n, err := c.conn.Read(buffer)
			if err != nil {
				return false
			}
			delete(missing, string(buffer[:n]))
		}
	}
	return true
}

// echo returns a peer of r that sends back whatever it gets, until the test
// ends.
func echo(t *testing.T, r *Relay) netip.AddrPort {
	c := newPeer(t, r, near(r))
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, maxDatagram)
		for {
			n, err := c.conn.Read(buffer)
			if err != nil {
				return
			}
			c.conn.Write(buffer[:n])
		}
	}()
	t.Cleanup(func() { c.conn.Close(); <-done })
	return c.addr
}

func TestPeersThatEchoAreCut(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for _, count := range []int{2, 3} {
			t.Run(fmt.Sprint(count), func(t *testing.T) {
				// On a slow machine the storm may end before all are cut, or a cut
				// be over before the rest of the test is.
				const most = 5
				for try := 1; !echoesAreCut(t, w, count); try++ {
					if try == most {
						t.Fatalf("want all that echo cut, for as long as it takes to see that; they are not, %d times", most)
					}
				}
			})
		}
	})
}

// echoesAreCut has peers that echo make a storm, and reports whether all of them
// were cut until the end.
func echoesAreCut(t *testing.T, w way, count int) bool {
	options, book := logging(defaults())
	r := startRelay(t, w, on4, options)
	var echoes []netip.AddrPort
	for range count {
		echoes = append(echoes, echo(t, r))
	}
	speaker, listener := newPeer(t, r, r.Addr()), newPeer(t, r, r.Addr())
	roomFor(t, listener.conn, 32<<20)
	for i := range 20 {
		speaker.send(fmt.Sprintf("first %d", i))
	}
	awaitStorm(t, []*logBook{book}, r)
	stop := feed(speaker)
	defer stop()
	awaitEnd(t, 10, r)
	awaitCut(t, []*logBook{book}, echoes...)
	all := func() bool { return len(book.cutPeers()) == count && len(book.Lines("storm over")) == 0 }
	if !all() {
		return false
	}
	// They are still there, and still cut: what is new comes once.
	listener.drain()
	before := r.Stats()
	var want, got []string
	for i := range 50 {
		want = append(want, fmt.Sprintf("later %d", i))
		speaker.send(want[i])
	}
	speaker.send("last")
	ended := false
	take := func() bool { // what is left of the storm may come between
		for text, ok := listener.waiting(); ok; text, ok = listener.waiting() {
			if strings.HasPrefix(text, "later ") {
				got = append(got, text)
			}
			ended = ended || text == "last"
		}
		return ended
	}
	await(t, take, func() string { return fmt.Sprintf("want what is new; got %q, %s", got, show(r.Stats())) })
	awaitEnd(t, 10, r)
	take()
	if !all() || r.Stats().Dropped[DropReceiveQueueFull] > before.Dropped[DropReceiveQueueFull] {
		return false
	}
	if !slices.Equal(got, want) {
		t.Fatalf("want %q; got %q", want, got)
	}
	stop()
	if s := r.Stats(); s.Dropped[DropStorm] == 0 {
		t.Errorf("want drops counted as storm; got %s", show(s))
	}
	await(t, func() bool { return len(book.Lines("storm over")) > 0 }, "want the log to say that the storm is over when all are silent; it does not")
	return true
}

// feed has a client send something now and then, so that those that are cut go on
// to return something, until stop is called.
func feed(c *client) (stop func()) {
	ending, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for n := 0; ; n++ {
			select {
			case <-ending:
				return
			case <-time.After(500 * time.Millisecond):
				c.conn.Write(fmt.Appendf(nil, "beside it %d", n))
			}
		}
	}()
	return sync.OnceFunc(func() { close(ending); <-ended })
}

// A relay that is told to send to itself does not.
func TestRelayIsNotItsOwnStaticPeer(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, onAll4, defaults())
		own := []netip.AddrPort{near(r), at(r, "127.0.0.2"), r.Addr()}
		addrs, err := net.InterfaceAddrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, addr := range addrs {
			if network := addr.(*net.IPNet); network.IP.To4() != nil {
				own = append(own, at(r, network.IP.String()))
			}
		}
		if passedOver := r.SetStatic(own); len(passedOver) != len(own) {
			t.Errorf("want all of %v passed over; got %v", own, passedOver)
		}
		speaker, listener := newPeer(t, r, near(r)), newPeer(t, r, near(r))
		for i := range 100 {
			speaker.send(fmt.Sprint(i))
		}
		for i := range 100 {
			listener.wants(fmt.Sprint(i))
		}
		awaitEnd(t, 0, r)
		if s := r.Stats(); s.Received != 102 {
			t.Errorf("want 102 received; got %s", show(s))
		}
	})
}
