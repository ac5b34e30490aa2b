package relay

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/peers"
)

// Without trains there is nothing to wait for. If they were switched off, the
// configuration has been warned of.
func TestCoalesceDoesNotWaitWhereTheKernelHasNoTrains(t *testing.T) {
	for _, c := range []struct {
		noTrains string
		off      bool
		want     time.Duration
		warns    int
	}{
		{"", false, time.Millisecond, 0},
		{"Linux 7.0.3 corrupts trains", false, 0, 1},
		{"they are switched off", true, time.Millisecond, 0},
	} {
		options, log := logged(Options{NoTrains: c.off, Coalesce: time.Millisecond})
		s := &linuxSocket{noTrains: c.noTrains}
		s.setCoalesce(options)
		if s.coalesce != c.want || strings.Count(log.String(), "level=WARN") != c.warns || !strings.Contains(log.String(), c.noTrains) && c.warns > 0 {
			t.Errorf("%+v: want a wait of %v; got %v and the log %s", c, c.want, s.coalesce, log)
		}
	}
}

// Where no receiver gets trains, as the interfaces to them cannot split any,
// nothing is waited for, until there is one who may.
func TestCoalesceDoesNotWaitWhereNobodyGetsTrains(t *testing.T) {
	options, log := logged(defaults())
	options.Coalesce = 200 * time.Microsecond
	r := makeRelay(t, ways[0], on4, options)
	sinks := newSinks(t, "127.0.0.1", 3)
	r.SetStatic(addrsOf(sinks[:2]))
	out := r.receiving.sender.first.(*trainSender)
	real := out.sendmmsg
	out.sendmmsg = func(headers []mmsghdr) (int, unix.Errno) {
		for i := range headers {
			if headers[i].header.Iovlen > 1 {
				if i == 0 {
					return -1, unix.EIO
				}
				return real(headers[:i])
			}
		}
		return real(headers)
	}
	speaker := newClient(t, r.Addr())
	waits, more := 0, 0
	r.socket.(*linuxSocket).ring.sleep = func(time.Duration) {
		waits++
		for range more {
			speaker.send("more")
		}
	}
	step := func(what string, want int) {
		t.Helper()
		waits = 0
		speaker.send("first")
		if err := r.step(); err != nil {
			t.Fatal(err)
		}
		if waits != want {
			t.Errorf("%s: want %d waits; got %d", what, want, waits)
		}
	}
	more = 2
	step("nothing is known yet", 1)
	step("it was not looked at since", 1)
	for range 3 {
		step("nobody gets trains", 0)
	}
	r.SetStatic(addrsOf(sinks))
	step("the new one is not known yet", 0)
	out.sendmmsg = real
	step("one may get trains", 1)
	if got := strings.Count(log.String(), "level=WARN"); got != 1 {
		t.Errorf("want one warning; got %d: %s", got, log)
	}
	checkNoDrops(t, r)
}

// The first receivers do not wait until the messages for all are written, and
// with many the rest leave in few calls.
func TestFirstMessagesLeaveEarly(t *testing.T) {
	room := newRoom(false, 1000)
	s, kernel := newFakeSender(t, false)
	var calls []int
	s.sendmmsg = func(headers []mmsghdr) (int, unix.Errno) {
		calls = append(calls, len(headers))
		return kernel.sendmmsg(headers)
	}
	want := []int{8, 16, 32, 64, 128, 256, 256, 240}
	for range 2 {
		calls = nil
		if err := s.send(said([]*peers.Peer{nil}, "x"), everyone(room.table.Receivers()), new(tally)); err != nil {
			t.Fatal(err)
		}
		checkCalls(t, calls, want)
	}
	// A sender that goes on with a batch gathers as many as before.
	calls = nil
	all := everyone(room.table.Receivers())
	b := said([]*peers.Peer{nil}, "x")
	for at := range 4 {
		part := all.part(at*100, 100)
		part.more = at > 0
		if err := s.send(b, part, new(tally)); err != nil {
			t.Fatal(err)
		}
	}
	checkCalls(t, calls, []int{8, 16, 32, 44, 64, 36, 100, 100})
}

// A sender lets others have their turn, and looks whether the relay is stopped,
// after about a millisecond of the kernel's time, also at the beginning.
func TestLongTrainsAreNoFirstMessages(t *testing.T) {
	room := newRoom(false, 100)
	s, _ := newFakeSender(t, false)
	calls := 0
	s.sendmmsg = func(headers []mmsghdr) (int, unix.Errno) {
		if calls++; calls == 3 {
			s.socket.interrupt(time.Now().Add(-time.Second))
		}
		return len(headers), 0
	}
	s.socket.setDeadline = func(time.Time) error { return nil }
	var origins []*peers.Peer
	var texts []string
	for range maxBatch {
		origins, texts = append(origins, nil), append(texts, strings.Repeat("x", 1400))
	}
	var counts tally
	if err := s.send(said(origins, texts...), everyone(room.table.Receivers()), &counts); err != nil {
		t.Fatal(err)
	}
	if counts.Dropped[DropStopped] == 0 || calls != 3 {
		t.Errorf("want no call after the third, when the relay was stopped; got %d", calls)
	}
}

func checkCalls(t *testing.T, got, want []int) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("want calls of %v messages; got %v", want, got)
	}
}
