package gateway

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/peers"
	"udprelay/relay"
)

// ask sends a request as it is and returns the status of the answer, 0 if there
// is none, and its text.
func (r *room) ask(request string) (status int, text string) {
	r.t.Helper()
	by := peers.WebSocket
	if r.ways.Encrypted {
		by = peers.SecureWebSocket
	}
	conn := r.dial(by, "")
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, request) // which it may not want to read to the end
	method, _, _ := strings.Cut(request, " ")
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	body, _ := io.ReadAll(answer.Body)
	return answer.StatusCode, string(body)
}

// without returns the handshake without the line of a header, and with others.
func without(header, more string) string {
	var lines []string
	for line := range strings.Lines(rawHandshake) {
		if !strings.HasPrefix(line, header+":") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "") + more + "\r\n"
}

func TestBadHandshakesOfWebSockets(t *testing.T) {
	r := openWebSockets(t, func(_ *relay.Options, o *Options) { o.Origins = []string{"https://app.example", "null"} })
	for _, c := range []struct {
		name, request string
		status        int
		words         string
		why           Reason // 0: none
	}{
		{"the page", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", 200, "<!DOCTYPE html>", 0},
		{"the page of localhost", "GET / HTTP/1.0\r\nHost: LocalHost:9004\r\n\r\n", 200, "<!DOCTYPE html>", 0},
		{"its head", "HEAD / HTTP/1.1\r\nHost: [::1]\r\nConnection: close\r\n\r\n", 200, "", 0},
		{"the page of a listed host", "GET / HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n", 200, "<!DOCTYPE html>", 0},
		{"the page of another host", "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, "This is not evil.example; want an IP address", BadHandshake},
		{"another path", strings.Replace(without("", ""), "GET /", "GET /other", 1), 404, "nothing here", BadHandshake},
		{"another path, no WebSocket", "GET /favicon.ico HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404, "nothing here", BadHandshake},
		{"POST", "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\n\r\nbody", 405, "can only be read", BadHandshake},
		{"OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 404, "nothing here", BadHandshake},
		{"POST with an upgrade", strings.Replace(without("", ""), "GET", "POST", 1), 405, "method is not GET", BadHandshake},
		{"HTTP/1.0", strings.Replace(without("", ""), "1.1", "1.0", 1), 426, "at least HTTP/1.1", BadHandshake},
		{"no Upgrade", without("Upgrade", ""), 426, "Upgrade header", BadHandshake},
		{"no Connection", without("Connection", ""), 426, "Connection header", BadHandshake},
		{"another Upgrade", without("Upgrade", "Upgrade: h2c\r\n"), 426, "does not contain websocket", BadHandshake},
		{"no version", without("Sec-WebSocket-Version", ""), 400, "only 13", BadHandshake},
		{"an old version", without("Sec-WebSocket-Version", "Sec-WebSocket-Version: 8\r\n"), 400, "only 13", BadHandshake},
		{"no key", without("Sec-WebSocket-Key", ""), 400, "missing Sec-WebSocket-Key", BadHandshake},
		{"a bad key", without("Sec-WebSocket-Key", "Sec-WebSocket-Key: AAAA\r\n"), 400, "16 byte", BadHandshake},
		{"another origin", without("", "Origin: http://evil.example\r\n"), 403, "Pages of http://evil.example may not connect", WrongOrigin},
		{"another port", without("", "Origin: http://127.0.0.1:8080\r\n"), 403, "may not connect", WrongOrigin},
		{"two origins", without("", "Origin: http://127.0.0.1\r\nOrigin: http://evil.example\r\n"), 403, "may not connect", WrongOrigin},
		{"an origin that is none", without("", "Origin: \x7f%%\r\n"), 400, "", BadHandshake},
		{"a rebound name", without("Host", "Host: evil.example\r\nOrigin: http://evil.example\r\n"), 403, "may not connect", WrongOrigin},
		{"an origin of a listed name by another scheme", without("", "Origin: http://app.example\r\n"), 403, "may not connect", WrongOrigin},
		{"its own origin", without("", "Origin: http://127.0.0.1\r\n"), 101, "", Left},
		{"a listed origin", without("", "Origin: https://App.example\r\n"), 101, "", Left},
		{"a listed null", without("", "Origin: null\r\n"), 101, "", Left},
		{"a name, and no browser", without("Host", "Host: relay.lan\r\n"), 101, "", Left},
		{"no HTTP", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400, "", BadHandshake},
		{"HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 404, "", BadHandshake},
		{"a long head", "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, "", BadHandshake},
		{"two Hosts", without("", "Host: evil.example\r\n"), 400, "", BadHandshake},
	} {
		before := r.gateway.Stats().Ended
		status, text := r.ask(c.request)
		if c.status == 431 && status == 0 {
			status = 431 // the answer was lost with what was not read
		}
		if status != c.status || !strings.Contains(text, c.words) {
			t.Errorf("%s: want %d and %q; got %d and %s", c.name, c.status, c.words, status, short(text))
		}
		await(t, func() bool { return r.gateway.Stats().Connections == 0 }, func() string { return "want the connection closed" })
		after := r.gateway.Stats().Ended
		for _, why := range Reasons() {
			want := before[why]
			if why == c.why {
				want++
			}
			await(t, func() bool { after = r.gateway.Stats().Ended; return after[why] >= want }, func() string {
				return fmt.Sprintf("%s: want it counted as %v; got %v", c.name, c.why, after)
			})
			if after[why] != want {
				t.Errorf("%s: want %d ended as %v; got %d", c.name, want, why, after[why])
			}
		}
	}
	r.apply(func(o *Options) { o.Origins = []string{"*"} })
	if status, text := r.ask(without("Host", "Host: evil.example\r\nOrigin: http://evil.example\r\n")); status != 101 {
		t.Errorf("want every origin let in; got %d, %s", status, text)
	}
}

// A page that is loaded says what it may, and that it is the same still.
func TestHeadersOfThePage(t *testing.T) {
	r := openWebSockets(t, nil)
	url := fmt.Sprintf("http://%v/", r.addr(peers.WebSocket))
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	policy := answer.Header.Get("Content-Security-Policy")
	for _, want := range []string{"default-src 'none';", "script-src 'sha256-", "style-src 'sha256-", "frame-ancestors 'none'", "form-action 'none'"} {
		if !strings.Contains(policy, want) {
			t.Errorf("want %s in the policy; got %s", want, policy)
		}
	}
	if strings.Contains(policy, "unsafe") || answer.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("want a strict page; got %v", answer.Header)
	}
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("If-None-Match", answer.Header.Get("ETag"))
	if answer, err = client.Do(request); err != nil || answer.StatusCode != http.StatusNotModified {
		t.Errorf("want it the same still; got %v, %v", answer, err)
	}

	// By TLS it is there under every name for which the certificate is taken.
	authority := certificatetest.New(t)
	r.apply(func(o *Options) { o.Encrypted, o.Certificates = true, loadCertificate(t, authority, "") })
	transport.TLSClientConfig = authority.Client()
	if request, err = http.NewRequest(http.MethodGet, strings.Replace(url, "http", "https", 1), nil); err != nil {
		t.Fatal(err)
	}
	request.Host = "relay.example"
	if answer, err = client.Do(request); err != nil || answer.StatusCode != http.StatusOK {
		t.Fatalf("want the page by TLS; got %v, %v", answer, err)
	}
	defer answer.Body.Close()
	if body, err := io.ReadAll(answer.Body); err != nil || !bytes.Equal(body, page) {
		t.Errorf("want the page; got %d bytes, %v", len(body), err)
	}
	if status, text := r.ask("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); status != 0 {
		t.Errorf("want no answer without TLS; got %d, %s", status, text)
	}
}

func TestBadFramesEndAWebSocket(t *testing.T) {
	r := openWebSockets(t, nil)
	u := r.udp()
	over := strings.Repeat("x", 65_536)
	unmasked := append([]byte{0x82, 5}, "hello"...)
	for i, c := range []struct {
		name   string
		frames []byte
		code   websocket.StatusCode
		words  string
	}{
		{"unmasked", unmasked, 1002, "RFC 6455"},
		{"reserved bit 1", frame(0xc2, "x"), 1002, ""},
		{"reserved bit 2", frame(0xa2, "x"), 1002, ""},
		{"reserved bit 3", frame(0x92, "x"), 1002, ""},
		{"a kind that is none", frame(0x83, "x"), 1002, ""},
		{"a control that is none", frame(0x8b, "x"), 1002, ""},
		{"a ping in fragments", frame(0x09, "x"), 1002, ""},
		{"a long ping", frame(0x89, strings.Repeat("x", 126)), 1002, ""},
		{"a continuation of nothing", frame(0x80, "x"), 1002, ""},
		{"a message within another", append(frame(0x02, "x"), frame(0x82, "y")...), 1002, ""},
		{"a negative length", []byte{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, 1002, "RFC 6455"},
		{"a close of one byte", frame(0x88, "x"), 1002, ""},
		{"a close with a code that is none", frame(0x88, "\x03\xed"), 1002, ""},
		{"too long", frame(0x82, over), 1009, "65,535"},
		{"too long as text", frame(0x81, over), 1009, "65,535"},
		{"too long in pieces", append(frame(0x02, over[:40_000]), frame(0x80, over[:40_000])...), 1009, "65,535"},
		{"very long", append([]byte{0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4}, over...), 1009, "65,535"},
		{"no UTF-8", frame(0x81, "\xff"), 1007, "UTF-8"},
		{"half a character", frame(0x81, "x\xe4\xb8"), 1007, "UTF-8"},
		{"no UTF-8 in pieces", append(frame(0x01, "x\xe4\xb8"), frame(0x80, "x")...), 1007, "UTF-8"},
	} {
		bad := r.raw("")
		bad.say("before")
		wants(t, u, "before")
		bad.write(c.frames)
		t.Log(c.name)
		bad.wantsClosed(c.code, c.words)
		r.awaitEnded(BadFrame, uint64(i+1))
	}
	// A character may be cut by fragments.
	good := r.raw("")
	good.write(append(frame(0x01, "\xe4\xb8"), frame(0x80, "\x96")...))
	wants(t, u, "世")
	r.awaitPeers(2)
	r.balance()
}

// What was cut off is no datagram.
func TestMessagesThatAreCutOff(t *testing.T) {
	r := openWebSockets(t, nil)
	u := r.udp()
	for i, cut := range [][]byte{
		frame(0x02, "the first of several"),               // between frames
		append(frame(0x02, "one"), frame(0x00, "two")...), // the same
		frame(0x82, "hello")[:2],                          // in the head
		frame(0x82, "hello")[:6],                          // after it
		frame(0x82, "hello")[:9],                          // in the payload
		append(frame(0x02, "one"), frame(0x80, "two")[:6]...),
	} {
		c := r.raw("")
		c.write(append(frame(0x82, fmt.Sprint("whole ", i)), cut...))
		c.conn.CloseWrite()
		wants(t, u, fmt.Sprint("whole ", i))
		r.awaitPeers(1) // the witness
	}
	last := r.raw("")
	last.write(frame(0x82, "the last"))
	last.conn.CloseWrite()
	wants(t, u, "the last")
	r.awaitPeers(1)
	r.wantNoDrops()
}

// Fragments without end, and pings that nobody waits for, cost bounded memory.
func TestFloodOfFragmentsAndPings(t *testing.T) {
	r := openWebSockets(t, nil)
	u := r.udp()
	c := r.raw("")
	c.write(frame(0x02, "begin "))
	empty := bytes.Repeat(frame(0x00, ""), 1000)
	for range 100 {
		c.write(empty)
	}
	c.write(frame(0x80, "end"))
	wants(t, u, "begin end")
	one := bytes.Repeat(frame(0x00, "x"), 1000)
	c.write(frame(0x02, ""))
	for range 65 {
		c.write(one)
	}
	go c.conn.Write(one)
	c.wantsClosed(1009, "65,535")

	// Who asks for answers and takes none is stuck, or goes.
	r2 := openWebSockets(t, nil)
	quick := r2.udp()
	pings := bytes.Repeat(frame(0x89, strings.Repeat("x", 125)), 500)
	flood := r2.raw("")
	flood.conn.SetReadBuffer(2 << 10)
	flood.conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
	for {
		if _, err := flood.conn.Write(pings); err != nil {
			break // it waits for us, or has closed
		}
	}
	other := r2.webSocket(handshake{by: peers.WebSocket})
	converse(r2, []talker{quick, other}, 50)
	flood.conn.Close()
	r2.awaitPeers(2)
	r2.balance()
	r.balance()
}

// Who does not come to the point is sent away, and gives its place to others. Who
// says nothing at all is not counted, for browsers do so.
func TestSlowHandshakesOfWebSockets(t *testing.T) {
	authority := certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) {
		o.TCP, o.WebSocket, o.Certificates, o.Connections = "", here, loadCertificate(t, authority, ""), 20
	}, func(g *Gateway) { g.waits.handshake = 200 * time.Millisecond })
	var ended uint64
	for _, encrypted := range []bool{false, true} {
		by := handshake{by: peers.WebSocket}
		if encrypted {
			by = handshake{by: peers.SecureWebSocket, config: authority.Client()}
		}
		r.apply(func(o *Options) { o.Encrypted = encrypted })
		var slow []net.Conn
		for n := range 20 {
			conn := r.dial(by.by, "")
			ended++
			switch n % 4 {
			case 0:
				ended--
			case 1:
				io.WriteString(conn, "GET / HTTP/1.1\r\nHost: 127")
			case 2:
				conn.Write([]byte{0x16, 3, 1})
			case 3:
				go func() { // a byte at a time
					for _, b := range []byte(rawHandshake) {
						if _, err := conn.Write([]byte{b}); err != nil {
							return
						}
						time.Sleep(20 * time.Millisecond)
					}
				}()
			}
			slow = append(slow, conn)
		}
		r.awaitEnded(BadHandshake, ended)
		await(t, func() bool { return r.gateway.Stats().Connections == 0 }, func() string {
			return fmt.Sprintf("want no connection left; got %+v", r.gateway.Stats())
		})
		for _, conn := range slow {
			conn.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, conn); err != nil && strings.Contains(err.Error(), "timeout") {
				t.Errorf("want the connection closed; got %v", err)
			}
			conn.Close()
		}
	}
	if s := r.gateway.Stats(); s.Accepted != 40 || s.Ended[BadHandshake] != 30 {
		t.Errorf("want 40 accepted, and 10 of them not counted; got %+v", s)
	}
}

func TestWebSocketsAreBounded(t *testing.T) {
	r := openWebSockets(t, func(_ *relay.Options, o *Options) { o.Connections = 10 })
	var in []talker
	for range 10 {
		in = append(in, r.webSocket(handshake{by: peers.WebSocket}))
	}
	for n := range 30 {
		conn := r.dial(peers.WebSocket, "")
		if _, err := conn.Read(make([]byte, 1)); err == nil {
			t.Error("want the connection closed; got an answer")
		}
		r.awaitEnded(TooMany, uint64(n+1))
	}
	converse(r, in, 20)
	in[0].(*wsTalker).conn.Close(websocket.StatusNormalClosure, "")
	await(t, func() bool { return r.gateway.Stats().Connections == 9 }, func() string { return "want a free place" })
	r.webSocket(handshake{by: peers.WebSocket})
	r.balance()
	r.wantNoDrops()
}

// A client that takes nothing costs nobody else a datagram.
func TestStuckWebSocketBesideLiveOnes(t *testing.T) {
	authority := certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) {
		o.WebSocket, o.Certificates, o.Queue = here, loadCertificate(t, authority, ""), 256<<10
	}, func(g *Gateway) { g.waits.stuck = 2 * time.Second })
	stuck := r.raw("")
	stuck.conn.SetReadBuffer(2 << 10)
	p := r.webSocketPeer(stuck.address())
	live := []talker{r.udp(), r.tcp(), r.webSocket(handshake{by: peers.WebSocket})}
	r.apply(func(o *Options) { o.Encrypted = true })
	live = append(live, r.webSocket(handshake{by: peers.SecureWebSocket, config: authority.Client()}))
	for until := time.Now().Add(patience); r.gateway.Stats().Ended[Stuck] == 0 && time.Now().Before(until); {
		converseBeside(r, live, 200, 1)
		if t.Failed() {
			break
		}
	}
	r.awaitEnded(Stuck, 1)
	r.awaitPeers(len(live))
	r.balance()
	s, of := r.relay.Stats(), r.relay.PeerStats(p)
	for why, count := range s.Dropped {
		if drop := relay.Drop(why); count > 0 && (count != of.Dropped[why] || drop != relay.DropQueueFull && drop != relay.DropDisconnected) {
			t.Errorf("want all drops to be of the stuck one, for its queue; got %d as %v, of it %d", count, drop, of.Dropped[why])
		}
	}
	if of.Dropped[relay.DropQueueFull] == 0 || of.Dropped[relay.DropDisconnected] == 0 {
		t.Errorf("want its queue full, and what waited counted; got %+v", of)
	}
	for _, c := range live {
		wantNothingMore(r, c, live)
	}
}

// What is counted as delivered to one who vanishes in the middle has left.
func TestWebSocketsComeAndGoUnderLoad(t *testing.T) {
	r := openWebSockets(t, func(_ *relay.Options, o *Options) { o.Queue = 128 << 10 })
	sender := r.webSocket(handshake{by: peers.WebSocket})
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				sender.say(fmt.Sprint(n, strings.Repeat("x", n%3000)))
			}
		}
	}()
	for n := range 60 {
		c := r.raw("")
		for range n {
			if _, _, err := c.next(); err != nil {
				t.Fatal(err)
			}
		}
		switch n % 4 {
		case 0:
			c.conn.Close()
		case 1:
			c.conn.SetLinger(0)
			c.conn.Close()
		case 2:
			c.write(frame(0x88, "\x03\xe8"))
			c.wantsClosed(1000, "")
			c.conn.Close()
		case 3:
			r.relay.Peers().Forget(r.webSocketPeer(c.address()))
			c.wantsClosed(1008, "kicked")
			c.conn.Close()
		}
	}
	close(stop)
	<-stopped
	r.awaitPeers(1)
	r.awaitEnded(TakenOut, 15)
	await(t, func() bool {
		e := r.gateway.Stats().Ended
		return e[Left]+e[Broken] == 45 && e[Left] >= 15
	}, func() string { return fmt.Sprintf("want 45 that left or broke; got %v", r.gateway.Stats().Ended) })
	r.balance()
}
