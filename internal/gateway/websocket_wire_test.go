package gateway

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"udprelay/internal/framing"
	"udprelay/relay"
)

// A taken is an answer to a handshake whose connection can be taken over.
type taken struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (w taken) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.conn, bufio.NewReadWriter(bufio.NewReader(w.conn), bufio.NewWriter(w.conn)), nil
}

// wireOver returns the server's end of a WebSocket over conn.
func wireOver(t testing.TB, conn net.Conn) *webSocket {
	t.Helper()
	request, err := http.ReadRequest(bufio.NewReader(strings.NewReader(rawHandshake + "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	bare := &paced{Conn: conn, stuck: patience}
	w, err := acceptWebSocket(taken{httptest.NewRecorder(), bare}, request, bare, func() int64 { return int64(time.Since(began)) })
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// What is counted as sent is what left as a whole.
func TestWebSocketCountsWhatHasLeft(t *testing.T) {
	payloads := []string{"one", "two", strings.Repeat("x", 200), strings.Repeat("y", 65_535), "three"}
	ends := []int{5, 10, 10 + 204, 214 + 65_539, 65_753 + 7} // of the messages
	var frames []byte
	for _, p := range payloads {
		frames = framing.Append(frames, []byte(p))
	}
	for _, takes := range [][]int{
		nil, {4}, {5}, {6}, {3, 2}, {9}, {10}, {100, 113}, {100, 114}, {214, 30_000}, {65_000, 752}, {65_000, 753}, {65_759}, {65_760}, {1, 1, 1_000_000},
	} {
		conn := &trickle{takes: slices.Clone(takes)}
		w := wireOver(t, conn)
		conn.takes = slices.Clone(takes) // after the handshake
		sent, err := w.send(frames)
		out, want := 0, 0
		for _, n := range takes {
			out += n
		}
		for i, end := range ends {
			if end <= min(out, len(conn.got)) {
				want += framing.HeaderSize + len(payloads[i])
			}
		}
		if sent != want || (err == nil) != (sent == len(frames)) || err != nil && reasonOf(err) != Stuck {
			t.Errorf("takes %v: want %d bytes sent, stuck unless these are all of %d; got %d, %v", takes, want, len(frames), sent, err)
		}
		w.conn.CloseNow()
	}
}

func (c *trickle) Close() error                    { return nil }
func (c *trickle) SetReadDeadline(time.Time) error { return nil }

// A script is a connection from which there are bytes to read, so many at a time.
type script struct {
	net.Conn
	*bytes.Reader
	atOnce int
}

func (s *script) Read(p []byte) (int, error) { return s.Reader.Read(p[:min(len(p), s.atOnce)]) }

func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// heardFrom returns the datagrams that come by a WebSocket, and why it ends.
func heardFrom(t testing.TB, frames []byte, atOnce int) (list []string, why Reason, code websocket.StatusCode) {
	w := wireOver(t, &script{Reader: bytes.NewReader(frames), atOnce: atOnce})
	defer w.conn.CloseNow()
	batch := make([]relay.Datagram, 0, maxBatch)
	for {
		var err error
		batch, err = w.receive(batch[:0])
		for _, d := range batch {
			if len(d.Payload) > framing.MaxPayload {
				t.Errorf("a datagram of %d bytes", len(d.Payload))
			}
			list = append(list, string(d.Payload))
		}
		if err != nil {
			if f := w.fault.Load(); f != nil {
				code = f.code
			}
			return list, reasonOf(err), code
		}
	}
}

// However frames come, what they say is the same: those that are there at once
// are gathered, without the library.
func FuzzWebSocketFrames(f *testing.F) {
	all := slices.Concat(frame(0x82, "one"), frame(0x81, "two"), frame(0x82, ""), frame(0x02, "th"), frame(0x89, "ping"), frame(0x80, "ree"),
		frame(0x82, strings.Repeat("x", 126)), frame(0x82, strings.Repeat("y", 4200)), frame(0x82, "z"))
	f.Add(all, uint16(1))
	f.Add(append(all, frame(0x88, "\x03\xe8bye")...), uint16(7))
	f.Add(append(all, frame(0x81, "\xff")...), uint16(100))
	f.Add(append(all, frame(0x82, strings.Repeat("x", 66_000))...), uint16(5000))
	f.Add([]byte{0x82, 3, 'a', 'b', 'c'}, uint16(3))
	f.Add([]byte{0x82, 0xff, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 3, 4, 'a', 'b'}, uint16(3))
	f.Fuzz(func(t *testing.T, frames []byte, atOnce uint16) {
		want, wantWhy, wantCode := heardFrom(t, frames, 1)
		got, why, code := heardFrom(t, frames, 1+int(atOnce))
		if !slices.Equal(got, want) || why != wantWhy || code != wantCode {
			t.Errorf("want %q and %v, %d as byte by byte; got %q and %v, %d", want, wantWhy, wantCode, got, why, code)
		}
	})
}

// Messages that are there at once make a batch.
func TestWebSocketGathersWhatIsThere(t *testing.T) {
	frames := bytes.Repeat(frame(0x82, strings.Repeat("x", 50)), 60) // 3,360 bytes
	w := wireOver(t, &script{Reader: bytes.NewReader(frames), atOnce: 1 << 20})
	defer w.conn.CloseNow()
	batch, err := w.receive(make([]relay.Datagram, 0, maxBatch))
	if err != nil || len(batch) != 60 {
		t.Errorf("want 60 datagrams at once; got %d, %v", len(batch), err)
	}
}

// pair returns both ends of a WebSocket over TCP whose handshake is done.
func pair(t *testing.T) (*webSocket, *rawTalker) {
	t.Helper()
	listener, err := net.Listen("tcp4", here)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	client, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return wireOver(t, conn), &rawTalker{t, client.(*net.TCPConn), bufio.NewReader(client)}
}

// Who does not answer is gone, who does is not.
func TestHalfOpenWebSocketIsBroken(t *testing.T) {
	serve := func(w *webSocket, within time.Duration) (ended chan Reason) {
		ended = make(chan Reason, 1)
		go func() {
			var beating sync.WaitGroup
			beating.Go(func() { w.beat(time.Millisecond, within) })
			_, err := w.receive(make([]relay.Datagram, 0, 1))
			w.close(reasonOf(err))
			beating.Wait()
			ended <- reasonOf(err)
		}()
		return ended
	}
	w, swallows := pair(t)
	if got := <-serve(w, 50*time.Millisecond); got != Broken {
		t.Errorf("want one that swallows pings to be broken; got %v", got)
	}
	if first, _, err := swallows.next(); first != 0x89 || err != nil {
		t.Errorf("want a ping; got %#x, %v", first, err)
	}

	w, answers := pair(t)
	ended := serve(w, patience)
	for range 100 {
		first, payload, err := answers.next()
		if first != 0x89 || err != nil {
			t.Fatalf("want a ping; got %#x, %v", first, err)
		}
		answers.write(frame(0x8a, payload))
	}
	answers.write(frame(0x88, "\x03\xe8"))
	answers.wantsClosed(websocket.StatusNormalClosure, "")
	if got := <-ended; got != Left {
		t.Errorf("want one that answers to have left; got %v", got)
	}
}

// Whoever has only a name that leads here gets nowhere.
func FuzzOrigin(f *testing.F) {
	for _, host := range []string{"127.0.0.1", "localhost:80", "[::1]:9004", "evil.example", "localhost.evil.example", "", "127.0.0.1.evil.example:80", "1.2.3", "[fe80::1%25eth0]"} {
		f.Add(host, "http://"+host)
		f.Add(host, "https://evil.example")
	}
	f.Fuzz(func(t *testing.T, host, origin string) {
		r := &http.Request{Host: host, Header: http.Header{"Origin": {origin}}}
		options := &Options{WebSocket: ":9004"}
		if !welcomes(r, false, options) {
			return
		}
		from, err := url.Parse(origin)
		if err != nil || !strings.EqualFold(from.Host, host) {
			t.Fatalf("the page of %q was let in at %q", origin, host)
		}
		name := hostOf(host)
		if _, err := netip.ParseAddr(name); err != nil && name != "localhost" {
			t.Fatalf("the page of %q was let in at the name %q", origin, name)
		}
	})
}

func TestWhichHostsAreHere(t *testing.T) {
	o := &Options{WebSocket: "Relay.Example:9004", Origins: []string{"https://app.example:8443", "null"}}
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:9004": true, "[2001:db8::1]:9004": true, "[::1]": true, "localhost:9004": true, "LOCALHOST.": true,
		"relay.example": true, "relay.example:1": true, "app.example": true, "app.example:9": true,
		"": false, ":9004": false, "evil.example": false, "relay.example.evil.example": false, "null": false, "x.localhost": false,
	} {
		if got := isHere(host, false, o); got != want {
			t.Errorf("%q: want %v; got %v", host, want, got)
		}
		if !isHere(host, true, o) {
			t.Errorf("%q: want every name where TLS has proved it", host)
		}
	}
	for text, want := range map[string]string{"": "nobody", "a\r\nb\x1b[31mü": "a??b?[31m?", strings.Repeat("x", 200): strings.Repeat("x", 100) + "…"} {
		if got := printable(text); got != want {
			t.Errorf("%q: want %q; got %q", text, want, got)
		}
	}
	if !isHere("evil.example", false, &Options{Origins: []string{"*"}}) {
		t.Error("want every name where pages of all may connect")
	}
}
