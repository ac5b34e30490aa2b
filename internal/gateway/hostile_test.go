package gateway

import (
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/peers"
	"udprelay/relay"
)

func TestHowConnectionsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*streamTalker)
		want Reason
	}{
		"between two frames": {func(c *streamTalker) { c.sayAll("a", "", "b"); c.closeWrite() }, Left},
		"at once":            {func(c *streamTalker) { c.closeWrite() }, Left},
		"in a header":        {func(c *streamTalker) { c.write([]byte{0}); c.closeWrite() }, BadFrame},
		"in a payload":       {func(c *streamTalker) { c.write([]byte{0, 3, 'a', 'b'}); c.closeWrite() }, BadFrame},
		"in a long one":      {func(c *streamTalker) { c.write(append([]byte{255, 255}, make([]byte, 65534)...)); c.closeWrite() }, BadFrame},
		"another protocol":   {func(c *streamTalker) { c.write([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")); c.closeWrite() }, BadFrame},
		"reset": {func(c *streamTalker) {
			c.write([]byte{0, 3, 'a'})
			c.conn.(*net.TCPConn).SetLinger(0)
			c.conn.Close()
		}, Broken},
	} {
		t.Run(name, func(t *testing.T) {
			r := openRoom(t, nil)
			witness := r.tcp()
			bad := r.tcp()
			c.end(bad)
			r.awaitEnded(c.want, 1)
			r.awaitPeers(1)
			if name == "between two frames" {
				wants(t, witness, "a", "b")
			}
			r.balance()
			r.wantNoDrops()
		})
	}
}

// Some do their best: each of them for itself, while others talk.
func TestOthersDoNotNotice(t *testing.T) {
	authority := certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TLS, o.Certificates = here, loadCertificate(t, authority, "") })
	live := []talker{r.udp(), r.tcp(), r.tls(authority.Client())}
	stop, done := make(chan struct{}), make(chan struct{})
	stopped := func() bool {
		select {
		case <-stop:
			return true
		default:
			return false
		}
	}
	hostile := []func(){
		func() { // comes and goes
			conn, err := net.Dial("tcp", r.gateway.Addrs()[peers.TCP].String())
			if err == nil {
				conn.Close()
			}
		},
		func() { // begins TLS and does not go on
			conn, err := net.Dial("tcp", r.gateway.Addrs()[peers.TLS].String())
			if err == nil {
				conn.Write([]byte{22, 3, 1, 2, 0, 1, 0})
				conn.Close()
			}
		},
		func() { // sends anything where TLS is wanted
			conn, err := net.Dial("tcp", r.gateway.Addrs()[peers.TLS].String())
			if err == nil {
				conn.Write([]byte(strings.Repeat("no TLS", 100)))
				conn.Close()
			}
		},
		func() { // asks for TLS where it is not
			conn, err := net.Dial("tcp", r.gateway.Addrs()[peers.TCP].String())
			if err == nil {
				conn.SetDeadline(time.Now().Add(20 * time.Millisecond))
				tls.Client(conn, authority.Client()).Handshake()
				conn.Close()
			}
		},
	}
	for _, attack := range hostile {
		go func() {
			for !stopped() {
				attack()
			}
			done <- struct{}{}
		}()
	}
	converseBeside(r, live, 300, 1)
	close(stop)
	for range hostile {
		<-done
	}
	await(t, func() bool { return r.gateway.Stats().Connections == 2 }, func() string { return "want all of them gone" })
	r.awaitPeers(3)
	r.balance()
	// Each is counted a moment after its place is free.
	await(t, func() bool {
		s := r.gateway.Stats()
		ended := uint64(0)
		for _, n := range s.Ended {
			ended += n
		}
		return ended == s.Accepted-2 && s.Ended[BadHandshake] > 0
	}, func() string {
		s := r.gateway.Stats()
		return fmt.Sprintf("want each of %d connections but 2 counted once; got %v", s.Accepted, s.Ended)
	})
}

// A client that sends a byte now and then takes its place and nothing more.
func TestSlowBytes(t *testing.T) {
	authority := certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.TLS, o.Certificates = here, loadCertificate(t, authority, "") },
		func(g *Gateway) { g.waits.handshake = 300 * time.Millisecond })
	slow, live := r.tcp(), []talker{r.tcp(), r.udp()}
	hello := r.dial(peers.TLS, "") // its handshake takes too long
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, b := range []byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3} {
			if _, err := hello.Write([]byte{b}); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	payload := strings.Repeat("s", 300)
	frame := append([]byte{1, 44}, payload...)
	for i := range frame {
		slow.write(frame[i : i+1])
		if i%100 == 0 {
			live[0].say("x")
			wants(t, live[1], "x")
			wants(t, slow, "x")
		}
	}
	for _, c := range live {
		wants(t, c, payload)
	}
	r.awaitEnded(BadHandshake, 1)
	<-done
	newStreamTalker(t, hello).wantsEnd()
	r.balance()
}

// Whatever comes is taken for frames; it does no harm.
func TestGarbage(t *testing.T) {
	r := openRoom(t, nil)
	u, w := r.udp(), r.tcp()
	go func() {
		for err := error(nil); err == nil; {
			_, err = u.hear()
		}
	}()
	go func() {
		for err := error(nil); err == nil; {
			_, err = w.hear()
		}
	}()
	const clients = 8
	for n := range clients {
		random := rand.New(rand.NewPCG(uint64(n), 2))
		c := r.tcp()
		go func() { // it takes what it is sent
			for err := error(nil); err == nil; {
				_, err = c.hear()
			}
		}()
		garbage := make([]byte, 1<<20)
		for i := range garbage {
			garbage[i] = byte(random.Uint32())
		}
		c.write(garbage)
		c.closeWrite()
	}
	await(t, func() bool { e := r.gateway.Stats().Ended; return e[BadFrame]+e[Left] == clients }, func() string { return "want all gone" })
	r.awaitPeers(2)
	r.balance()
	u.conn.Close()
}
