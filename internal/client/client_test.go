package client

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"udprelay/internal/client/relaytest"
	"udprelay/internal/testneed"
)

func dial(t *testing.T, address string, options Options) *Client {
	t.Helper()
	c, err := Dial(t.Context(), address, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// receiving receives in the background until the client closes.
func receiving(t *testing.T, c *Client) <-chan string {
	t.Helper()
	payloads := make(chan string, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, MaxPayload)
		for {
			n, err := c.Receive(buf)
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("Receive: want only net.ErrClosed, got %v", err)
				}
				return
			}
			payloads <- string(buf[:n])
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-done
	})
	return payloads
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

func TestDialJoinsWithAnEmptyDatagram(t *testing.T) {
	relay := relaytest.Start(t)
	c := dial(t, relay.Addr, Options{})
	if got := relay.Next(t); got.Payload != "" {
		t.Errorf("want an empty datagram first, got %q", got.Payload)
	}
	if got := c.RemoteAddr().String(); got != relay.Addr {
		t.Errorf("RemoteAddr: want %s, got %s", relay.Addr, got)
	}
}

func TestEveryOtherPeerReceivesWhatIsSent(t *testing.T) {
	relay := relaytest.Start(t)
	a, b := dial(t, relay.Addr, Options{}), dial(t, relay.Addr, Options{})
	relay.Next(t)
	relay.Next(t)
	atA, atB := receiving(t, a), receiving(t, b)
	largest := strings.Repeat("x", MaxPayload)
	for _, payload := range []string{"\x00\xff", largest, "last"} {
		if err := a.Send([]byte(payload)); err != nil {
			t.Fatal(err)
		}
		if got := await(t, atB, "the payload"); got != payload {
			t.Errorf("want a payload of %d bytes as it was sent, got %d bytes", len(payload), len(got))
		}
	}
	if err := b.Send([]byte("back")); err != nil {
		t.Fatal(err)
	}
	if got := await(t, atA, "the answer"); got != "back" {
		t.Errorf("want %q as the first datagram at its peer, got %q", "back", got)
	}
	if got := b.Health(); got != (Health{Received: 3}) {
		t.Errorf("Health: want 3 received and nothing refused, got %+v", got)
	}
}

func TestIPv6IsSpoken(t *testing.T) {
	probe, err := net.ListenPacket("udp", "[::1]:0")
	testneed.True(t, err == nil, "an IPv6 loopback address: %v", err)
	probe.Close()
	relay := relaytest.StartAt(t, "[::1]:0")
	c := dial(t, relay.Addr, Options{})
	if err := c.Send([]byte("six")); err != nil {
		t.Fatal(err)
	}
	if got := relay.NextPayload(t); got != "six" {
		t.Errorf("want %q, got %q", "six", got)
	}
}

func TestSilenceIsFilledWithKeepAlives(t *testing.T) {
	relay := relaytest.Start(t)
	dial(t, relay.Addr, Options{KeepAlive: time.Millisecond})
	for range 3 {
		if got := relay.Next(t); got.Payload != "" {
			t.Errorf("want keep-alives, got %q", got.Payload)
		}
	}
}

func TestCloseOrContextEndsReceive(t *testing.T) {
	relay := relaytest.Start(t)
	for name, end := range map[string]func(*Client, context.CancelFunc){
		"close":   func(c *Client, _ context.CancelFunc) { c.Close() },
		"context": func(_ *Client, cancel context.CancelFunc) { cancel() },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c, err := Dial(ctx, relay.Addr, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ended := make(chan error, 1)
			go func() {
				_, err := c.Receive(make([]byte, 1))
				ended <- err
			}()
			end(c, cancel)
			if err := await(t, ended, "the end of Receive"); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Receive: want net.ErrClosed, got %v", err)
			}
			if err := c.Send([]byte("late")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Send: want net.ErrClosed, got %v", err)
			}
		})
	}
}

func TestARefusalIsNoticedAndOutlived(t *testing.T) {
	address := relaytest.FreeAddr(t)
	c := dial(t, address, Options{KeepAlive: 20 * time.Millisecond})
	received := receiving(t, c)
	await(t, c.Refused(), "the refusal of the joining datagram")
	if got := c.Health(); got.PayloadsRefused != 0 {
		t.Errorf("want no payload refused, as none was sent, got %+v", got)
	}
	if err := c.Send([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	for c.Health().PayloadsRefused == 0 {
		await(t, c.Refused(), "the refusal of a payload")
	}

	relay := relaytest.StartAt(t, address)
	joined := relay.Next(t) // a keep-alive
	relay.Send(t, joined.From, "welcome")
	if got := await(t, received, "a datagram of the relay that started late"); got != "welcome" {
		t.Errorf("want %q, got %q", "welcome", got)
	}
}

func TestAnOldRefusalDoesNotCostTheNextDatagram(t *testing.T) {
	address := relaytest.FreeAddr(t)
	c := dial(t, address, Options{}) // refused; nobody receives, so that Send meets the refusal
	relay := relaytest.StartAt(t, address)
	if err := c.Send([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if got := relay.NextPayload(t); got != "hello" {
		t.Errorf("want %q, got %q", "hello", got)
	}
}

func TestWhatCannotBeDialedIsNamed(t *testing.T) {
	if _, err := Dial(t.Context(), "localhost", Options{}); !errors.As(err, new(*AddressError)) {
		t.Errorf("want an *AddressError, got %v", err)
	}
	_, err := Dial(t.Context(), "no-such-host.invalid:9000", Options{})
	if dns := (*net.DNSError)(nil); !errors.As(err, &dns) || dns.Name != "no-such-host.invalid" {
		t.Errorf("want a *net.DNSError that names the host, got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dial(ctx, "127.0.0.1:9000", Options{}); err == nil {
		t.Error("want an error when the context is done, got none")
	}
}

func TestOnlyHostAndPortIsAnAddress(t *testing.T) {
	for _, good := range []string{"a:1", "localhost:9000", "192.0.2.1:65535", "[2001:db8::1]:9000", "[fe80::1%eth0]:9000"} {
		if err := CheckAddress(good); err != nil {
			t.Errorf("%s: want no error, got %v", good, err)
		}
	}
	for address, want := range map[string][2]string{
		"":          {`address "": the port is missing`, "localhost:9000"},
		"host":      {`address "host": the port is missing`, "host:9000"},
		":9000":     {`address ":9000": the host is missing`, "localhost:9000"},
		"host:":     {`address "host:": port "" is not a number from 1 to 65535`, "host:9000"},
		"host:0":    {`address "host:0": port "0" is not a number from 1 to 65535`, "host:9000"},
		"host:ntp":  {`address "host:ntp": port "ntp" is not a number from 1 to 65535`, "host:9000"},
		"host:+1":   {`address "host:+1": port "+1" is not a number from 1 to 65535`, "host:9000"},
		"h:65536":   {`address "h:65536": port "65536" is not a number from 1 to 65535`, "h:9000"},
		"[::1]":     {`address "[::1]": the port is missing`, "[::1]:9000"},
		"fe80::1%a": {`address "fe80::1%a": an IPv6 address goes in brackets, and a port after them`, "[fe80::1%a]:9000"},
		"[::1":      {`address "[::1": cannot be understood`, "localhost:9000"},
	} {
		bad := (*AddressError)(nil)
		if err := CheckAddress(address); !errors.As(err, &bad) {
			t.Errorf("%q: want an *AddressError, got %v", address, err)
		} else if got := [2]string{bad.Error(), bad.Want}; got != want {
			t.Errorf("%q:\nwant %q\ngot  %q", address, want, got)
		}
	}
}
