package stream

import (
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"

	"udprelay/internal/client/relaytest"
)

func TestASessionDoesNotEndBeforeTheProof(t *testing.T) {
	asks := 0
	relay := relaytest.StartProving(t, relaytest.ProvingOptions{
		Answers: 5,
		Drop: func(kind string, _ netip.AddrPort) bool { // so that it takes longer than the end of a session
			asks++
			return kind == relaytest.Proof && asks < 6
		},
	})
	r := enter(t, relay.Addr, Options{In: strings.NewReader("one\ntwo\n")})
	r.wantEnd(t, "")
	for _, want := range []string{"one\n", "two\n"} {
		if got := relay.Next(t); got != want {
			t.Errorf("want %q relayed, got %q", want, got)
		}
	}
}

func TestAProofThatIsNotAcceptedIsSaidOnceAndSpoilsTheEnd(t *testing.T) {
	t.Parallel()
	relay := relaytest.StartProving(t, relaytest.ProvingOptions{Secret: []byte("right")})
	r := enter(t, relay.Addr, Options{})
	if _, err := r.in.Write([]byte("early\n")); err != nil {
		t.Fatal(err)
	}
	want := "the relay at " + relay.Addr + " wants a proof and does not accept ours"
	if got := await(t, r.said, "the notice"); got != want+"; still trying" {
		t.Errorf("want the notice %q, got %q", want, got)
	}
	for range 3 {
		if _, err := io.WriteString(r.in, "late\n"); err != nil {
			t.Fatal(err)
		}
	}
	r.in.Close()
	err := r.wantEnd(t, want+"; datagrams were lost")
	if !errors.As(err, new(*UnprovenError)) {
		t.Errorf("want an *UnprovenError, got %T", err)
	}
	if len(r.said) > 0 {
		t.Errorf("want the notice once, got also %q", <-r.said)
	}
}
