package gateway

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/internal/proof"
	"udprelay/peers"
	"udprelay/relay"
)

// openWebSockets returns a room that everyone may enter, by UDP and WebSocket.
func openWebSockets(t testing.TB, change func(*relay.Options, *Options)) *room {
	t.Helper()
	return openRoom(t, func(r *relay.Options, o *Options) {
		o.TCP, o.WebSocket = "", here
		if change != nil {
			change(r, o)
		}
	})
}

// TestWebSocketsAmongOthers also sees to it that a reload decides what those are
// that come, and leaves those that are there.
func TestWebSocketsAmongOthers(t *testing.T) {
	authority := certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) {
		o.TLS, o.Certificates, o.WebSocket = here, loadCertificate(t, authority, ""), here
	})
	all := []talker{r.udp(), r.webSocket(handshake{by: peers.WebSocket}), r.tcp(), r.webSocket(handshake{by: peers.WebSocket}), r.udp(), r.tls(authority.Client())}
	r.apply(func(o *Options) { o.Encrypted = true })
	wss := handshake{by: peers.SecureWebSocket, config: authority.Client()}
	all = append(all, r.webSocket(wss), r.webSocket(wss))
	for at, want := range map[int]peers.Transport{1: peers.WebSocket, 6: peers.SecureWebSocket} {
		if got := r.webSocketPeer(all[at].address()).Transport(); got != want {
			t.Errorf("want a peer by %v; got %v", want, got)
		}
	}
	converse(r, all, 300)
	r.wantNoDrops()
	for _, c := range all {
		wantNothingMore(r, c, all)
	}
}

func TestMessagesOfAnyKindAndLengthGoThrough(t *testing.T) {
	r := openWebSockets(t, nil)
	u, a, b := r.udp(), r.webSocket(handshake{by: peers.WebSocket}), r.webSocket(handshake{by: peers.WebSocket})
	everyByte := make([]byte, 256)
	for i := range everyByte {
		everyByte[i] = byte(i)
	}
	long := strings.Repeat("0123456789abcdef", 4096)
	for _, size := range []int{1, 2, 125, 126, 127, 4080, 4096, 4097, 8000, 65_507} {
		a.say(long[:size])
		wants(t, b, long[:size])
		wants(t, u, long[:size])
		u.say(long[:size])
		wants(t, a, long[:size])
		wants(t, b, long[:size])
	}
	a.say(string(everyByte))
	a.sayAs(websocket.MessageText, "grüße, 世界")
	a.sayAs(websocket.MessageText, "")
	a.say("")
	a.say("after")
	wants(t, b, string(everyByte), "grüße, 世界", "after")
	wants(t, u, string(everyByte), "grüße, 世界", "after")
	a.say(long[:65_535])
	wants(t, b, long[:65_535])
	r.awaitRelayed(24)
	r.balance()
	if s := r.relay.Stats(); s.KeepAlives != 3 || s.Dropped[relay.DropTooBig] != 1 {
		t.Errorf("want 3 keep-alives, and 1 dropped as too_big; got %+v", s)
	}
}

// TestMessageInFragments sends datagrams in pieces, with pings between them, and
// several in one write.
func TestMessageInFragments(t *testing.T) {
	r := openWebSockets(t, nil)
	u, c := r.udp(), r.raw("")
	c.write(frame(0x02, "one "))
	c.write(frame(0x89, "are you there?"))
	c.write(frame(0x00, ""))
	c.write(frame(0x80, "datagram"))
	if first, payload, err := c.next(); first != 0x8a || payload != "are you there?" || err != nil {
		t.Errorf("want the pong; got %#x %q, %v", first, payload, err)
	}
	var many []byte
	var want []string
	for i := range 200 {
		payload := strings.Repeat(string(rune('a'+i%26)), 1+i*7)
		want = append(want, payload)
		many = append(many, frame(0x82, payload)...)
	}
	c.write(many)
	wants(t, u, "one datagram")
	wants(t, u, want...)
	if got := r.webSocketPeer(c.address()).Path.Counts.Received.Load(); got != 201 {
		t.Errorf("want 201 received from it; got %d", got)
	}
	c.say("x")
	wants(t, u, "x")
	u.say("to all")
	wants(t, c, "to all")
	r.balance()
}

func TestSecretOfWebSockets(t *testing.T) {
	authority := certificatetest.New(t)
	const secret = "correct horse / battery+staple\xff"
	r := openWebSockets(t, func(r *relay.Options, o *Options) {
		r.Peers.Access = []peers.Rule{rule("any", peers.MayBoth, peers.JoinSecret)}
		o.Secret, o.Certificates = []byte(secret), loadCertificate(t, authority, "")
	})
	for _, by := range []handshake{{by: peers.WebSocket}, {by: peers.SecureWebSocket, config: authority.Client()}} {
		r.apply(func(o *Options) { o.Encrypted = by.config != nil })
		shown := by
		shown.subprotocols = []string{"other", subprotocol, secretName(secret)}
		a, answer := r.openWebSocket(shown)
		if a == nil {
			t.Fatalf("want a WebSocket; got %v", answer)
		}
		r.awaitWebSocket(a.addr)
		if got := answer.Header.Values("Sec-WebSocket-Protocol"); len(got) != 1 || got[0] != subprotocol {
			t.Errorf("want the subprotocol %s and no more in the answer; got %q", subprotocol, got)
		}

		first, _ := r.openWebSocket(by)
		wants(t, first, "")
		first.say(secret)
		r.awaitWebSocket(first.addr)

		proves, _ := r.openWebSocket(by)
		wants(t, proves, "")
		proves.say(proof.Hello)
		text, err := proves.hear()
		cookie, ok := proof.Cookie([]byte(text))
		if err != nil || !ok {
			t.Fatalf("want a cookie; got %q, %v", text, err)
		}
		proves.say(string(proof.Join(cookie, []byte(secret))))
		r.awaitWebSocket(proves.addr)
		converse(r, []talker{a, first, proves}, 20)
		for _, c := range []*wsTalker{a, first, proves} {
			c.conn.Close(websocket.StatusNormalClosure, "")
		}
		r.awaitPeers(0)

		for _, wrong := range []string{"", "correct", secret + "."} {
			shown.subprotocols = []string{subprotocol, secretName(wrong)}
			c, _ := r.openWebSocket(shown)
			c.wantsClosed(websocket.StatusPolicyViolation, "not the secret")
		}
		c, _ := r.openWebSocket(by)
		wants(t, c, "")
		c.say("open, please")
		c.wantsClosed(websocket.StatusPolicyViolation, "not the secret")
	}
	r.awaitEnded(BadProof, 8)
	r.awaitEnded(Left, 6)
	for _, bad := range []string{secretPrefix + "!", secretPrefix + "YQ==", secretPrefix + "YR"} {
		if c, answer := r.openWebSocket(handshake{by: peers.SecureWebSocket, config: authority.Client(), subprotocols: []string{subprotocol, bad}}); c != nil || answer.StatusCode != http.StatusBadRequest {
			t.Errorf("want %s refused with 400; got %v", bad, answer)
		}
	}
	r.awaitEnded(BadHandshake, 3)
	r.balance()
	if lines := r.log.Lines("correct"); len(lines) > 0 {
		t.Errorf("want no secret in the log; got %q", lines)
	}
}

func TestWebSocketsWithClientCertificates(t *testing.T) {
	authority := certificatetest.New(t)
	r := openWebSockets(t, func(_ *relay.Options, o *Options) {
		o.Encrypted, o.Certificates = true, loadCertificate(t, authority, authority.File)
	})
	config := authority.Client()
	config.Certificates = []tls.Certificate{authority.Pair("client", nil)}
	u, c := r.udp(), r.webSocket(handshake{by: peers.SecureWebSocket, config: config})
	converse(r, []talker{u, c}, 50)

	if c, answer := r.openWebSocket(handshake{by: peers.SecureWebSocket, config: authority.Client()}); c != nil || answer != nil {
		t.Errorf("want no connection without a certificate; got %v", answer)
	}
	r.awaitEnded(BadHandshake, 1)
	config = authority.Client()
	config.Certificates = []tls.Certificate{certificatetest.New(t).Pair("client", nil)}
	if c, answer := r.openWebSocket(handshake{by: peers.SecureWebSocket, config: config}); c != nil || answer != nil {
		t.Errorf("want no connection with the certificate of another authority; got %v", answer)
	}
	r.awaitEnded(BadHandshake, 2)
	r.balance()
}

func TestWhatAWebSocketIsToldAtTheEnd(t *testing.T) {
	r := openWebSockets(t, nil)
	u := r.udp()
	open := func() *wsTalker { return r.webSocket(handshake{by: peers.WebSocket}) }

	kicked := open()
	r.relay.Peers().Forget(r.webSocketPeer(kicked.addr))
	kicked.wantsClosed(websocket.StatusPolicyViolation, "kicked")
	r.awaitEnded(TakenOut, 1)

	leaves := open()
	leaves.conn.Close(websocket.StatusNormalClosure, "")
	r.awaitEnded(Left, 1)
	vanishes := r.raw("")
	vanishes.conn.Close()
	r.awaitEnded(Left, 2)
	breaks := r.raw("")
	breaks.conn.SetLinger(0)
	breaks.conn.Close()
	r.awaitEnded(Broken, 1)

	silent := open()
	r.apply(func(o *Options) { o.Idle = 1 })
	silent.wantsClosed(websocket.StatusPolicyViolation, "nothing was sent for too long")
	r.awaitEnded(Silent, 1)
	r.apply(func(o *Options) { o.Idle = 0 })

	moved := open()
	r.apply(func(o *Options) { o.Path = "/elsewhere" })
	u.say("still there")
	wants(t, moved, "still there")
	off := open()
	r.apply(func(o *Options) { o.WebSocket = "" })
	moved.wantsClosed(websocket.StatusGoingAway, "stops")
	off.wantsClosed(websocket.StatusGoingAway, "stops")
	r.awaitEnded(Stopped, 2)

	r.apply(func(o *Options) { o.WebSocket = here })
	last := open()
	closed := make(chan struct{})
	go func() {
		r.gateway.Close()
		close(closed)
	}()
	last.wantsClosed(websocket.StatusGoingAway, "stops")
	<-closed
	r.awaitEnded(Stopped, 3)
	r.balance()
}

// What waits for a client when the gateway closes still gets to it.
func TestCloseFlushesWebSockets(t *testing.T) {
	r := openWebSockets(t, func(_ *relay.Options, o *Options) { o.Queue = 8 << 20 })
	u, c := r.udp(), r.webSocket(handshake{by: peers.WebSocket})
	const count = 500
	payload := strings.Repeat("x", 1000)
	for n := range count {
		u.say(payload)
		if n%50 == 49 { // UDP has room for so many
			await(t, func() bool { return r.relay.Stats().Relayed == uint64(n+1) }, func() string { return "want all relayed" })
		}
	}
	closed := make(chan struct{})
	go func() {
		r.gateway.Close()
		close(closed)
	}()
	for range count {
		wants(t, c, payload)
	}
	c.wantsClosed(websocket.StatusGoingAway, "stops")
	<-closed
	r.balance()
	r.wantNoDrops()
}

// TestBehindAReverseProxy has one in front that keeps the name which people see,
// and one who claims to be another address.
func TestBehindAReverseProxy(t *testing.T) {
	const secret = "behind"
	r := openWebSockets(t, func(r *relay.Options, o *Options) {
		r.Peers.Access = []peers.Rule{rule("loopback", peers.MayBoth, peers.JoinSecret)}
		o.Secret, o.Path, o.Origins = []byte(secret), "/room", []string{"https://www.example"}
	})
	target := &url.URL{Scheme: "http", Host: r.addr(peers.WebSocket).String()}
	to := &http.Transport{}
	defer to.CloseIdleConnections()
	proxy := httptest.NewServer(&httputil.ReverseProxy{Transport: to, Rewrite: func(request *httputil.ProxyRequest) {
		request.SetURL(target)
		request.Out.Host = request.In.Host
		request.SetXForwarded()
	}})
	defer proxy.Close()
	from := &http.Transport{}
	defer from.CloseIdleConnections()
	open := func(origin string) (*wsTalker, *http.Response) {
		conn, answer, err := websocket.Dial(t.Context(), proxy.URL+"/room", &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: from}, Host: "www.example", Subprotocols: []string{subprotocol, secretName(secret)},
			HTTPHeader: http.Header{"Origin": {origin}, "X-Forwarded-For": {"192.0.2.7"}},
		})
		if err != nil {
			return nil, answer
		}
		return &wsTalker{t: t, conn: conn}, answer
	}
	a, answer := open("https://www.example")
	if a == nil {
		t.Fatalf("want a WebSocket by the proxy; got %v", answer)
	}
	b, _ := open("https://www.example")
	r.awaitPeers(2)
	for _, p := range r.relay.Peers().Peers() {
		if !p.Addr().Addr().IsLoopback() {
			t.Errorf("want the address of the proxy; got %v", p.Addr())
		}
	}
	a.say("hello")
	wants(t, b, "hello")
	if c, answer := open("https://evil.example"); c != nil || answer.StatusCode != http.StatusForbidden {
		t.Errorf("want another page refused; got %v", answer)
	}
	r.gateway.Close()
	a.wantsClosed(websocket.StatusGoingAway, "stops")
	b.wantsClosed(websocket.StatusGoingAway, "stops")
	r.balance()
}
