package gateway

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"udprelay/internal/framing"
	"udprelay/peers"
)

// A wsTalker is a client by WebSocket.
type wsTalker struct {
	t    testing.TB
	conn *websocket.Conn
	addr netip.AddrPort
}

// A handshake is how a client opens a WebSocket.
type handshake struct {
	by           peers.Transport
	config       *tls.Config
	header       http.Header
	subprotocols []string
	source       string // the address to come from
}

// openWebSocket opens a WebSocket, or returns the answer that refuses it.
func (r *room) openWebSocket(h handshake) (*wsTalker, *http.Response) {
	r.t.Helper()
	c := &wsTalker{t: r.t}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	at := r.addr(h.by)
	transport := &http.Transport{
		TLSClientConfig: h.config,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			conn := r.dial(h.by, h.source)
			c.addr = addrOf(conn.LocalAddr())
			return conn, nil
		},
	}
	r.t.Cleanup(transport.CloseIdleConnections)
	conn, answer, err := websocket.Dial(ctx, fmt.Sprintf("%v://%v%s", h.by, at, r.ways.Path), &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, HTTPHeader: h.header, Subprotocols: h.subprotocols,
	})
	if err != nil {
		if answer == nil {
			r.t.Logf("no WebSocket: %v", err)
		}
		return nil, answer
	}
	conn.SetReadLimit(-1)
	c.conn = conn
	r.t.Cleanup(func() { conn.CloseNow() })
	return c, answer
}

// webSocket returns a client by WebSocket that is a peer.
func (r *room) webSocket(h handshake) *wsTalker {
	r.t.Helper()
	c, answer := r.openWebSocket(h)
	if c == nil {
		r.t.Fatalf("want a WebSocket; got %v", answer)
	}
	r.awaitWebSocket(c.addr)
	return c
}

// awaitWebSocket waits until the one at addr is a peer by WebSocket. There may
// be one by TCP at the same address, for that is connected to another.
func (r *room) awaitWebSocket(addr netip.AddrPort) {
	r.t.Helper()
	await(r.t, func() bool { return r.webSocketPeer(addr) != nil }, func() string {
		return fmt.Sprintf("want %v to be a peer by WebSocket; it is none: %+v", addr, r.gateway.Stats())
	})
}

// webSocketPeer returns the peer by WebSocket at addr, or nil.
func (r *room) webSocketPeer(addr netip.AddrPort) *peers.Peer {
	for _, p := range r.relay.Peers().Peers() {
		if by := p.Transport(); p.Addr() == addr && (by == peers.WebSocket || by == peers.SecureWebSocket) {
			return p
		}
	}
	return nil
}

func (c *wsTalker) address() netip.AddrPort { return c.addr }

func (c *wsTalker) say(payload string) {
	c.t.Helper()
	c.sayAs(websocket.MessageBinary, payload)
}

func (c *wsTalker) sayAs(kind websocket.MessageType, payload string) {
	c.t.Helper()
	if err := c.conn.Write(context.Background(), kind, []byte(payload)); err != nil {
		c.t.Fatalf("say %d bytes by WebSocket: %v", len(payload), err)
	}
}

func (c *wsTalker) hear() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kind, payload, err := c.conn.Read(ctx)
	if err == nil && kind != websocket.MessageBinary {
		err = fmt.Errorf("a message of type %v", kind)
	}
	return string(payload), err
}

// wantsClosed fails the test unless the WebSocket is closed next, with a code
// and a reason with some words in it.
func (c *wsTalker) wantsClosed(code websocket.StatusCode, words string) {
	c.t.Helper()
	payload, err := c.hear()
	if got := websocket.CloseStatus(err); got != code || !strings.Contains(err.Error(), words) {
		c.t.Fatalf("want a close with %d and %q; got %q, %v", code, words, short(payload), err)
	}
}

// A rawTalker is a client by WebSocket that makes its own frames.
type rawTalker struct {
	t    testing.TB
	conn *net.TCPConn
	in   *bufio.Reader
}

// rawHandshake is one that is well.
const rawHandshake = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"

// raw opens a WebSocket by hand. More are lines of the head.
func (r *room) raw(more string) *rawTalker {
	r.t.Helper()
	conn := r.dial(peers.WebSocket, "")
	c := &rawTalker{r.t, conn, bufio.NewReader(conn)}
	c.write([]byte(rawHandshake + more + "\r\n"))
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		r.t.Fatalf("want a WebSocket; got %v, %v", answer, err)
	}
	r.awaitWebSocket(c.address())
	return c
}

func (c *rawTalker) address() netip.AddrPort { return addrOf(c.conn.LocalAddr()) }

func (c *rawTalker) write(bytes []byte) {
	c.t.Helper()
	if _, err := c.conn.Write(bytes); err != nil {
		c.t.Fatalf("send %d bytes: %v", len(bytes), err)
	}
}

// frame returns a frame with a mask (RFC 6455, section 5.2).
func frame(first byte, payload string) []byte {
	f := []byte{first}
	switch n := len(payload); {
	case n < 126:
		f = append(f, 0x80|byte(n))
	case n <= 0xffff:
		f = binary.BigEndian.AppendUint16(append(f, 0x80|126), uint16(n))
	default:
		f = binary.BigEndian.AppendUint64(append(f, 0x80|127), uint64(n))
	}
	var mask [4]byte
	rand.Read(mask[:])
	f = append(f, mask[:]...)
	for i := range len(payload) {
		f = append(f, payload[i]^mask[i%4])
	}
	return f
}

// next returns the next frame of the server.
func (c *rawTalker) next() (first byte, payload string, err error) {
	c.conn.SetReadDeadline(time.Now().Add(patience))
	var head [8]byte
	if _, err := io.ReadFull(c.in, head[:2]); err != nil {
		return 0, "", err
	}
	first = head[0]
	size := uint64(head[1])
	switch size {
	case 126:
		_, err = io.ReadFull(c.in, head[:2])
		size = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		_, err = io.ReadFull(c.in, head[:8])
		size = binary.BigEndian.Uint64(head[:])
	}
	if err != nil || size > framing.MaxPayload {
		return 0, "", fmt.Errorf("a frame of %d bytes, %v", size, err)
	}
	text := make([]byte, size)
	_, err = io.ReadFull(c.in, text)
	return first, string(text), err
}

func (c *rawTalker) say(payload string) { c.write(frame(0x82, payload)) }

func (c *rawTalker) hear() (string, error) {
	first, payload, err := c.next()
	if err == nil && first != 0x82 {
		err = fmt.Errorf("a frame of kind %#x with %s", first, short(payload))
	}
	return payload, err
}

// wantsClosed fails the test unless a close with that code comes next but for
// pings and pongs, and then the end of the connection.
func (c *rawTalker) wantsClosed(code websocket.StatusCode, words string) {
	c.t.Helper()
	for {
		first, payload, err := c.next()
		if err != nil {
			c.t.Fatalf("want a close with %d; got %v", code, err)
		}
		switch first {
		case 0x89, 0x8a, 0x82:
			continue
		case 0x88:
			if len(payload) < 2 || binary.BigEndian.Uint16([]byte(payload)) != uint16(code) || !strings.Contains(payload[2:], words) {
				c.t.Fatalf("want a close with %d and %q; got %q", code, words, payload)
			}
		default:
			c.t.Fatalf("want a close with %d; got the frame %#x with %s", code, first, short(payload))
		}
		break
	}
	c.write(frame(0x88, "\x03\xe8"))
	if first, payload, err := c.next(); err == nil {
		c.t.Fatalf("want nothing after the close; got the frame %#x with %s", first, short(payload))
	}
	c.conn.Close()
}

// secretName returns the subprotocol that shows the secret.
func secretName(secret string) string {
	return secretPrefix + base64.RawURLEncoding.EncodeToString([]byte(secret))
}
