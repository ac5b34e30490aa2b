package stream

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"udprelay/internal/client/relaytest"
	"udprelay/internal/testwait"
)

func TestASessionSaysOnceThatItIsTurnedAwayAndThatItIsIn(t *testing.T) {
	var in atomic.Bool
	relay := relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: "tcp", TurnAway: func(int) bool { return !in.Load() }})
	r := enter(t, relay.URL, Options{})
	got := await(t, r.said, "the notice")
	if !strings.HasPrefix(got, relay.URL+" ended the connection as soon as it had begun (") || !strings.HasSuffix(got, "); still trying") {
		t.Errorf("want it said that the relay turns away, got %q", got)
	}
	testwait.Until(t, func() bool {
		came, _ := relay.Count()
		return came >= 4
	}, "want more tries")
	in.Store(true)
	if got, want := await(t, r.said, "another notice"), "connected to "+relay.URL+" again"; got != want {
		t.Errorf("want %q, got %q", want, got)
	}
	if _, err := io.WriteString(r.in, "in\n"); err != nil {
		t.Fatal(err)
	}
	if got := relay.Next(t); got != "in\n" {
		t.Errorf("want %q, got %q", "in\n", got)
	}
	r.in.Close()
	r.wantEnd(t, "")
}

func TestWhatWasTypedWithoutAConnectionSpoilsTheEnd(t *testing.T) {
	relay := relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: "ws"})
	r := enter(t, relay.URL, Options{})
	if _, err := io.WriteString(r.in, "taken\n"); err != nil {
		t.Fatal(err)
	}
	relay.Next(t)
	relay.Close()
	await(t, r.said, "the notice")
	if _, err := io.WriteString(r.in, "lost\n"); err != nil {
		t.Fatal(err)
	}
	r.in.Close()
	err := await(t, r.ended, "the end of the session")
	refused := (*RefusedError)(nil)
	if !errors.As(err, &refused) || !refused.Lost || !refused.Connects || refused.Why == nil || !strings.HasSuffix(err.Error(), "; datagrams were lost") {
		t.Errorf("want a *RefusedError of what was lost, got %v", err)
	}
}
