package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/peers"
	"udprelay/relay"
)

func TestKickedClientIsCutAndMayComeBack(t *testing.T) {
	r := openRoom(t, nil)
	a, b := r.tcp(), r.tcp()
	r.relay.Peers().Kick(func(p *peers.Peer) bool { return p.Addr() == a.address() })
	a.wantsEnd()
	r.awaitEnded(TakenOut, 1)
	again := r.tcp()
	b.say("to one who came back")
	wants(t, again, "to one who came back")
	r.balance()
}

// A kick while it speaks is no end of another kind.
func TestKickedWhileSpeaking(t *testing.T) {
	r := openRoom(t, nil)
	const clients = 20
	for range clients {
		c := r.tcp()
		go func() {
			for {
				if _, err := c.conn.Write([]byte("\x00\x05hello")); err != nil {
					return
				}
			}
		}()
		go func() {
			for err := error(nil); err == nil; {
				_, err = c.hear()
			}
		}()
	}
	await(t, func() bool { return r.relay.Stats().Relayed > 1000 }, func() string { return "want them to speak" })
	r.relay.Peers().Kick(func(*peers.Peer) bool { return true })
	r.awaitEnded(TakenOut, clients)
	r.balance()
}

func TestBannedClientIsCutAndStaysOut(t *testing.T) {
	needLoopback(t)
	r := openRoom(t, nil)
	a, b := r.tcpFrom("127.0.0.2"), r.tcpFrom("127.0.0.3")
	banned := netip.MustParsePrefix("127.0.0.2/32")
	if _, err := r.relay.Peers().Ban(banned, time.Time{}, "", time.Now()); err != nil {
		t.Fatal(err)
	}
	a.wantsEnd()
	r.awaitEnded(TakenOut, 1)
	newStreamTalker(t, r.dial(peers.TCP, "127.0.0.2")).wantsEnd()
	r.awaitEnded(NotLetIn, 1)
	r.relay.Peers().Unban(banned)
	r.tcpFrom("127.0.0.2").say("back")
	wants(t, b, "back")
	r.balance()
}

func TestIdleClientsAreDisconnected(t *testing.T) {
	r := openRoom(t, nil)
	var lively *streamTalker
	// On a slow machine, keep-alives come in time only if there is more of it.
	for idle := 300 * time.Millisecond; lively == nil || r.peer(lively.address()) == nil; idle *= 2 {
		if idle > patience {
			t.Fatal("want the lively one to stay; it is gone")
		}
		r.apply(func(o *Options) { o.Idle = idle })
		before := r.gateway.Stats().Ended[Silent]
		silent := r.tcp()
		lively = r.tcp()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for r.gateway.Stats().Ended[Silent] == before {
				lively.conn.Write([]byte{0, 0}) // a keep-alive
				time.Sleep(20 * time.Millisecond)
			}
		}()
		silent.wantsEnd()
		<-ended
	}
	before := r.gateway.Stats().Ended[Silent]
	// Idle is changed for those that are there.
	r.apply(func(o *Options) { o.Idle = 0 })
	kept := r.tcp()
	r.apply(func(o *Options) { o.Idle = 50 * time.Millisecond })
	kept.wantsEnd()
	r.awaitEnded(Silent, before+2)
}

func TestMovingTheListenerKeepsClients(t *testing.T) {
	r := openRoom(t, nil)
	a, b := r.tcp(), r.tcp()
	before := r.addr(peers.TCP)
	r.apply(func(o *Options) { o.TCP = "127.0.0.2:0" })
	if r.addr(peers.TCP) == before {
		t.Fatalf("want it to listen elsewhere; got %v", before)
	}
	if conn, err := net.Dial("tcp", before.String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("want nobody at %v; got %v, %v", before, conn, err)
	}
	c := r.tcp()
	a.say("before and after")
	wants(t, b, "before and after")
	wants(t, c, "before and after")
	// Off.
	r.apply(func(o *Options) { o.TCP = "" })
	for _, l := range []*streamTalker{a, b, c} {
		l.wantsEnd()
	}
	r.awaitEnded(Stopped, 3)
	r.awaitPeers(0)
	if got := r.gateway.Addrs(); len(got) != 0 {
		t.Errorf("want it to listen nowhere; got %v", got)
	}
	r.balance()
}

// The same port at other addresses is in use until the previous listener is
// closed.
func TestListenerMovesToOtherAddressesOfItsPort(t *testing.T) {
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TCP = "0.0.0.0:0" }) // a port that is free at all addresses
	a := r.tcp()
	port := r.addr(peers.TCP).Port()
	for _, host := range []string{"127.0.0.1", "0.0.0.0", "127.0.0.1", "", "127.0.0.2", "127.0.0.1"} {
		r.apply(func(o *Options) { o.TCP = fmt.Sprintf("%s:%d", host, port) })
	}
	b := r.tcp()
	a.say("moved")
	wants(t, b, "moved")
	// Two change places.
	authority := certificatetest.New(t)
	r.apply(func(o *Options) { o.TLS, o.Certificates = here, loadCertificate(t, authority, "") })
	tls := r.addr(peers.TLS)
	r.apply(func(o *Options) { o.TCP, o.TLS = tls.String(), fmt.Sprintf("127.0.0.1:%d", port) })
	if r.addr(peers.TCP) != tls || r.addr(peers.TLS).Port() != port {
		t.Errorf("want the places changed; got %v", r.gateway.Addrs())
	}
	c := r.tls(authority.Client())
	a.say("changed")
	wants(t, b, "changed")
	wants(t, c, "changed")
	// One that is taken by somebody else changes nothing.
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	before := r.gateway.Addrs()
	wrong := r.ways
	wrong.TCP, wrong.TLS = r.ways.TLS, other.Addr().String()
	failed := (*ListenError)(nil)
	if err := r.gateway.Apply(context.Background(), wrong); !errors.As(err, &failed) || failed.Key != "gateway.tls.listen" {
		t.Fatalf("want a ListenError of gateway.tls.listen; got %v", err)
	}
	if after := r.gateway.Addrs(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("want it to listen at %v as before; got %v", before, after)
	}
	d := r.tcp()
	d.say("as before")
	wants(t, a, "as before")
}

func TestWhatCannotBeOpenedChangesNothing(t *testing.T) {
	taken, err := net.Listen("tcp", here)
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.Connections = 3 })
	a := r.tcp()
	for name, c := range map[string]struct {
		change    func(*Options)
		key, want string
	}{
		"in use":         {func(o *Options) { o.TCP = taken.Addr().String() }, "gateway.tcp.listen", "address already in use"},
		"no address":     {func(o *Options) { o.TCP = "192.0.2.1:1" }, "gateway.tcp.listen", "cannot assign requested address"},
		"no port":        {func(o *Options) { o.TCP = "127.0.0.1" }, "gateway.tcp.listen", "missing port"},
		"no certificate": {func(o *Options) { o.TLS = here }, "gateway.tls.listen", "there is no certificate"},
		"wss":            {func(o *Options) { o.WebSocket, o.Encrypted = here, true }, "gateway.websocket.listen", "there is no certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			before := fmt.Sprint(r.gateway.Addrs())
			wrong := r.ways
			wrong.Connections = 1
			c.change(&wrong)
			failed := (*ListenError)(nil)
			err := r.gateway.Apply(context.Background(), wrong)
			if !errors.As(err, &failed) || failed.Key != c.key || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), c.key+" ") {
				t.Errorf("want an error of %s: %s; got %v", c.key, c.want, err)
			}
			if after := fmt.Sprint(r.gateway.Addrs()); after != before {
				t.Errorf("want it to listen at %v as before; got %v", before, after)
			}
			b := r.tcp() // more than one connection
			b.say(name)
			wants(t, a, name)
			b.conn.Close()
			r.awaitPeers(1)
		})
	}
}

func TestCloseFlushesWhatWaitsAndEndsEveryone(t *testing.T) {
	r, all := mixed(t, 2)
	sender := r.tcp()
	const count = 400
	payload := strings.Repeat("x", 1000)
	heard := make(chan int, len(all))
	for _, c := range all {
		stream, ok := c.(*streamTalker)
		if !ok {
			continue
		}
		go func() {
			n := 0
			for ; ; n++ {
				if _, err := stream.hear(); err != nil {
					break
				}
			}
			heard <- n
		}()
	}
	var many []string
	for range count {
		many = append(many, payload)
	}
	sender.sayAll(many...)
	await(t, func() bool { return r.relay.Stats().Relayed == count }, func() string { return "want all relayed" })
	r.gateway.Close()
	for range 4 {
		if n := <-heard; n != count {
			t.Errorf("want all %d heard before the end; got %d", count, n)
		}
	}
	r.balance()
	s := r.gateway.Stats()
	if s.Ended[Stopped] != 5 || s.Connections != 0 || len(s.Clients) != 0 {
		t.Errorf("want all 5 ended as stopped; got %+v", s)
	}
	if err := r.gateway.Apply(context.Background(), r.ways); !errors.Is(err, ErrClosed) {
		t.Errorf("want %v; got %v", ErrClosed, err)
	}
	r.gateway.Close() // once more does no harm
}

// Who goes on sending hears the end, and all before it, and no reset.
func TestCloseIsHeardByThoseWhoSend(t *testing.T) {
	authority := certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TLS, o.Certificates = here, loadCertificate(t, authority, "") },
		func(g *Gateway) { g.waits.linger = patience })
	for _, c := range []*streamTalker{r.tcp(), r.tls(authority.Client())} {
		ended := make(chan struct{})
		go func() { // sends until it hears the end
			defer c.conn.Close()
			for {
				select {
				case <-ended:
					return
				default:
					c.sayOnce("x")
				}
			}
		}()
		go func() {
			defer close(ended)
			for {
				if _, err := c.hear(); err != nil {
					if err != io.EOF {
						t.Errorf("want EOF; got %v", err)
					}
					return
				}
			}
		}()
	}
	await(t, func() bool { return r.relay.Stats().Relayed > 1000 }, func() string { return "want them to speak" })
	r.gateway.Close()
	r.balance()
}

// Handshakes, clients that prove themselves, and clients that take nothing or go on
// sending do not hold it up.
func TestCloseDoesNotWaitForSlowClients(t *testing.T) {
	authority := certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) {
		o.TLS, o.WebSocket, o.Certificates = here, here, loadCertificate(t, authority, "")
		o.Queue = 256 << 10
	}, func(g *Gateway) {
		g.waits.leave = leaveWithin
		g.waits.handshake, g.waits.prove, g.waits.linger = patience, patience, patience
	})
	r.dial(peers.TLS, "") // says nothing
	r.dial(peers.WebSocket, "")
	r.tcp() // does not close when it is told to
	byTCP, byTLS, byWebSocket := r.stick(), r.tls(authority.Client()), r.raw("")
	sender := r.tcp()
	await(t, func() bool { return r.gateway.Stats().Connections == 7 }, func() string { return "want 7 connections" })
	for _, stuck := range []interface{ address() netip.AddrPort }{byTCP, byTLS, byWebSocket} {
		p := r.peer(stuck.address())
		await(t, func() bool {
			sender.say(strings.Repeat("x", 60_000))
			return r.relay.PeerStats(p).Dropped[relay.DropQueueFull] > 0
		}, func() string { return fmt.Sprintf("want the queue of %v full", stuck.address()) })
	}
	began := time.Now()
	r.gateway.Close()
	if took := time.Since(began); took > flushWithin*7/10 {
		t.Errorf("want Close to take about %v; it took %v", leaveWithin, took)
	} else {
		t.Logf("Close took %v", took)
	}
	r.balance()
	if s := r.relay.Stats(); s.Dropped[relay.DropDisconnected] == 0 {
		t.Errorf("want what did not leave counted as disconnected; got %+v", s)
	}
}

// Clients notice when the relay ends.
func TestRelayEndsUnderTheGateway(t *testing.T) {
	r := openRoom(t, nil)
	a, b := r.tcp(), r.tcp()
	r.stop()
	a.say("to nobody")
	a.wantsEnd()
	r.awaitEnded(Stopped, 1)
	b.conn.Close()
	r.awaitEnded(Left, 1)
	r.balance()
}

// All bad clients are logged: package logs bounds and counts lines.
func TestEachBadClientIsLogged(t *testing.T) {
	r := openRoom(t, func(o *relay.Options, _ *Options) {
		o.Peers.Access = []peers.Rule{rule("any", peers.MayNothing, peers.JoinOpen)}
	})
	const count = 30
	for range count {
		newStreamTalker(t, r.dial(peers.TCP, "")).wantsEnd()
	}
	r.awaitEnded(NotLetIn, count)
	if lines := r.log.Lines("level=WARN msg=\"client refused\""); len(lines) != count || !strings.Contains(lines[0], "reason=not_let_in") {
		t.Errorf("want %d warnings with the reason; got %q", count, lines)
	}
}
