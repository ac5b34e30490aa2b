package relaytest

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"udprelay/internal/framing"
	"udprelay/internal/proof"
)

// ConnectedOptions are how a relay behaves that is reached by connections.
type ConnectedOptions struct {
	Scheme   string           // tcp, tls, ws or wss
	Address  string           // where it listens; "": a free port of 127.0.0.1
	Secret   []byte           // nil: a connection is enough
	TLS      *tls.Config      // for tls and wss
	TurnAway func(n int) bool // ends the nth connection, from 0, at once; nil: none; not called at the same time
}

// A Connected is a relay that is reached by connections. It relays nothing: it
// shows a test what comes.
type Connected struct {
	URL     string
	Addr    string        // HOST:PORT
	Relayed chan Datagram // what those who are in have sent

	options ConnectedOptions
	listen  net.Listener
	server  *httptest.Server // nil: there is none
	start   time.Time
	running sync.WaitGroup

	mu     sync.Mutex // guards what follows
	jar    *proof.Jar
	count  int                             // of connections that were accepted
	in     map[net.Conn]func([]byte) error // sends a datagram
	open   map[net.Conn]bool
	closed bool
}

// StartConnected starts a relay that lasts as long as the test.
func StartConnected(t testing.TB, options ConnectedOptions) *Connected {
	t.Helper()
	if options.Address == "" {
		options.Address = "127.0.0.1:0"
	}
	listen, err := net.Listen("tcp", options.Address)
	if err != nil {
		t.Fatal(err)
	}
	r := &Connected{
		Addr: listen.Addr().String(), Relayed: make(chan Datagram, 1<<14), options: options, start: time.Now(),
		jar: proof.NewJar(options.Secret), in: map[net.Conn]func([]byte) error{}, open: map[net.Conn]bool{},
	}
	r.URL = options.Scheme + "://" + r.Addr
	r.listen = &counting{listen, r}
	if strings.HasPrefix(options.Scheme, "ws") {
		r.URL += "/room"
		r.serveHTTP()
	} else {
		r.running.Go(r.accept)
	}
	t.Cleanup(r.Close)
	return r
}

// counting is a listener whose connections are known to the relay, and can be
// ended at once.
type counting struct {
	net.Listener
	relay *Connected
}

func (l *counting) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil || l.relay.admits(conn) {
			return conn, err
		}
		conn.Close()
	}
}

func (r *Connected) admits(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.count
	r.count++
	if r.closed || r.options.TurnAway != nil && r.options.TurnAway(n) {
		return false
	}
	r.open[conn] = true
	return true
}

func (r *Connected) accept() {
	for {
		conn, err := r.listen.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.serveStream(conn) })
	}
}

func (r *Connected) serveStream(raw net.Conn) {
	defer r.left(raw)
	conn := raw
	if r.options.Scheme == "tls" {
		conn = tls.Server(raw, r.options.TLS)
	}
	defer conn.Close()
	frames := framing.NewReader(conn)
	r.serve(raw, frames.Next, func(payload []byte) error {
		_, err := conn.Write(framing.Append(nil, payload))
		return err
	})
}

// rawConn is where the connection of a request is kept.
type rawConn struct{}

func (r *Connected) serveHTTP() {
	r.server = httptest.NewUnstartedServer(http.HandlerFunc(r.serveWebSocket))
	r.server.Listener.Close()
	r.server.Listener = r.listen
	r.server.Config.ErrorLog = log.New(io.Discard, "", 0) // the client tells
	r.server.Config.ConnContext = func(ctx context.Context, conn net.Conn) context.Context {
		if encrypted, ok := conn.(*tls.Conn); ok {
			conn = encrypted.NetConn()
		}
		return context.WithValue(ctx, rawConn{}, conn)
	}
	if r.options.Scheme == "wss" {
		r.server.TLS = r.options.TLS
		r.server.StartTLS()
		return
	}
	r.server.Start()
}

func (r *Connected) serveWebSocket(w http.ResponseWriter, request *http.Request) {
	raw := request.Context().Value(rawConn{}).(net.Conn)
	r.running.Add(1)
	defer r.running.Done()
	defer r.left(raw)
	if request.URL.Path != "/room" {
		http.NotFound(w, request)
		return
	}
	conn, err := websocket.Accept(w, request, &websocket.AcceptOptions{Subprotocols: []string{"udprelay"}})
	if err != nil {
		return
	}
	conn.SetReadLimit(framing.MaxPayload)
	r.serve(raw, func() ([]byte, error) {
		_, payload, err := conn.Read(context.Background())
		return payload, err
	}, func(payload []byte) error { return conn.Write(context.Background(), websocket.MessageBinary, payload) })
	conn.Close(websocket.StatusPolicyViolation, "not let in")
}

func (r *Connected) left(raw net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.in, raw)
	delete(r.open, raw)
}

// serve serves one client until it has left or shown a wrong proof.
func (r *Connected) serve(raw net.Conn, read func() ([]byte, error), write func([]byte) error) {
	from := netip.MustParseAddrPort(raw.RemoteAddr().String())
	in := r.options.Secret == nil
	if !in && write(nil) != nil {
		return
	}
	for {
		r.mu.Lock()
		if in {
			r.in[raw] = write
		}
		r.mu.Unlock()
		payload, err := read()
		if err != nil {
			return
		}
		if in {
			if len(payload) > 0 {
				r.Relayed <- Datagram{from, string(payload)}
			}
			continue
		}
		r.mu.Lock()
		now := int64(time.Since(r.start))
		verdict := r.jar.Check(payload, from, true, now)
		answer, ok := r.jar.Answer(from, payload, now)
		answer = append([]byte{}, answer...)
		r.mu.Unlock()
		switch {
		case verdict == proof.Proved:
			in = true
		case verdict == proof.BadProof || !ok || len(payload) > 0 && string(payload) != proof.Hello:
			return
		case write(answer) != nil:
			return
		}
	}
}

// Close ends the relay and its connections.
func (r *Connected) Close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.listen.Close()
	r.Disconnect()
	if r.server != nil {
		r.server.Close()
	}
	r.running.Wait()
}

// Disconnect ends all connections.
func (r *Connected) Disconnect() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.open {
		conn.Close()
	}
}

// Count returns how many connections have come, and how many are in.
func (r *Connected) Count() (came, in int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count, len(r.in)
}

// Say sends payload to all who are in.
func (r *Connected) Say(payload string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, write := range r.in {
		_ = write([]byte(payload)) // one that has left
	}
}

// Next returns the next payload that has come.
func (r *Connected) Next(t testing.TB) string {
	t.Helper()
	select {
	case d := <-r.Relayed:
		return d.Payload
	case <-time.After(3 * Patience):
		t.Fatalf("the relay got nothing for %v", 3*Patience)
		return ""
	}
}
