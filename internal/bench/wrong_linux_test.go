package bench

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/testwait"
)

func hasNote(r Result, text string) bool {
	return slices.ContainsFunc(r.Notes, func(note string) bool { return strings.Contains(note, text) })
}

// A relay that passes on empty datagrams is none that asks for proofs by them:
// it passes on the questions for proofs, too.
func TestARelayThatPassesOnEmptyDatagramsIsToldApart(t *testing.T) {
	for _, senders := range []int{1, 3} {
		f := (&fake{empty: true}).start(t)
		r := mustRun(t, Config{Relay: f.addr, Peers: 20, Senders: senders, Rate: 500, Duration: 200 * time.Millisecond})
		if due := uint64(100 * (20 + senders - 1)); r.Sent != 100 || r.Delivered != due || r.Lost != 0 {
			t.Errorf("%d senders: want 100 sent and %d delivered, got %+v", senders, due, r)
		}
		if !hasNote(r, "passes on empty datagrams") {
			t.Errorf("%d senders: want a note that keep-alives are relayed, got %q", senders, r.Notes)
		}
	}
}

// What others send to the relay waits at receivers that nobody reads, until
// there is no room: it must not be taken for datagrams of the run.
func TestWhatOthersSendIsNotDelivered(t *testing.T) {
	for name, test := range map[string]struct {
		each, times int // datagrams of another, which are said between two looks
		exact       bool
	}{
		"as much as receivers have room for": {40, 6, true},
		"more":                               {2000, 1, false},
	} {
		f := (&fake{}).start(t)
		other, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(f.addr))
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		times, payload := 0, make([]byte, 1000)
		r, err := Run(t.Context(), Config{Relay: f.addr, Peers: 3, Senders: 1, Rate: 100, Duration: 3 * time.Second}, func(s Snapshot) {
			if s.Phase != Sending || times == test.times {
				return
			}
			times++
			for range test.each {
				if _, err := other.Write(payload); err != nil {
					t.Error(err)
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		said := times * test.each
		if !hasNote(r, "others send to this relay") || r.Foreign == 0 {
			t.Errorf("%s: want a note of what others send, got %q, %d", name, r.Notes, r.Foreign)
		}
		if test.exact && (r.Delivered != r.Due || r.Surplus != 0 || r.Lost != 0 || r.Foreign != uint64(said)) {
			t.Errorf("%s: want all %d delivered and %d of others, got %+v", name, r.Due, said, r)
		}
		if full := hasNote(r, "no room"); full == test.exact {
			t.Errorf("%s: want a note that deliveries are wrong: %v, got %q", name, !test.exact, r.Notes)
		}
	}
}

// What one receiver gets twice is no reason to overlook what another one misses.
func TestSurplusDoesNotHideLoss(t *testing.T) {
	f := (&fake{uneven: true}).start(t)
	r := mustRun(t, Config{Relay: f.addr, Peers: 2, Senders: 1, Rate: 100, Duration: 100 * time.Millisecond})
	if r.Sent != 10 || r.Delivered != 20 || r.Lost != 10 || r.Surplus != 10 || r.LossRatio != 0.5 || r.LeastDelivered != 0 || r.MostDelivered != 20 {
		t.Errorf("want 10 that came twice and 10 lost, got %+v", r)
	}
}

// A stop after the last datagram has left costs nothing of the result.
func TestAStopWhileTheRestComesIsNoInterruption(t *testing.T) {
	f := (&fake{lose: func(number int) bool { return number == 9 }}).start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := Run(ctx, Config{Relay: f.addr, Peers: 2, Senders: 1, Rate: 100, Duration: 100 * time.Millisecond}, func(s Snapshot) {
		if s.Phase == Draining {
			cancel()
		}
	})
	if err != nil || ctx.Err() == nil || r.Interrupted || r.Sent != 10 || r.Lost != 2 {
		t.Errorf("want the whole result, got %+v, %v", r, err)
	}
}

// When sending fails, the result is of what was sent until then.
func TestWhatWasMeasuredBeforeAFailureIsKept(t *testing.T) {
	f := (&fake{}).start(t)
	c := Config{Relay: f.addr, Peers: 3, Senders: 1, Rate: 200, Duration: 10 * time.Second}
	none, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(none)
	var r *running
	r, err = newRunning(&c, func(s Snapshot) {
		if s.Phase == Sending && s.Sent > 0 {
			if err := unix.Dup3(none, r.sockets[3].fd, unix.O_CLOEXEC); err != nil { // the sender's
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	result, err := r.joinAndMeasure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if result.Sent == 0 || result.Delivered != result.Due || result.Seconds > 5 || !result.Interrupted || !hasNote(result, "ended early: send to") {
		t.Errorf("want a result of some seconds, and a note why they are not more, got %+v", result)
	}
}

// Threads that have ended have run, too.
func TestTheTimeOfThreadsThatHaveEndedCounts(t *testing.T) {
	const long = 300 * time.Millisecond
	before, err := processTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	var thread int
	done := make(chan struct{})
	var burn func()
	burn = func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if thread = unix.Gettid(); thread == os.Getpid() {
			go burn() // the first thread never ends: while this one has it, another
			<-done
			runtime.UnlockOSThread()
			return
		}
		defer close(done)
		for began := threadTime(); threadTime()-began < long; {
		}
	}
	go burn()
	<-done
	testwait.Until(t, func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", thread))
		return err != nil
	}, "want the thread to end")
	const inexact = 30 * time.Millisecond // ticks
	if after, err := processTime(os.Getpid()); err != nil || after-before < long-inexact {
		t.Errorf("want %v counted, got %v, %v", long, after-before, err)
	}
}
