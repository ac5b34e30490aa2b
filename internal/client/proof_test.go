package client

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"udprelay/internal/client/relaytest"
	"udprelay/internal/proof"
	"udprelay/internal/testwait"
)

func send(t *testing.T, c *Client, payloads ...string) {
	t.Helper()
	for _, payload := range payloads {
		if err := c.Send([]byte(payload)); err != nil {
			t.Fatalf("Send(%q): %v", payload, err)
		}
	}
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	testwait.Until(t, holds, "want "+what)
}

func TestARelayThatWantsAProofGetsIt(t *testing.T) {
	for name, secret := range map[string][]byte{"cookie": nil, "secret": []byte("correct horse")} {
		t.Run(name, func(t *testing.T) {
			relay := relaytest.StartProving(t, relaytest.ProvingOptions{Secret: secret, Answers: 5})
			c := dial(t, relay.Addr, Options{Secret: secret})
			received := receiving(t, c)
			var want []string
			for i := range 200 { // some before the relay's answer, some after it
				want = append(want, fmt.Sprintf("payload %d is long enough for a cookie", i))
				send(t, c, want[i])
			}
			for _, want := range want {
				if got := relay.Next(t); got != want {
					t.Fatalf("want %q relayed next, got %q", want, got)
				}
			}
			relay.Say("welcome")
			if got := await(t, received, "a payload"); got != "welcome" {
				t.Errorf("want only payloads, got %q", got)
			}
			if len(relay.Relayed) > 0 {
				t.Errorf("want each payload once, got also %q", relay.Next(t))
			}
			if h := c.Health(); !h.WantsProof || h.Proving || h.ShutOut || h.PayloadsLost > 0 {
				t.Errorf("want a health without fault, got %+v", h)
			}
		})
	}
}

func TestAProofThatIsNotAcceptedIsAnErrorUntilOneIs(t *testing.T) {
	for name, secret := range map[string][]byte{"no secret": nil, "a wrong one": []byte("wrong")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			relay := relaytest.StartProving(t, relaytest.ProvingOptions{Secret: []byte("right"), Answers: 5})
			c := dial(t, relay.Addr, Options{Secret: secret})
			receiving(t, c)
			send(t, c, "early")
			eventually(t, "the end of patience", func() bool { return c.Health().ShutOut })
			err := c.Send([]byte("late"))
			want := "the relay at " + relay.Addr + " wants a proof and does not accept ours"
			shut := (*ProofError)(nil)
			if !errors.As(err, &shut) || err.Error() != want || shut.Secret != (secret != nil) || !shut.Refused {
				t.Errorf("want %q, got %v, %+v", want, err, shut)
			}
			if got := c.Health().PayloadsLost; got != 1 {
				t.Errorf("want the early payload lost, got %d", got)
			}
			if secret == nil {
				return
			}
			relay.Forget(secret)
			eventually(t, "to be let in", func() bool {
				return c.Health() == Health{Received: c.Health().Received, WantsProof: true, PayloadsLost: 1}
			})
			send(t, c, "now")
			if got := relay.Next(t); got != "now" {
				t.Errorf("want %q, got %q", "now", got)
			}
		})
	}
}

func TestAnOpenRelayNeverGetsTheTextsOfAProof(t *testing.T) {
	relay := relaytest.Start(t)
	c, other := dial(t, relay.Addr, Options{Secret: []byte("s")}), dial(t, relay.Addr, Options{})
	relay.Next(t)
	relay.Next(t)
	received := receiving(t, c)
	texts := []string{"udprelay cookie 0a1b2c3d4e5f60718293\n", proof.Hello, "udprelay join 0a1b2c3d4e5f60718293\n"}
	for range 20 {
		for _, text := range texts {
			send(t, other, text)
			if got := await(t, received, "the text of a peer"); got != text {
				t.Errorf("want %q delivered, got %q", text, got)
			}
		}
	}
	eventually(t, "a question", func() bool { d := relay.Next(t); return d.Payload == "" })
	send(t, c, "done")
	for {
		switch got := relay.NextPayload(t); {
		case got == "done":
			return
		case got != texts[0] && got != texts[1] && got != texts[2]:
			t.Fatalf("want only what the other peer sent, got %q", got)
		}
	}
}

// count yields numbers to the relay until stopped, and stops with the test.
func count(t *testing.T, c *Client, every time.Duration, format string) (stop func()) {
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 1; ; i++ {
			_ = c.Send(fmt.Appendf(nil, format, i))
			select {
			case <-end:
				return
			case <-time.After(every):
			}
		}
	}()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			close(end)
			c.Close()
			<-done
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestABusySenderGetsInAgain(t *testing.T) {
	for name, format := range map[string]string{"long": "payload number %d", "short": "%d"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			relay := relaytest.StartProving(t, relaytest.ProvingOptions{Answers: 5})
			c := dial(t, relay.Addr, Options{KeepAlive: 2 * time.Second})
			receiving(t, c)
			stop := count(t, c, 2*time.Millisecond, format)
			last := 0
			next := func() {
				var n int
				if _, err := fmt.Sscanf(relay.Next(t), format, &n); err != nil || n <= last {
					t.Fatalf("want a number above %d, got %d, %v", last, n, err)
				}
				last = n
			}
			for range 2 {
				for range 100 {
					next()
				}
				relay.Forget(nil)
			}
			for range 500 {
				next()
			}
			stop()
			for len(relay.Relayed) > 0 {
				next()
			}
		})
	}
}

func TestASilentListenerGetsInAgain(t *testing.T) {
	relay := relaytest.StartProving(t, relaytest.ProvingOptions{Answers: 5})
	c := dial(t, relay.Addr, Options{KeepAlive: 50 * time.Millisecond})
	received := receiving(t, c)
	for round := range 3 {
		said := fmt.Sprint("round ", round)
		eventually(t, "to hear what is said", func() bool {
			relay.Say(said)
			select {
			case got := <-received:
				return got == said
			default:
				return false
			}
		})
		relay.Forget(nil)
	}
}

func TestWhatGetsLostIsSaidAgain(t *testing.T) {
	for _, kinds := range [][]string{
		{relaytest.Ask}, {relaytest.No}, {relaytest.Hello}, {relaytest.Cookie}, {relaytest.Proof},
		// Not both of Ask and No: two questions in a row without an answer mean
		// that nobody asks for a proof, and what is sent then may be lost.
		{relaytest.Ask, relaytest.Hello, relaytest.Cookie, relaytest.Proof},
		{relaytest.No, relaytest.Hello, relaytest.Cookie, relaytest.Proof},
	} {
		t.Run(strings.Join(kinds, " "), func(t *testing.T) {
			t.Parallel()
			lost := map[string]bool{}
			relay := relaytest.StartProving(t, relaytest.ProvingOptions{
				Drop: func(kind string, _ netip.AddrPort) bool {
					for _, k := range kinds {
						if k == kind && !lost[k] {
							lost[k] = true
							return true
						}
					}
					return false
				},
			})
			c := dial(t, relay.Addr, Options{})
			receiving(t, c)
			for i := range 10 {
				send(t, c, fmt.Sprint(i))
			}
			for i := range 10 {
				if got := relay.Next(t); got != fmt.Sprint(i) {
					t.Fatalf("want %d, got %q", i, got)
				}
			}
			send(t, c, "last")
			if got := relay.Next(t); got != "last" {
				t.Errorf("want each payload once, got %q", got)
			}
		})
	}
}

func TestManyClientsAtOneAddressGetInOneAfterTheOther(t *testing.T) {
	t.Parallel()
	const clients = 20
	relay := relaytest.StartProving(t, relaytest.ProvingOptions{Answers: 5})
	begin := time.Now()
	for range clients {
		receiving(t, dial(t, relay.Addr, Options{}))
	}
	eventually(t, "all of them in", func() bool { return relay.Peers() == clients })
	t.Logf("%d clients were in after %v", clients, time.Since(begin).Round(time.Millisecond))
}

func TestACookieThatAPeerSendsIsSwallowedAndNotAnswered(t *testing.T) {
	relay := relaytest.StartProving(t, relaytest.ProvingOptions{})
	c, other := dial(t, relay.Addr, Options{}), dial(t, relay.Addr, Options{})
	received := receiving(t, c)
	receiving(t, other)
	eventually(t, "both in", func() bool {
		return relay.Peers() == 2 && !c.Health().Proving && !other.Health().Proving
	})
	const text = "udprelay cookie 0a1b2c3d4e5f60718293\n"
	for range 20 {
		send(t, other, text)
	}
	send(t, other, "payload")
	if got := await(t, received, "the payload behind it"); got != "payload" {
		t.Errorf("want the cookie swallowed, got %q", got)
	}
	send(t, c, "still here")
	for {
		if got := relay.Next(t); got == "still here" {
			return
		} else if got != text && got != "payload" {
			t.Fatalf("want nothing of the client's own relayed, got %q", got)
		}
	}
}

func TestASmallBufferHidesNoQuestion(t *testing.T) {
	relay := relaytest.StartProving(t, relaytest.ProvingOptions{})
	c := dial(t, relay.Addr, Options{})
	got := make(chan string, 1)
	go func() {
		buf := make([]byte, 3)
		n, _ := c.Receive(buf)
		got <- string(buf[:n])
	}()
	eventually(t, "to be in", func() bool { return relay.Peers() == 1 })
	relay.Say("hello")
	if got := await(t, got, "a payload"); got != "hel" {
		t.Errorf("want the beginning of the payload, got %q", got)
	}
}
