package relay

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

// errorsWaiting reads the errors that wait, a batch of them at most, and says
// how many there were.
func errorsWaiting(r *Relay) (count int) {
	s := r.socket.(*linuxSocket)
	s.errors.tell = func(netip.AddrPort, Report, []byte) bool { return true }
	s.raw.Control(func(fd uintptr) { count, _ = s.errors.read(fd) })
	return count
}

// Errors take room in the receive buffer, so they must not pile up while there
// is always something to receive.
func TestErrorsDoNotFillTheReceiveBuffer(t *testing.T) {
	r := makeRelay(t, ways[1], on4, defaults())
	c := newClient(t, r.Addr())
	r.SetStatic([]netip.AddrPort{closedPort(t, on4)})
	a := r.Attach(discard{})
	const errors = 300
	for i := range errors {
		bring(t, a, fmt.Sprint("to nobody ", i))
	}
	want := uint64(errors) // brought
	for range errorsEvery + 1 {
		for i := range maxBatch {
			c.send(fmt.Sprint(i))
		}
		want += maxBatch
		for r.Stats().Received < want {
			if err := r.step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What was relayed in the last steps has brought new ones.
	r.SetStatic(nil)
	for range 2 * errorsEvery {
		c.send("one more")
		if err := r.step(); err != nil {
			t.Fatal(err)
		}
	}
	if n := errorsWaiting(r); n > 0 {
		t.Errorf("want all errors read; got %d or more that wait", n)
	}
}

// An IPv6 datagram can be longer than any of IPv4. The kernel notes each try to
// send it in the error queue.
func TestDatagramThatIsTooLongForIPv4IsNotTried(t *testing.T) {
	needIPv6(t)
	r := makeRelay(t, ways[0], onAll, defaults())
	var static []netip.AddrPort
	for _, s := range newSinks(t, "127.0.0.1", 50) {
		static = append(static, s.addr)
	}
	r.SetStatic(static)
	a := r.Attach(discard{})
	if err := a.Bring([]Datagram{{Payload: bytes.Repeat([]byte{'x'}, 65520)}}); err != nil {
		t.Fatal(err)
	}
	if s := r.Stats(); s.Dropped[DropTooBig] != 50 || s.Delivered != 0 {
		t.Errorf("want 50 dropped as too_big; got %s", show(s))
	}
	if n := errorsWaiting(r); n > 0 {
		t.Errorf("want no errors; got %d or more", n)
	}
}

// A static peer that speaks but cannot be reached fails again and again. Package
// logs bounds the lines.
func TestStaticPeerThatFlapsIsLoggedEachTime(t *testing.T) {
	options, book := logging(defaults())
	r := makeRelay(t, ways[0], on4, options)
	addr := numbered(1)
	r.Peers().SetStatic([]netip.AddrPort{addr}, time.Now())
	p := r.Peers().Lookup(addr)
	const times = 50
	for i := range int64(times) {
		r.quarantine(p, 1+i*int64(time.Millisecond))
		r.isBack(p)
	}
	if n := len(book.Lines("level=WARN msg=\"static peer cannot be reached\"")); n != times {
		t.Errorf("want %d lines in the log; got %d", times, n)
	}
	if p.Path.Failures != (peers.Failures{}) {
		t.Errorf("want no failures of a peer that is back; got %+v", p.Path.Failures)
	}
}
