package relay

import (
	"math/rand/v2"
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// dupOf returns a second descriptor of the socket of conn, as the service
// manager keeps one over a restart.
func dupOf(t testing.TB, conn *net.UDPConn) (fd int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	raw.Control(func(original uintptr) { fd, err = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// waiting reads what waits at a socket and returns how many datagrams it was.
func waiting(t testing.TB, fd int) (count int) {
	t.Helper()
	buffer := make([]byte, maxDatagram)
	for {
		switch _, _, err := unix.Recvfrom(fd, buffer, unix.MSG_DONTWAIT); err {
		case nil:
			count++
		case unix.EAGAIN:
			return count
		case unix.EINTR:
		default:
			t.Fatalf("read what waits: %v", err)
		}
	}
}

// What was received when the relay is stopped has reached everyone, and what
// was not received waits for who uses the socket next.
func TestStopLosesNothing(t *testing.T) {
	const receivers, total = 600, 400
	rounds := 5
	if raceEnabled {
		rounds = 2
	}
	eachWay(t, func(t *testing.T, w way) {
		inBetween := 0
		for range rounds {
			conn := listen(t, on4)
			roomFor(t, conn, 8<<20)
			next := dupOf(t, conn)
			r, err := w.make(conn, defaults())
			if err != nil {
				t.Fatal(err)
			}
			r.grace = patience
			sinks := newSinks(t, "127.0.0.1", receivers)
			r.SetStatic(addrsOf(sinks))
			speaker := newClient(t, r.Addr())
			for range total {
				speaker.send("not to be lost")
			}
			stop := run(t, r)
			least := rand.Uint64N(total / 2)
			awaitStats(t, r, "some received", func(s Stats) bool { return s.Received >= least })
			stop()

			s := r.Stats()
			if left := waiting(t, next); s.Received+uint64(left) != total {
				t.Errorf("want %d received or waiting; got %d waiting and %s", total, left, show(s))
			}
			if s.Received < total {
				inBetween++
			}
			if s.Delivered != s.Received*receivers {
				t.Errorf("want all of %d received at %d receivers; got %s", s.Received, receivers, show(s))
			}
			for i, sink := range sinks {
				await(t, func() bool { return uint64(sink.count()) >= s.Delivered/receivers }, "want more at a receiver")
				if got := uint64(sink.count()); got != s.Received {
					t.Errorf("want %d datagrams at receiver %d; got %d", s.Received, i, got)
				}
			}
			checkNoDrops(t, r)
			if t.Failed() {
				return
			}
		}
		t.Logf("%d of %d stops came before all was received", inBetween, rounds)
	})
}
