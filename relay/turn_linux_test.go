package relay

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Between the calls of a batch the loop is alive, in a call that does not
// return it is not.
func TestTurnBetweenTheSendsOfABatch(t *testing.T) {
	r, out, b := batchForMany(t)
	turned := make(chan error, 1)
	calls := 0
	out.sendmmsg = func(headers []mmsghdr) (int, unix.Errno) {
		switch calls++; calls {
		case 1:
			go func() { turned <- r.Turn(t.Context()) }()
			await(t, func() bool { return r.turns.asked.Load() != nil }, "want somebody who asks")
		case 2:
			select {
			case err := <-turned:
				if err != nil {
					t.Errorf("want a turn; got %v", err)
				}
			case <-time.After(patience):
				t.Error("want a turn after the first call; got none")
			}
			wantNoTurn(t, r)
		}
		return len(headers), 0
	}
	if err := r.relay(b, out, nil, new(tally)); err != nil {
		t.Fatal(err)
	}
	const want = 5 + 5 // of 8 to 128 messages, and then of 256 or what is left
	if got := r.Stats().Delivered; got != 5*maxMessages || calls != want {
		t.Errorf("want %d delivered in %d calls; got %d in %d", 5*maxMessages, want, got, calls)
	}
}

// A firewall that forbids everything does not make the loop hang.
func TestTurnWithinABatchThatTheKernelRefuses(t *testing.T) {
	r, out, b := batchForMany(t)
	out.sendmmsg = func([]mmsghdr) (int, unix.Errno) { return -1, unix.EPERM }
	answered := false
	r.Attach(turnWitness{r.turns.ask(), &answered})
	if err := r.relay(b, out, nil, new(tally)); err != nil {
		t.Fatal(err)
	}
	if s := r.Stats(); !answered || s.Dropped[DropFiltered] != 5*maxMessages {
		t.Errorf("want a turn within %d drops; got %v, %s", 5*maxMessages, answered, show(s))
	}
}
