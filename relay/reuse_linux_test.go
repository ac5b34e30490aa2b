package relay

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"udprelay/internal/nettest"
	"udprelay/internal/testneed"
)

// connOf makes a connection of another descriptor of the socket, as a process
// does that got one from somebody.
func connOf(t testing.TB, kept int) *net.UDPConn {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(kept), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	conn, err := net.FilePacketConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return conn.(*net.UDPConn)
}

// A relay stops, the next goes on with its socket and its peers, again and
// again: all that was said before, between and after reaches everyone once and
// in order.
func TestNextRelayGoesOnWithTheSocket(t *testing.T) {
	const restarts, each = 5, 100
	for _, place := range []string{on4, onAll} {
		eachWay(t, func(t *testing.T, w way) {
			conn := listen(t, place)
			keep := dupOf(t, conn)
			var r *Relay
			var clients []*client
			said := 0
			say := func() {
				for range each {
					clients[0].send(fmt.Sprint(said))
					said++
				}
			}
			for restart := range restarts {
				if restart > 0 {
					say() // nobody receives, it waits
					conn = connOf(t, keep)
				}
				next, err := w.make(conn, defaults())
				if err != nil {
					t.Fatalf("want the socket to be taken over a %d. time; got %v", restart, err)
				}
				next.grace = patience
				if r != nil {
					if got := next.Restore(r.Remember()); got != 3 {
						t.Fatalf("want 3 peers restored; got %d", got)
					}
				}
				r = next
				stop := run(t, r)
				if restart == 0 {
					clients = newPeers(t, r, near(r), 3)
				}
				say()
				stop()
			}
			last, err := w.make(connOf(t, keep), defaults())
			if err != nil {
				t.Fatal(err)
			}
			last.Restore(r.Remember())
			run(t, last)
			for _, c := range clients[1:] {
				for n := range said {
					c.wants(fmt.Sprint(n))
				}
			}
			checkNoDrops(t, last)
		})
	}
}

// What the kernel has dropped while another relay had the socket was counted by
// that one.
func TestDropsOfTheRelayBeforeAreNotCountedAgain(t *testing.T) {
	testneed.Root(t)
	for _, place := range []string{on4, onAll} {
		conn := listen(t, place)
		roomFor(t, conn, 4096)
		keep := dupOf(t, conn)
		options := defaults()
		options.ReceiveBuffer = 0
		flood := func(to netip.AddrPort) uint64 {
			c := newClient(t, to)
			for before, _ := dropsAt(uintptr(keep)); ; {
				c.send(strings.Repeat("x", 1000))
				if now, _ := dropsAt(uintptr(keep)); now >= before+10 {
					return uint64(now - before)
				}
			}
		}
		r, err := New(conn, options)
		if err != nil {
			t.Fatal(err)
		}
		dropped := flood(near(r)) // nobody receives
		run(t, r)()
		if got := r.Stats().Dropped[DropReceiveQueueFull]; got != dropped {
			t.Errorf("on %s: want %d dropped; got %d", place, dropped, got)
		}
		next, err := New(connOf(t, keep), options)
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, next)
		stop()
		if got := next.Stats().Dropped[DropReceiveQueueFull]; got != 0 {
			t.Errorf("on %s: want nothing dropped; got %d", place, got)
		}
	}
}

// Errors that a relay before has caused wait in the socket, beside datagrams.
func TestSocketWithErrorsThatWaitIsTakenOver(t *testing.T) {
	for _, place := range []string{on4, on6, onAll} {
		eachWay(t, func(t *testing.T, w way) {
			conn := listen(t, place)
			addr := unmap(conn.LocalAddr().(*net.UDPAddr).AddrPort())
			if addr.Addr().IsUnspecified() {
				addr = netip.AddrPortFrom(localhost4, addr.Port())
			}
			fd := dupOf(t, conn)
			if err := (&linuxSocket{v6: place != on4}).askForErrors(fd, 1); err != nil {
				t.Fatal(err)
			}
			c, gone := newClient(t, addr), newClient(t, addr)
			gone.conn.Close()
			for n := range 10 {
				c.send(fmt.Sprint("waits ", n))
			}
			for range 5 { // each but the first meets the error of the one before
				conn.WriteToUDPAddrPort([]byte("to nobody"), gone.addr)
			}
			await(t, func() bool {
				poll := []unix.PollFd{{Fd: int32(fd)}}
				unix.Poll(poll, 0)
				return poll[0].Revents&unix.POLLERR != 0
			}, "want an error that waits; there is none")
			r, err := w.make(conn, defaults())
			if err != nil {
				t.Fatalf("want the socket to be taken over; got %v", err)
			}
			link := newRecorder("link")
			r.Attach(link)
			run(t, r)
			got := link.take(t, 10)
			if !slices.IsSorted(got) || len(got) != 10 {
				t.Errorf("want the 10 datagrams that waited, in order; got %q", got)
			}
			c.send("more")
			link.wants(t, "more")
			checkNoDrops(t, r)
		})
	}
}

func TestBuffersChangeWhileTheRelayRuns(t *testing.T) {
	options := defaults()
	options.ReceiveBuffer, options.SendBuffer = 64<<10, 64<<10
	options, log := logged(options)
	r := startRelay(t, ways[0], on4, options)
	clients := newPeers(t, r, near(r), 2)
	want := func(receive, send int) {
		t.Helper()
		gotReceive, gotSend := buffersOf(t, r)
		if gotReceive != 2*receive || gotSend != 2*send {
			t.Errorf("want buffers of %d and %d bytes; got %d and %d", receive, send, gotReceive/2, gotSend/2)
		}
		if got := int(r.socket.(*linuxSocket).room.Load()); got != gotSend {
			t.Errorf("want room for %d bytes; got %d", gotSend, got)
		}
		clients[0].send("still")
		clients[1].wants("still")
	}
	want(64<<10, 64<<10)
	options.ReceiveBuffer, options.SendBuffer = 100<<10, 0
	r.Apply(options)
	want(100<<10, 64<<10)
	options.ReceiveBuffer, options.SendBuffer = 0, 120<<10
	r.Apply(options)
	want(100<<10, 120<<10)
	// What others have set since stays, if the option does.
	r.socket.setBuffers(80<<10, 0, options.Logger)
	r.Apply(options)
	want(80<<10, 120<<10)
	if log.Len() != 0 {
		t.Errorf("want no warning; got %s", log)
	}
}

func TestBufferThatTheSystemCutsIsToldOnceWhenApplied(t *testing.T) {
	testneed.Root(t)
	options, log := logged(defaults())
	options.ReceiveBuffer, options.SendBuffer = 0, 0
	r := makeRelay(t, ways[0], on4, options)
	rmem := systemLimit(t, "net.core.rmem_max")
	options.ReceiveBuffer = 2 * rmem
	withoutNetAdmin(t, func() {
		r.Apply(options)
		r.Apply(options)
	})
	want := fmt.Sprintf("level=WARN msg=\"the receive buffer is %s, not %s: the system allows no more\" hint=\"sysctl -w net.core.rmem_max=%d\"\n",
		sizeText(rmem), sizeText(2*rmem), 2*rmem)
	if log.String() != want {
		t.Errorf("want\n%sgot\n%s", want, log)
	}
}

// The address that a restored peer knows may have gone with the restart.
func TestRestoredPeerIsAnsweredFromTheAddressThatItKnows(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range []string{onAll4, onAll} {
			for _, gone := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/gone=%t", place, gone), func(t *testing.T) {
					nettest.IP(t, "address add 10.77.0.2/24 dev cable0", "address add fd77:0::2/64 dev cable0 nodad")
					nettest.AwaitAddress(t, "fd77:0::2")
					conn := listen(t, place)
					keep := dupOf(t, conn)
					r, err := w.make(conn, defaults())
					if err != nil {
						t.Fatal(err)
					}
					stop := run(t, r)
					// They are connected, unless the address goes, so that they
					// get nothing from another one.
					join := func(from, to string) *client {
						if gone {
							return other.listener(t, r, from, at(r, to))
						}
						c := other.client(t, from, at(r, to))
						c.join(r)
						return c
					}
					clients := []*client{join("10.77.0.11", "10.77.0.2")}
					if place == onAll {
						clients = append(clients, join("fd77:0::11", "fd77:0::2"))
					}
					stop()
					nettest.IP(t, "address del 10.77.0.2/24 dev cable0", "address del fd77:0::2/64 dev cable0")
					if !gone {
						nettest.IP(t, "address add 10.77.0.2/24 dev cable0", "address add fd77:0::2/64 dev cable0 nodad")
						nettest.AwaitAddress(t, "fd77:0::2")
					}
					next, err := w.make(connOf(t, keep), defaults())
					if err != nil {
						t.Fatal(err)
					}
					if got := next.Restore(r.Remember()); got != len(clients) {
						t.Fatalf("want %d restored; got %d", len(clients), got)
					}
					run(t, next)
					link := next.Attach(discard{})
					texts := []string{"1", "22", "333", "4444", "4444", "55"}
					for range 2 {
						bring(t, link, texts...)
						for _, c := range clients {
							c.wants(texts...)
						}
					}
					checkNoDrops(t, next)
					if !gone {
						nettest.IP(t, "address del 10.77.0.2/24 dev cable0", "address del fd77:0::2/64 dev cable0")
					}
				})
			}
		}
	})
}
