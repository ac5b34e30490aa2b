package stream

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"udprelay/internal/client"
	"udprelay/internal/client/relaytest"
)

func TestWhatIsReadIsSentBeforeTheSessionEnds(t *testing.T) {
	for name, test := range map[string]struct {
		options Options
		input   string
		want    []string
	}{
		"text": {Options{Mode: Text}, "hello\n\n\r\nlast", []string{"hello\n", "\n", "\r\n", "last"}},
		"hex":  {Options{Mode: Hex}, "00 ff:0A\n\n \n0aff\r\n01", []string{"\x00\xff\n", "\n\xff", "\x01"}},
		"raw":  {Options{Mode: Raw, Size: 4}, "a\nbcdefgh\n", []string{"a\nbc", "defg", "h\n"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.options.In = strings.NewReader(test.input)
			r := enterRelay(t, test.options)
			for _, want := range test.want {
				if got := r.relay.NextPayload(t); got != want {
					t.Errorf("want the datagram %q, got %q", want, got)
				}
			}
			r.wantEnd(t, "")
		})
	}
}

func TestEachDatagramIsWrittenAtOnce(t *testing.T) {
	for name, test := range map[string]struct {
		options           Options
		receive, wantLine string
	}{
		"text":                {Options{}, "a\tb\x1b[2J\xff\r\n", "a\tb\x1b[2J\xff\r\n"},
		"text without ending": {Options{}, "a", "a\n"},
		"text on a terminal":  {Options{Terminal: true}, "a\tb\x1b[2J\xff\r\n", "a\tb\\x1b[2J\\xff\n"},
		"hex":                 {Options{Mode: Hex}, "\x00\xff\n", "00ff0a\n"},
		"raw":                 {Options{Mode: Raw, Size: 1, Terminal: true}, "\x1b\n", "\x1b\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := enterRelay(t, test.options)
			r.relay.Send(t, r.peer, "")
			for range 2 {
				r.relay.Send(t, r.peer, test.receive)
				r.wantLine(t, test.wantLine)
			}
			r.in.Close()
			r.wantEnd(t, "")
		})
	}
}

func TestABadLineCostsOnlyItself(t *testing.T) {
	long := strings.Repeat("x", client.MaxPayload)
	t.Run("text", func(t *testing.T) {
		r := enterRelay(t, Options{In: strings.NewReader("a\n" + long + "\n" + long + long + long + "y\nb\n" + long)})
		for _, want := range []string{"a\n", "b\n", long} {
			if got := r.relay.NextPayload(t); got != want {
				t.Errorf("want %d bytes, got %d", len(want), len(got))
			}
		}
		r.wantEnd(t, "2 lines were not sent")
		for _, want := range []string{
			"line 2: 65508 bytes are too many for one datagram (at most 65507)",
			"line 3: 196523 bytes are too many for one datagram (at most 65507)",
		} {
			if got := await(t, r.said, "a complaint"); got != want {
				t.Errorf("said:\nwant %q\ngot  %q", want, got)
			}
		}
	})
	t.Run("hex", func(t *testing.T) {
		r := enterRelay(t, Options{Mode: Hex, In: strings.NewReader("0g\n01\n" + strings.Repeat("00", client.MaxPayload+1) + "\n" + strings.Repeat("0", maxHexLine+1))})
		if got := r.relay.NextPayload(t); got != "\x01" {
			t.Errorf("want the byte 01, got %q", got)
		}
		r.wantEnd(t, "3 lines were not sent")
		for _, want := range []string{
			"line 1: column 2: 'g' is not a hex digit",
			"line 3: 65508 bytes are too many for one datagram (at most 65507)",
			"line 4: 262029 characters are too many for the hex of one datagram",
		} {
			if got := await(t, r.said, "a complaint"); got != want {
				t.Errorf("said:\nwant %q\ngot  %q", want, got)
			}
		}
	})
}

func TestComplaintsAreBounded(t *testing.T) {
	r := enterRelay(t, Options{Mode: Hex, In: strings.NewReader(strings.Repeat("?\n", 1000))})
	r.wantEnd(t, "1000 lines were not sent")
	if got, want := len(r.said), maxComplaints+1; got != want {
		t.Errorf("want %d messages, got %d", want, got)
	}
}

func TestWaitReceivesAfterTheInputHasEnded(t *testing.T) {
	r := enterRelay(t, Options{In: strings.NewReader("ping\n"), Wait: time.Hour})
	if got := r.relay.NextPayload(t); got != "ping\n" {
		t.Errorf("want %q, got %q", "ping\n", got)
	}
	r.relay.Send(t, r.peer, "pong\n")
	r.wantLine(t, "pong\n")
	r.stop()
	r.wantEnd(t, "")
}

func TestAStoppedSessionEndsThoughItsStreamsStandStill(t *testing.T) {
	out, in := io.Pipe() // nobody reads it
	defer out.Close()
	r := enterRelay(t, Options{Out: in})
	r.relay.Send(t, r.peer, "stuck")
	r.stop()
	r.wantEnd(t, "")
}

func TestAReaderThatHasSeenEnoughEndsTheSession(t *testing.T) {
	t.Run("by the next datagram", func(t *testing.T) {
		out, in := io.Pipe()
		r := enterRelay(t, Options{Out: in})
		out.Close()
		r.relay.Send(t, r.peer, "x")
		r.wantEnd(t, "")
	})
	t.Run("without one on Linux", func(t *testing.T) {
		r := enterRelay(t, Options{})
		ctx, cancel := context.WithCancel(t.Context())
		watched := watchClosed(ctx, r.outR) != nil
		cancel() // or Close would wait for the watch
		if !watched {
			t.Skip("no event tells of it on this system")
		}
		r.outR.Close()
		r.wantEnd(t, "")
	})
}

func TestADeadRelayIsSaidOnceAndSpoilsTheEnd(t *testing.T) {
	patiently(t, noticeDelay)
	address := relaytest.FreeAddr(t)
	r := enter(t, address, Options{})
	if got, want := await(t, r.said, "the notice"), "nothing listens at "+address+" (connection refused); still trying"; got != want {
		t.Errorf("want the notice %q, got %q", want, got)
	}
	if _, err := r.in.Write([]byte("lost\n")); err != nil {
		t.Fatal(err)
	}
	r.in.Close()
	err := r.wantEnd(t, "nothing listens at "+address+" (connection refused); datagrams were lost")
	if !errors.As(err, new(*RefusedError)) {
		t.Errorf("want a *RefusedError, got %T", err)
	}
	if len(r.said) > 0 {
		t.Errorf("want the notice once, got also %q", <-r.said)
	}
}

func TestADeadRelayIsSaidAtTheEndOfNoInput(t *testing.T) {
	patiently(t, time.Minute)
	address := relaytest.FreeAddr(t)
	r := enter(t, address, Options{In: strings.NewReader("")})
	r.wantEnd(t, "nothing listens at "+address+" (connection refused)")
	if len(r.said) > 0 {
		t.Errorf("want one message, the error, got also %q", <-r.said)
	}
}

func TestARelayThatStartedLateSpoilsNothing(t *testing.T) {
	address := relaytest.FreeAddr(t)
	r := enter(t, address, Options{})
	await(t, r.said, "the notice")
	relay := relaytest.StartAt(t, address)
	relay.Next(t) // a keep-alive has joined
	if _, err := r.in.Write([]byte("late\n")); err != nil {
		t.Fatal(err)
	}
	if got := relay.NextPayload(t); got != "late\n" {
		t.Errorf("want %q, got %q", "late\n", got)
	}
	r.in.Close()
	r.wantEnd(t, "")
}

func TestALossIsToldThoughTheRelayIsBack(t *testing.T) {
	relay := relaytest.Start(t)
	r := enter(t, relay.Addr, Options{})
	relay.Next(t)
	relay.Close()
	if _, err := r.in.Write([]byte("lost\n")); err != nil {
		t.Fatal(err)
	}
	await(t, r.said, "the notice")
	relay = relaytest.StartAt(t, relay.Addr)
	relay.Send(t, relay.Next(t).From, "back\n")
	r.wantLine(t, "back\n")
	relay.Next(t) // a keep-alive that was not refused
	r.in.Close()
	r.wantEnd(t, "nothing listened for a while at "+relay.Addr+" (connection refused); datagrams were lost")
}

// failing is a stream that fails.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

func TestStreamsThatFailAreNamed(t *testing.T) {
	t.Run("input", func(t *testing.T) {
		for _, mode := range []Mode{Text, Hex, Raw} {
			r := enterRelay(t, Options{Mode: mode, Size: 1, In: failing{&os.PathError{Op: "read", Path: "/dev/stdin", Err: syscall.EIO}}})
			err := r.wantEnd(t, "read standard input: input/output error")
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("want an error that wraps EIO, got %v", err)
			}
		}
	})
	t.Run("output", func(t *testing.T) {
		r := enterRelay(t, Options{Out: failing{&os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}}})
		r.relay.Send(t, r.peer, "x")
		r.wantEnd(t, "write standard output: no space left on device")
	})
}
