package client

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/internal/client/relaytest"
	"udprelay/internal/framing"
)

// soon makes pauses a hundredth of what they are, for tests.
func soon(d time.Duration) time.Duration { return d / 100 }

// eachScheme runs a test with a relay for each way to connect.
func eachScheme(t *testing.T, options relaytest.ConnectedOptions, test func(t *testing.T, relay *relaytest.Connected, options Options)) {
	authority := certificatetest.New(t)
	options.TLS = authority.Serving()
	for _, scheme := range []string{TCP, TLS, WebSocket, SecureWebSocket} {
		t.Run(scheme, func(t *testing.T) {
			options.Scheme = scheme
			test(t, relaytest.StartConnected(t, options), Options{TLS: &tls.Config{RootCAs: authority.Pool}})
		})
	}
}

func TestAConnectionCarriesDatagrams(t *testing.T) {
	eachScheme(t, relaytest.ConnectedOptions{}, func(t *testing.T, relay *relaytest.Connected, options Options) {
		c := dial(t, relay.URL, options)
		received := receiving(t, c)
		if got := c.RemoteAddr().String(); got != relay.Addr || c.Relay() != relay.URL {
			t.Errorf("want %s at %s, got %s at %s", relay.URL, relay.Addr, c.Relay(), got)
		}
		for _, payload := range []string{"a", strings.Repeat("x", MaxPayload), "\x00\x02", "c"} {
			send(t, c, payload)
			if got := relay.Next(t); got != payload {
				t.Errorf("want %d bytes at the relay, got %d", len(payload), len(got))
			}
			relay.Say(payload)
			if got := await(t, received, "a payload"); got != payload {
				t.Errorf("want %d bytes at the client, got %d", len(payload), len(got))
			}
		}
		if h := c.Health(); h.Refusing || h.PayloadsRefused > 0 || c.Lost() != nil {
			t.Errorf("want a health without fault, got %+v, %v", h, c.Lost())
		}
	})
}

// What was sent before Close arrives, although the relay has sent more than the
// client has read.
func TestWhatWasSentBeforeCloseArrives(t *testing.T) {
	eachScheme(t, relaytest.ConnectedOptions{}, func(t *testing.T, relay *relaytest.Connected, options Options) {
		c := dial(t, relay.URL, options)
		eventually(t, "the client in", func() bool { _, in := relay.Count(); return in == 1 })
		for range 20 {
			relay.Say(strings.Repeat("nobody reads this", 100))
		}
		for i := range 500 {
			send(t, c, fmt.Sprint(i))
		}
		c.Close()
		for i := range 500 {
			if got := relay.Next(t); got != fmt.Sprint(i) {
				t.Fatalf("want %d, got %q", i, got)
			}
		}
		if err := c.Send([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("want %v, got %v", net.ErrClosed, err)
		}
		if _, err := c.Receive(make([]byte, 10)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("want %v, got %v", net.ErrClosed, err)
		}
	})
}

func TestALostConnectionIsMadeAgain(t *testing.T) {
	eachScheme(t, relaytest.ConnectedOptions{}, func(t *testing.T, relay *relaytest.Connected, options Options) {
		options.jitter = soon
		c := dial(t, relay.URL, options)
		received := receiving(t, c)
		for round := range 3 {
			eventually(t, "to hear what is said", func() bool {
				relay.Say("hello")
				select {
				case <-received:
					return true
				default:
					return false
				}
			})
			eventually(t, "the connection made good", func() bool { return c.Lost() == nil })
			relay.Disconnect()
			eventually(t, "the loss known", func() bool { return c.Lost() != nil })
			if lost := c.Lost(); lost != nil && (lost.TurnedAway || lost.Relay != relay.URL) {
				t.Errorf("round %d: want the connection lost, got %+v", round, lost)
			}
		}
		eventually(t, "the relay back", func() bool { return !c.Health().Refusing })
		send(t, c, "back")
		if got := relay.Next(t); got != "back" {
			t.Errorf("want %q, got %q", "back", got)
		}
		if h := c.Health(); h.PayloadsRefused > 0 {
			t.Errorf("want nothing refused, got %+v", h)
		}
	})
}

func TestWhatIsSentWithoutAConnectionIsCounted(t *testing.T) {
	relay := relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: TCP})
	c := dial(t, relay.URL, Options{jitter: soon})
	receiving(t, c)
	send(t, c, "taken")
	relay.Next(t)
	eventually(t, "the connection taken for good", func() bool { c.stream.mu.Lock(); defer c.stream.mu.Unlock(); return c.stream.settled })
	relay.Close()
	eventually(t, "the loss known", func() bool { return c.Health().Refusing })
	send(t, c, "one", "two")
	if h := c.Health(); h.PayloadsRefused != 2 || !h.Refusing {
		t.Errorf("want 2 payloads refused, got %+v", h)
	}
	eventually(t, "the reason", func() bool { return c.Lost().Problem == "connection refused" })
	if want := "the connection to " + relay.URL + " is lost (connection refused)"; c.Lost().Error() != want {
		t.Errorf("want %q, got %q", want, c.Lost())
	}
	relay = relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: TCP, Address: relay.Addr})
	eventually(t, "the relay back", func() bool { return !c.Health().Refusing })
	send(t, c, "three")
	if got := relay.Next(t); got != "three" {
		t.Errorf("want %q, got %q", "three", got)
	}
}

func TestAClientThatIsTurnedAwayKnows(t *testing.T) {
	for _, scheme := range []string{TCP, WebSocket} {
		t.Run(scheme, func(t *testing.T) {
			let := make(chan struct{})
			relay := relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: scheme, TurnAway: func(n int) bool {
				select {
				case <-let:
					return false
				default:
					return scheme == TCP || n > 0
				}
			}})
			c := dial(t, relay.URL, Options{jitter: soon})
			receiving(t, c)
			if scheme == WebSocket {
				relay.Disconnect()
			}
			eventually(t, "five tries", func() bool { came, _ := relay.Count(); return came > 5 })
			lost := c.Lost()
			if lost == nil || scheme == TCP && (!lost.TurnedAway || lost.Hint != turnedAwayHint) {
				t.Errorf("want it turned away, got %+v", lost)
			}
			close(let)
			eventually(t, "to be let in", func() bool { return c.Lost() == nil && !c.Health().Refusing })
			send(t, c, "in")
			if got := relay.Next(t); got != "in" {
				t.Errorf("want %q, got %q", "in", got)
			}
		})
	}
}

func TestWhatARelayGotThatTurnsAwayIsLost(t *testing.T) {
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listen.Close()
	c := dial(t, "tcp://"+listen.Addr().String(), Options{})
	received := receiving(t, c)
	send(t, c, "lost")
	conn, err := listen.Accept()
	if err != nil {
		t.Fatal(err)
	}
	frames := framing.NewReader(conn)
	for payload := []byte(nil); string(payload) != "lost"; {
		if payload, err = frames.Next(); err != nil {
			t.Fatal(err)
		}
	}
	conn.Close()
	eventually(t, "the loss known", func() bool { return c.Health().Refusing })
	if h := c.Health(); h.PayloadsRefused != 1 {
		t.Errorf("want a payload refused, got %+v", h)
	}
	if len(received) > 0 {
		t.Errorf("want nothing received, got %q", <-received)
	}
}

// A connection that ends within a frame, or brings what is none, is lost, and
// nothing of it reaches the user.
func TestWhatIsNoDatagramIsNotReceived(t *testing.T) {
	for name, test := range map[string]struct {
		sent, problem string
	}{
		"within a header":  {"\x00", "ended within a datagram"},
		"within a payload": {"\x00\x05abc", "ended within a datagram"},
		"of HTTP":          {"HTTP/1.1 400 Bad Request\r\n\r\n", "ended within a datagram"},
		"nothing":          {"", "closed by the relay"},
	} {
		t.Run(name, func(t *testing.T) {
			listen, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listen.Close()
			c := dial(t, "tcp://"+listen.Addr().String(), Options{})
			received := receiving(t, c)
			conn, err := listen.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := io.WriteString(conn, test.sent); err != nil {
				t.Fatal(err)
			}
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the loss known", func() bool { return c.Lost() != nil })
			if got := c.Lost(); got.Problem != test.problem || !got.TurnedAway {
				t.Errorf("want %q, got %+v", test.problem, got)
			}
			if len(received) > 0 {
				t.Errorf("want nothing received, got %q", <-received)
			}
		})
	}
}

// A relay that takes nothing holds neither Send nor Close for ever.
func TestCloseDoesNotWaitForARelayThatIsStuck(t *testing.T) {
	authority := certificatetest.New(t)
	for _, scheme := range []string{TCP, TLS, WebSocket} {
		t.Run(scheme, func(t *testing.T) {
			c := dial(t, stuckRelay(t, scheme, authority), Options{TLS: &tls.Config{RootCAs: authority.Pool}})
			ended := make(chan error, 1)
			go func() {
				for {
					if err := c.Send(make([]byte, MaxPayload)); err != nil {
						ended <- err
						return
					}
				}
			}()
			eventually(t, "a write that waits", func() bool {
				select {
				case c.sending <- struct{}{}:
					<-c.sending
					return false
				case <-time.After(100 * time.Millisecond):
					return true
				}
			})
			began := time.Now()
			c.Close()
			if took := time.Since(began); took > writeWithin/2 {
				t.Errorf("Close took %v, want about %v", took, closeWithin)
			}
			if err := await(t, ended, "the end of Send"); !errors.Is(err, net.ErrClosed) {
				t.Errorf("want %v, got %v", net.ErrClosed, err)
			}
		})
	}
}

// stuckRelay returns the address of a relay that lets clients connect, and reads
// nothing.
func stuckRelay(t *testing.T, scheme string, authority *certificatetest.Authority) string {
	t.Helper()
	end := make(chan struct{})
	var running sync.WaitGroup
	t.Cleanup(func() { close(end); running.Wait() })
	if scheme == WebSocket {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if conn, err := websocket.Accept(w, r, nil); err == nil {
				<-end
				conn.CloseNow()
			}
		}))
		running.Go(func() { <-end; server.Close() })
		return "ws" + strings.TrimPrefix(server.URL, "http")
	}
	listen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config := authority.Serving()
	running.Go(func() { <-end; listen.Close() })
	running.Go(func() {
		for {
			conn, err := listen.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				if scheme == TLS {
					_ = tls.Server(conn, config).Handshake() // the client tells
				}
				<-end
			})
		}
	})
	return scheme + "://" + listen.Addr().String()
}

func TestARelayThatWantsAProofGetsItOverAConnection(t *testing.T) {
	secret := []byte("correct horse")
	eachScheme(t, relaytest.ConnectedOptions{Secret: secret}, func(t *testing.T, relay *relaytest.Connected, options Options) {
		options.Secret, options.jitter = secret, func(d time.Duration) time.Duration { return d / 10 }
		c := dial(t, relay.URL, options)
		receiving(t, c)
		for round := range 2 {
			for i := range 50 {
				send(t, c, fmt.Sprint(round, i))
			}
			for i := range 50 {
				if got := relay.Next(t); got != fmt.Sprint(round, i) {
					t.Fatalf("want %q, got %q", fmt.Sprint(round, i), got)
				}
			}
			if h := c.Health(); !h.WantsProof || h.Proving || h.ShutOut || h.PayloadsLost+h.PayloadsRefused > 0 {
				t.Errorf("want a health without fault, got %+v", h)
			}
			relay.Disconnect()
			eventually(t, "another connection", func() bool {
				came, in := relay.Count()
				return came >= 2+round && in == 1 && !c.Health().Refusing
			})
		}
	})
}

func TestAProofThatIsNotAcceptedOverAConnection(t *testing.T) {
	for name, secret := range map[string][]byte{"no secret": nil, "a wrong one": []byte("wrong")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			relay := relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: TCP, Secret: []byte("right")})
			c := dial(t, relay.URL, Options{Secret: secret, jitter: soon})
			receiving(t, c)
			eventually(t, "the end of patience", func() bool { return c.Health().ShutOut })
			err := c.Send([]byte("late"))
			want := "the relay at " + relay.URL + " wants a proof and does not accept ours"
			if shut := (*ProofError)(nil); !errors.As(err, &shut) || err.Error() != want || !shut.Refused {
				t.Errorf("want %q, got %v", want, err)
			}
			relay.Close() // comes back without a secret
			relay = relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: TCP, Address: relay.Addr})
			eventually(t, "to be let in", func() bool {
				h := c.Health()
				return !h.ShutOut && !h.Proving && !h.Refusing
			})
			send(t, c, "now")
			if got := relay.Next(t); got != "now" {
				t.Errorf("want %q, got %q", "now", got)
			}
		})
	}
}

func TestStreamWireOfManyFrames(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	w := newStreamWire(ours, ours)
	defer w.close(time.Now())
	var frames []byte
	for i := range 300 {
		frames = framing.Append(frames, bytes.Repeat([]byte{byte(i)}, i*10))
	}
	go func() { _, _ = theirs.Write(frames) }()
	buf := make([]byte, 1000)
	for i := range 300 {
		n, err := w.receive(buf)
		if want := min(i*10, len(buf)); err != nil || n != want {
			t.Fatalf("frame %d: want %d bytes, got %d, %v", i, want, n, err)
		}
	}
}
