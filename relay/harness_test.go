package relay

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
	"udprelay/peers"
)

// patience is how long a test waits for what must come. It decides only how
// late a failure is told.
const patience = testwait.Patience

// A way is how datagrams leave, and so which code is under test.
type way struct {
	name string
	make func(*net.UDPConn, Options) (*Relay, error)
}

// eachWay runs the test once for each way that this system has.
func eachWay(t *testing.T, test func(t *testing.T, w way)) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) { test(t, w) })
	}
}

// Places to listen on.
const (
	on4    = "127.0.0.1:0"
	on6    = "[::1]:0"
	onAll  = ":0"
	onAll4 = "0.0.0.0:0"
)

// anyoneMay returns the rules that let everyone do so.
func anyoneMay(may peers.May) []peers.Rule {
	everywhere, err := peers.ParseFrom("any")
	if err != nil {
		panic(err)
	}
	return []peers.Rule{{From: "any", Cover: everywhere, May: may}}
}

// defaults are the options that tests start from.
func defaults() Options {
	return Options{
		Peers:         peers.Options{Expiry: time.Hour, Access: anyoneMay(peers.MayBoth)},
		ReceiveBuffer: 8 << 20,
		SendBuffer:    8 << 20,
	}
}

// listen opens the socket of a relay.
func listen(t testing.TB, place string) *net.UDPConn {
	t.Helper()
	network := "udp"
	switch place {
	case on4, onAll4:
		network = "udp4"
	case on6:
		network = "udp6"
	}
	if network != "udp4" {
		needIPv6(t)
	}
	addr, err := net.ResolveUDPAddr(network, place)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP(network, addr)
	if err != nil {
		t.Fatalf("listen on %s: %v", place, err)
	}
	return conn
}

func needIPv6(t testing.TB) {
	t.Helper()
	conn, err := net.ListenPacket("udp6", on6)
	testneed.True(t, err == nil, "the IPv6 loopback address: %v", err)
	conn.Close()
}

// makeRelay returns a relay that does not run; the test may call step. What it
// holds is released when the test ends.
func makeRelay(t testing.TB, w way, place string, options Options) *Relay {
	t.Helper()
	r, err := w.make(listen(t, place), options)
	if err != nil {
		t.Fatalf("make a relay on %s: %v", place, err)
	}
	t.Cleanup(func() { r.socket.close() })
	return r
}

// startRelay returns a relay that runs until the test ends.
func startRelay(t testing.TB, w way, place string, options Options) *Relay {
	t.Helper()
	r := makeRelay(t, w, place, options)
	run(t, r)
	return r
}

// run runs the relay until the test ends or stop is called, which waits for
// it to have stopped.
func run(t testing.TB, r *Relay) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		t.Helper()
		cancel()
		if stopped {
			return
		}
		stopped = true
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("want Run to end without an error; got %v", err)
			}
		case <-time.After(patience):
			t.Errorf("want Run to end when its context is cancelled; got nothing for %v", patience)
		}
	}
	t.Cleanup(stop)
	return stop
}

// at returns the address of r as one at host sees it.
func at(r *Relay, host string) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(host), r.Addr().Port())
}

// near returns the loopback address of r: of its own family, or of IPv4 if it
// has both.
func near(r *Relay) netip.AddrPort {
	if ip := r.Addr().Addr(); !ip.IsUnspecified() {
		return r.Addr()
	}
	return at(r, "127.0.0.1")
}

// await waits until ok holds. What is a text or a function that returns one,
// and says what was wanted and got.
func await(t testing.TB, ok func() bool, what any) {
	t.Helper()
	testwait.Until(t, ok, what)
}

// awaitStats waits until the counts of r are as ok wants them.
func awaitStats(t testing.TB, r *Relay, want string, ok func(Stats) bool) {
	t.Helper()
	await(t, func() bool { return ok(r.Stats()) }, func() string { return fmt.Sprintf("want %s; got %s", want, show(r.Stats())) })
}

// settle waits until r, which runs, has counted what it has received and its
// clients have got: a batch counts only when it has left.
func settle(t testing.TB, r *Relay) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 2 { // the first may come within the batch
		if err := r.Turn(ctx); err != nil {
			t.Fatalf("want a relay that goes on; got %v", err)
		}
	}
}

// show writes the counts for messages of tests.
func show(s Stats) string {
	text := fmt.Sprintf("received %d (%d bytes), keep-alives %d, relayed %d (%d due), delivered %d (%d bytes)", s.Received, s.ReceivedBytes, s.KeepAlives, s.Relayed, s.Due, s.Delivered, s.DeliveredBytes)
	for _, reason := range Drops() {
		if n := s.Dropped[reason]; n != 0 {
			text += fmt.Sprintf(", dropped %s %d", reason, n)
		}
	}
	return text
}

// checkNoDrops fails the test if r has dropped anything.
func checkNoDrops(t testing.TB, r *Relay) {
	t.Helper()
	if s := r.Stats(); slices.Max(s.Dropped[:]) != 0 {
		t.Errorf("want no drops; got %s", show(s))
	}
}

// needLoopback is for tests with several clients of IPv4 loopback addresses.
func needLoopback(t testing.TB) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.4:0")
	testneed.True(t, err == nil, "all of 127.0.0.0/8 on the loopback interface: %v", err)
	conn.Close()
}
