package relay

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/testlog"
	"udprelay/peers"
)

// A relay is restarted again and again, and each time more comes meanwhile than
// the socket has room for: what one relay receives, with what it has dropped,
// is what was sent since the one before stopped.
func TestDropsWhileNobodyReceivedAreCountedByTheNextRelay(t *testing.T) {
	const restarts, sent = 3, 300
	for _, place := range []string{on4, on6, onAll} {
		for _, w := range ways[:2] { // the plain loop cannot know
			t.Run(fmt.Sprintf("%s/%s", place, w.name), func(t *testing.T) {
				conn := listen(t, place)
				keep := dupOf(t, conn)
				options := defaults()
				options.ReceiveBuffer = 16 << 10
				options.Peers.Expiry = time.Second // the kernel is asked each tenth of it
				var past Past
				var c *client
				for restart := range restarts + 1 {
					if restart > 0 {
						conn = connOf(t, keep)
					}
					options, log := logged(options)
					r, err := w.make(conn, options)
					if err != nil {
						t.Fatal(err)
					}
					if restart == 0 {
						c = newClient(t, near(r)) // and what it sends is dropped
						c.flood(keep, sent)
					}
					missed := r.Resume(past)
					if before := r.Past(); restart > 0 && (before.Socket != past.Socket || before.KernelDrops != dropsOf(keep)) {
						t.Errorf("want %d counted of socket %x; got %+v", dropsOf(keep), past.Socket, before)
					}
					stop := run(t, r)
					awaitStats(t, r, fmt.Sprintf("%d received or dropped, and some dropped", sent), func(s Stats) bool {
						r.Past() // while it counts
						return s.Received+s.Dropped[DropReceiveQueueFull] == sent && s.Dropped[DropReceiveQueueFull] > 1
					})
					stop()
					dropped := r.Stats().Dropped[DropReceiveQueueFull]
					wantMissed, line := dropped, fmt.Sprintf(`level=WARN msg="datagrams dropped" reason=receive_queue_full count=%d total=%[1]d hint="nobody received`, dropped)
					if restart == 0 { // it has dropped them itself
						wantMissed, line = 0, fmt.Sprintf(`level=WARN msg="datagrams dropped" reason=receive_queue_full count=%d total=%[1]d hint="datagrams come faster`, dropped)
					}
					if missed != wantMissed {
						t.Errorf("want %d dropped before; got %d", wantMissed, missed)
					}
					if text := log.String(); strings.Count(text, "reason=receive_queue_full") != 1 || !strings.Contains(text, line) {
						t.Errorf("want %s…, once; got %s", line, text)
					}
					if past = r.Past(); past.KernelDrops != dropsOf(keep) { // the socket is closed here
						t.Errorf("want %d dropped so far; got %+v", dropsOf(keep), past)
					}
					c.flood(keep, sent)
				}
			})
		}
	}
}

// flood sends so many datagrams to a socket that nobody receives from, and fails
// the test unless some are dropped.
func (c *client) flood(kept, datagrams int) {
	c.t.Helper()
	before := dropsOf(kept)
	for range datagrams {
		c.send("a datagram of some bytes")
	}
	await(c.t, func() bool { return dropsOf(kept) != before }, "want the kernel to drop datagrams; it has room for all")
}

// The numbers of another socket say nothing.
func TestThePastOfAnotherSocketIsNotResumed(t *testing.T) {
	conn := listen(t, on4)
	keep := dupOf(t, conn)
	options := defaults()
	options.ReceiveBuffer = 16 << 10
	first, err := New(conn, options)
	if err != nil {
		t.Fatal(err)
	}
	newClient(t, near(first)).flood(keep, 300)
	run(t, first)()
	past := first.Past()
	cookie, err := unix.GetsockoptUint64(keep, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil || past != (Past{cookie, dropsOf(keep)}) || past.KernelDrops < 2 {
		t.Fatalf("want socket %x, and the %d datagrams that it has dropped; got %+v, %v", cookie, dropsOf(keep), past, err)
	}
	for what, other := range map[string]Past{
		"nothing":        {},
		"another socket": {past.Socket + 1, past.KernelDrops - 1},
		"no socket":      {0, past.KernelDrops - 1},
		"one drop more":  {past.Socket, past.KernelDrops + 1},
		"the same":       past,
	} {
		next, err := New(connOf(t, keep), options)
		if err != nil {
			t.Fatal(err)
		}
		missed := next.Resume(other)
		run(t, next)()
		if got := next.Stats().Dropped[DropReceiveQueueFull]; missed != 0 || got != 0 || next.Past() != past {
			t.Errorf("%s: want nothing dropped, before or since, and %+v; got %d, %d and %+v", what, past, missed, got, next.Past())
		}
	}

	// Before Linux 5.4 two sockets of two network namespaces may have one number.
	fresh := makeRelay(t, ways[0], on4, options)
	want := Past{fresh.Past().Socket, 0}
	if missed := fresh.Resume(Past{want.Socket, 1<<32 - 7}); missed != 0 || fresh.Past() != want {
		t.Errorf("want a new socket to have no past; got %d dropped and %+v", missed, fresh.Past())
	}
}

// The kernel counts modulo 2³². What would be more than half of that is taken
// for nonsense.
func TestTotalsThatTheKernelCannotHaveHadAreNotResumed(t *testing.T) {
	for _, test := range []struct {
		total, counted uint32 // by the kernel at the start, by the relay before
		missed         uint32
		resumed        bool
	}{
		{7, 7, 0, true}, {7, 0, 7, true}, {0, 7, 0, false}, {6, 7, 0, false},
		{4, 1<<32 - 3, 7, true}, {1<<32 - 3, 4, 0, false},
		{1<<31 - 1, 0, 1<<31 - 1, true}, {1 << 31, 0, 0, false}, {0, 1 << 31, 0, false},
	} {
		s := &linuxSocket{cookie: 3, again: true, ingress: ingress{earlier: test.total}}
		resumed := s.resume(Past{3, test.counted})
		if got := test.total - s.ingress.earlier; resumed != test.resumed || got != test.missed || s.past() != (Past{3, s.ingress.earlier}) {
			t.Errorf("%d, of which %d are counted: want %d, %v; got %d, %v, %+v", test.total, test.counted, test.missed, test.resumed, got, resumed, s.past())
		}
	}
}

func TestTheOtherWaysHaveNoPast(t *testing.T) {
	r := makeRelay(t, ways[2], on4, defaults())
	if missed := r.Resume(Past{}); missed != 0 || r.Past() != (Past{}) {
		t.Errorf("want none; got %d dropped and %+v", missed, r.Past())
	}
}

// Among what was dropped meanwhile may have been keep-alives, so the peers
// may be silent for longer.
func TestPeersDoNotExpireForKeepAlivesThatCameWhileNobodyReceived(t *testing.T) {
	needLoopback(t)
	const expiry, left = time.Hour, 100 * time.Millisecond
	conn := listen(t, on4)
	keep := dupOf(t, conn)
	options := defaults()
	options.ReceiveBuffer, options.Peers.Expiry = 16<<10, expiry
	options.Peers.Access = []peers.Rule{{From: "two", Cover: []netip.Prefix{netip.MustParsePrefix("127.0.0.8/31")}, May: peers.MayBoth}}
	first, err := New(conn, options)
	if err != nil {
		t.Fatal(err)
	}
	run(t, first)()
	newClientAt(t, netip.MustParseAddrPort("127.0.0.8:0"), first.Addr()).flood(keep, 300)

	log := new(testlog.Log)
	options.Logger = log.Logger()
	next, err := New(connOf(t, keep), options)
	if err != nil {
		t.Fatal(err)
	}
	if next.Resume(first.Past()) == 0 {
		t.Fatal("want datagrams dropped before; got none")
	}
	silent := Remembered{Remembered: peers.Remembered{Addr: netip.MustParseAddrPort("127.0.0.9:9")}}
	await(t, func() bool {
		silent.Heard = time.Now().Add(left - expiry)
		silent.Joined = silent.Heard
		return next.Restore([]Remembered{silent}) == 1
	}, "want a peer restored; got none")
	run(t, next)
	await(t, func() bool { return time.Since(silent.Heard) > expiry }, "want time to go by")

	// This is logged by what has looked at the peers just before.
	newClient(t, next.Addr()).send("from one that no rule lets in")
	await(t, func() bool {
		return log.Has("reason=rule")
	}, "want the refused datagram logged; it is not")
	if next.Peers().Lookup(silent.Addr) == nil {
		t.Error("want the silent peer to stay; it has expired")
	}
}
