package stream

import (
	"bufio"
	"context"
	"io"
	"net/netip"
	"os"
	"testing"
	"time"

	"udprelay/internal/client"
	"udprelay/internal/client/relaytest"
)

// A room is a relay with a session at it, whose streams are in the hands of
// the test.
type room struct {
	relay  *relaytest.Relay
	peer   netip.AddrPort // the session
	client *client.Client // its
	in     *io.PipeWriter // what it reads
	out    *bufio.Reader  // what it writes
	outR   *os.File
	said   chan string
	ended  chan error
	stop   context.CancelFunc
}

// enter starts a session; options without In and Out get pipes.
func enter(t *testing.T, address string, options Options) *room {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &room{said: make(chan string, 100), ended: make(chan error, 1), stop: cancel}
	if options.In == nil {
		options.In, r.in = io.Pipe()
		t.Cleanup(func() { r.in.Close() })
	}
	if options.Out == nil {
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { write.Close(); read.Close() })
		options.Out, r.outR, r.out = write, read, bufio.NewReader(read)
	}
	options.Say = func(message string) { r.said <- message }
	c, err := client.Dial(ctx, address, client.Options{KeepAlive: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	r.client = c
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.ended <- Run(ctx, c, options)
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return r
}

// patiently gives the refusal of the last datagram sent the time that it takes on a
// slow machine. A person is told of one after the time notice.
func patiently(t *testing.T, notice time.Duration) {
	grace, delay := refusalGrace, noticeDelay
	t.Cleanup(func() { refusalGrace, noticeDelay = grace, delay })
	refusalGrace, noticeDelay = 2*time.Second, notice
}

// enterRelay starts a relay and a session at it that has joined.
func enterRelay(t *testing.T, options Options) *room {
	t.Helper()
	relay := relaytest.Start(t)
	r := enter(t, relay.Addr, options)
	r.relay, r.peer = relay, relay.Next(t).From
	return r
}

func (r *room) wantEnd(t *testing.T, want string) error {
	t.Helper()
	err := await(t, r.ended, "the end of the session")
	if got := message(err); got != want {
		t.Errorf("end of the session:\nwant %q\ngot  %q", want, got)
	}
	return err
}

func (r *room) wantLine(t *testing.T, want string) {
	t.Helper()
	_ = r.outR.SetReadDeadline(time.Now().Add(relaytest.Patience))
	if got, err := r.out.ReadString('\n'); got != want || err != nil {
		t.Errorf("want the line %q on the output, got %q, %v", want, got, err)
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func await[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(relaytest.Patience):
		t.Fatalf("want %s, got nothing for %v", what, relaytest.Patience)
		panic("not reached")
	}
}
