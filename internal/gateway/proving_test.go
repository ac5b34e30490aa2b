package gateway

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/internal/framing"
	"udprelay/internal/proof"
	"udprelay/peers"
	"udprelay/relay"
)

var secret = []byte("a secret of the room")

// secretRoom returns a room that only those may enter who know the secret, by
// TCP and TLS.
func secretRoom(t *testing.T, change func(*relay.Options, *Options), with ...func(*Gateway)) (*room, *certificatetest.Authority) {
	t.Helper()
	authority := certificatetest.New(t)
	return openRoom(t, func(o *relay.Options, g *Options) {
		o.Peers.Access = []peers.Rule{rule("any", peers.MayBoth, peers.JoinSecret)}
		o.Secret, g.Secret = secret, secret
		g.TLS, g.Certificates = here, loadCertificate(t, authority, "")
		if change != nil {
			change(o, g)
		}
	}, with...), authority
}

// strangers returns a client by TCP and one by TLS that have proved nothing.
func strangers(r *room, authority *certificatetest.Authority) map[string]*streamTalker {
	return map[string]*streamTalker{"tcp": newStreamTalker(r.t, r.dial(peers.TCP, "")), "tls": r.tlsStranger(authority.Client())}
}

// provesWith has a client go through the exchange with what it takes for the
// secret.
func (c *streamTalker) provesWith(secret []byte) {
	c.t.Helper()
	wants(c.t, c, "") // prove yourself
	c.say(proof.Hello)
	answer, err := c.hear()
	if err != nil {
		c.t.Fatalf("want a cookie; got %v", err)
	}
	cookie, ok := proof.Cookie([]byte(answer))
	if !ok {
		c.t.Fatalf("want a cookie; got %s", short(answer))
	}
	c.say(string(proof.Join(cookie, secret)))
}

func TestClientsProveThatTheyKnowTheSecret(t *testing.T) {
	r, authority := secretRoom(t, nil)
	for name, c := range strangers(r, authority) {
		c.provesWith(secret)
		r.awaitIn(c.address())
		if p := r.peer(c.address()); p.Proof() != peers.JoinSecret {
			t.Errorf("%s: want the secret proved; got %v", name, p.Proof())
		}
	}
	r.awaitPeers(2)
}

func TestProofAndWhatFollowsMayComeInOneWrite(t *testing.T) {
	r, authority := secretRoom(t, nil)
	all := strangers(r, authority)
	a, b := all["tcp"], all["tls"]
	a.provesWith(secret)
	r.awaitIn(a.address())
	wants(t, b, "")
	b.sayAll(string(secret), "one", "", "two")
	wants(t, a, "one", "two")
	a.say("three")
	wants(t, b, "three")
	r.balance()
}

func TestEmptyFramesAreAnsweredUntilTheClientIsIn(t *testing.T) {
	r, authority := secretRoom(t, nil)
	c := strangers(r, authority)["tcp"]
	wants(t, c, "")
	c.say("")
	c.provesWith(secret)
	r.awaitIn(c.address())
	if s := r.relay.Stats(); s.Received != 0 {
		t.Errorf("want nothing of it received by the relay; got %+v", s)
	}
}

func TestWhoShowsSomethingElseIsRefused(t *testing.T) {
	for name, says := range map[string]func(*streamTalker){
		"a wrong secret":      func(c *streamTalker) { c.say("a secret of another room") },
		"a part of it":        func(c *streamTalker) { c.say(string(secret[:5])) },
		"a datagram":          func(c *streamTalker) { c.say("x") },
		"an HTTP request":     func(c *streamTalker) { c.say("GET / HTTP/1.1\r\n\r\n") },
		"no cookie":           func(c *streamTalker) { c.say("udprelay join 0123456789abcdef0123\n") },
		"proof, wrong secret": func(c *streamTalker) { c.provesWith([]byte("another")) },
		"proof, no secret":    func(c *streamTalker) { c.provesWith(nil) },
	} {
		t.Run(name, func(t *testing.T) {
			r, authority := secretRoom(t, nil)
			for _, c := range strangers(r, authority) {
				says(c)
				for {
					if _, err := c.hear(); err != nil {
						break
					}
				}
			}
			r.awaitEnded(BadProof, 2)
			r.awaitPeers(0)
			if got := r.log.Lines(`reason=bad_proof`); len(got) != 2 {
				t.Errorf("want both told; got %q", got)
			}
		})
	}
}

func TestNobodyKnowsASecretThatThereIsNot(t *testing.T) {
	r, authority := secretRoom(t, func(o *relay.Options, g *Options) { o.Secret, g.Secret = nil, nil })
	all := strangers(r, authority)
	all["tls"].provesWith([]byte{})
	all["tcp"].provesWith(nil)
	r.awaitEnded(BadProof, 2)
	r.awaitPeers(0)
}

func TestWhoDoesNotProveItselfInTimeIsRefused(t *testing.T) {
	r, _ := secretRoom(t, nil, func(g *Gateway) { g.waits.prove = time.Second })
	silent, slow := newStreamTalker(t, r.dial(peers.TCP, "")), newStreamTalker(t, r.dial(peers.TCP, ""))
	for _, c := range []*streamTalker{silent, slow} {
		wants(t, c, "")
	}
	slow.conn.Write([]byte{0}) // fails if the time was over first
	for _, c := range []*streamTalker{silent, slow} {
		c.wantsEnd()
	}
	r.awaitEnded(Unproven, 2)
}

func TestWhoGoesOnAskingOrGoesAwayIsRefused(t *testing.T) {
	r, _ := secretRoom(t, nil)
	asking, gone := newStreamTalker(t, r.dial(peers.TCP, "")), newStreamTalker(t, r.dial(peers.TCP, ""))
	gone.conn.Close()
	r.awaitEnded(Unproven, 1)
	for range proofTries {
		wants(t, asking, "")
		asking.say("")
	}
	wants(t, asking, "")
	asking.wantsEnd()
	r.awaitEnded(Unproven, 2)
}

func TestNewSecretCountsAtOnce(t *testing.T) {
	r, authority := secretRoom(t, nil)
	all := strangers(r, authority)
	old, late := all["tls"], all["tcp"]
	old.provesWith(secret)
	r.awaitIn(old.address())
	wants(t, late, "")
	r.apply(func(o *Options) { o.Secret = []byte("another") })
	changed := r.options
	changed.Secret = []byte("another")
	r.relay.Apply(changed)
	old.wantsEnd()
	r.awaitEnded(TakenOut, 1)
	late.say(string(secret))
	late.wantsEnd()
	r.awaitEnded(BadProof, 1)
	again := strangers(r, authority)["tcp"]
	again.provesWith([]byte("another"))
	r.awaitIn(again.address())
}

// farClient serves a client as if it came by TCP or TLS from another host, and
// returns its end.
func farClient(t *testing.T, r *room, transport peers.Transport) *streamTalker {
	t.Helper()
	near, far := net.Pipe()
	t.Cleanup(func() { far.Close() })
	l := &listener{gateway: r.gateway, way: byTCP}
	s := &stream{raw: near, conn: near, reader: framing.NewReader(near)}
	c := l.newClient(s, netip.MustParseAddrPort("192.0.2.1:1234"), transport)
	r.gateway.working.Go(func() { r.gateway.serve(c) })
	return newStreamTalker(t, far)
}

func TestTheSecretItselfIsNotTakenInTheClear(t *testing.T) {
	r, _ := secretRoom(t, nil)
	c := farClient(t, r, peers.TCP)
	wants(t, c, "")
	c.say(string(secret))
	if _, err := c.hear(); err == nil {
		t.Error("want the connection to end; it goes on")
	}
	r.awaitEnded(ClearSecret, 1)
	if got := r.log.Lines("reason=clear_secret"); len(got) != 1 || !strings.Contains(got[0], "level=WARN") || bytes.Contains([]byte(got[0]), secret) {
		t.Errorf("want a warning without the secret; got %q", got)
	}
	// A proof is good there, and so is the secret where it is encrypted.
	c = farClient(t, r, peers.TCP)
	c.provesWith(secret)
	r.awaitPeers(1)
	c = farClient(t, r, peers.TLS)
	wants(t, c, "")
	c.say(string(secret))
	r.awaitPeers(2)
}

func TestWhereTheSecretIsSafe(t *testing.T) {
	r := openRoom(t, nil)
	for _, c := range []struct {
		addr      string
		transport peers.Transport
		safe      bool
	}{
		{"127.0.0.1:1", peers.TCP, true}, {"127.9.9.9:1", peers.WebSocket, true}, {"[::1]:1", peers.TCP, true},
		{"192.0.2.1:1", peers.TCP, false}, {"10.0.0.1:1", peers.TCP, false}, {"[fe80::1%1]:1", peers.WebSocket, false},
		{"192.0.2.1:1", peers.TLS, true}, {"192.0.2.1:1", peers.SecureWebSocket, true}, {"[2001:db8::1]:1", peers.WebSocket, false},
	} {
		made := (&listener{gateway: r.gateway}).newClient(nil, netip.MustParseAddrPort(c.addr), c.transport)
		if got := made.secretIsSafe(); got != c.safe {
			t.Errorf("%v from %s: want the secret safe %v, got %v", c.transport, c.addr, c.safe, got)
		}
	}
}
