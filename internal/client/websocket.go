package client

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"udprelay/internal/framing"
)

// subprotocol is what both ends of a WebSocket call what they speak.
const subprotocol = "udprelay"

// A statusError is an answer of HTTP in place of a WebSocket.
type statusError struct {
	status   string // such as 404 Not Found
	code     int
	location string // where a redirection leads
}

func (e *statusError) Error() string { return "it answers " + e.status }

// dialWebSocket connects to a relay that speaks WebSocket, by the proxy that
// the environment names, if any. Redirections are not followed.
func dialWebSocket(ctx context.Context, address Address, config *tls.Config) (*messageWire, net.Addr, error) {
	var raw *watchedConn
	transport := &http.Transport{
		Proxy:           http.ProxyFromEnvironment,
		TLSClientConfig: config,
		DialContext: func(ctx context.Context, _, host string) (net.Conn, error) {
			conn, err := dialTCP(ctx, host)
			if err != nil {
				return nil, err
			}
			raw = &watchedConn{Conn: conn}
			return raw, nil
		},
		DisableKeepAlives: true,
	}
	conn, response, err := websocket.Dial(ctx, address.url(), &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Subprotocols: []string{subprotocol},
	})
	if err != nil {
		transport.CloseIdleConnections()
		if response != nil && response.StatusCode != http.StatusSwitchingProtocols {
			err = &statusError{response.Status, response.StatusCode, response.Header.Get("Location")}
		}
		return nil, nil, err
	}
	conn.SetReadLimit(framing.MaxPayload)
	return &messageWire{conn: conn, raw: raw}, raw.RemoteAddr(), nil
}

// A messageWire sends datagrams as messages of a WebSocket.
type messageWire struct {
	conn *websocket.Conn
	raw  *watchedConn // what conn goes over
	once sync.Once
}

func (w *messageWire) receive(datagram []byte) (int, error) {
	_, message, err := w.conn.Reader(context.Background())
	if err != nil {
		return 0, err
	}
	n, err := io.ReadFull(message, datagram)
	if err == nil {
		_, err = io.Copy(io.Discard, message)
	} else if err == io.ErrUnexpectedEOF || err == io.EOF {
		err = nil // that is its end
	}
	if err == nil && w.raw.dry.Load() {
		err = io.ErrUnexpectedEOF // the library takes the end of the connection for that of the message
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// A watchedConn is a connection of which is known whether it has ended while
// somebody wanted more of it.
type watchedConn struct {
	net.Conn
	dry atomic.Bool
}

func (c *watchedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil && n > 0 {
		return n, nil // the next one has the error
	}
	if err != nil {
		c.dry.Store(true)
	}
	return n, err
}

func (w *messageWire) send(payload []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), writeWithin)
	defer cancel()
	return w.conn.Write(ctx, websocket.MessageBinary, payload)
}

func (w *messageWire) close(until time.Time) {
	w.once.Do(func() {
		// What waits inside conn has bounds of its own, which are longer.
		cut := time.AfterFunc(time.Until(until), func() { w.raw.Close() })
		defer cut.Stop()
		if time.Now().Before(until) {
			_ = w.conn.Close(websocket.StatusNormalClosure, "")
			return
		}
		_ = w.conn.CloseNow()
	})
}
