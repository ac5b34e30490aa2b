package client

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"testing"
	"time"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/internal/gateway"
	"udprelay/peers"
	"udprelay/relay"
)

// A door is a relay with a gateway, as udprelay serve runs them.
type door struct {
	relay   *relay.Relay
	gateway *gateway.Gateway
	ca      *tls.Config
}

// openDoor opens every way into a relay whose only rule is for this machine.
func openDoor(t *testing.T, may peers.May, join peers.Join, secret []byte) *door {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	from, err := peers.ParseFrom("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	options := relay.Options{Peers: peers.Options{Expiry: time.Hour, Access: []peers.Rule{{From: "127.0.0.1", Cover: from, May: may, Join: join}}}, Logger: log}
	options.Secret = secret
	r, err := relay.New(conn, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	authority := certificatetest.New(t)
	d := &door{r, gateway.New(r, log), &tls.Config{RootCAs: authority.Pool}}
	t.Cleanup(func() {
		d.gateway.Close()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	const here = "127.0.0.1:0"
	if err := d.gateway.Apply(t.Context(), gateway.Options{
		TCP: here, TLS: here, WebSocket: here, Encrypted: true, Path: "/room", Certificates: authority.Serving(), Secret: secret, Connections: 100, Queue: 1 << 20,
	}); err != nil {
		t.Fatal(err)
	}
	return d
}

// addresses returns where clients may come.
func (d *door) addresses() []string {
	at := d.gateway.Addrs()
	return []string{
		d.relay.Addr().String(), "tcp://" + at[peers.TCP].String(), "tls://" + at[peers.TLS].String(),
		"wss://" + at[peers.SecureWebSocket].String() + "/room",
	}
}

// All who are in a room hear each other, whatever way they came, and also with a
// secret.
func TestARoomOfAllWays(t *testing.T) {
	for name, secret := range map[string][]byte{"open": nil, "secret": []byte("correct horse")} {
		t.Run(name, func(t *testing.T) {
			join := peers.JoinOpen
			if secret != nil {
				join = peers.JoinSecret
			}
			d := openDoor(t, peers.MayBoth, join, secret)
			var clients []*Client
			var heard []<-chan string
			for _, address := range d.addresses() {
				c := dial(t, address, Options{Secret: secret, TLS: d.ca})
				clients, heard = append(clients, c), append(heard, receiving(t, c))
			}
			eventually(t, "all of them in", func() bool {
				for _, c := range clients {
					if c.Health().Proving {
						return false
					}
				}
				return len(d.relay.Peers().Peers()) == len(clients)
			})
			for i, c := range clients {
				send(t, c, c.Relay())
				for other := range clients {
					if other == i {
						continue
					}
					if got := await(t, heard[other], "what another says"); got != c.Relay() {
						t.Errorf("want %q heard by %s, got %q", c.Relay(), clients[other].Relay(), got)
					}
				}
			}
			for _, c := range clients {
				if h := c.Health(); h.PayloadsLost+h.PayloadsRefused > 0 || h.Refusing || h.WantsProof != (secret != nil) {
					t.Errorf("%s: want a health without fault, got %+v", c.Relay(), h)
				}
			}
		})
	}
}

// Who may not come is told so.
func TestAGatewayTurnsAway(t *testing.T) {
	d := openDoor(t, peers.MayNothing, peers.JoinOpen, nil)
	for _, address := range d.addresses()[1:] {
		c, err := Dial(t.Context(), address, Options{TLS: d.ca, jitter: soon})
		if err != nil { // it need not even begin with TLS
			if problem, hint := explain(err.(*ConnectError).Err); hint != turnedAwayHint {
				t.Errorf("%s: want a hint at the rules, got %q, %q", address, problem, hint)
			}
			continue
		}
		receiving(t, c)
		eventually(t, "the loss known", func() bool { return c.Lost() != nil })
		if lost := c.Lost(); !lost.TurnedAway || lost.Hint != turnedAwayHint {
			t.Errorf("%s: want it turned away, got %+v", address, lost)
		}
		c.Close()
	}
}
