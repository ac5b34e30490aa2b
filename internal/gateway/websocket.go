package gateway

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"udprelay/peers"
)

const (
	// mostHeader is how long in bytes the head of a request may be; browsers
	// send all cookies that they have for a host.
	mostHeader = 16 << 10

	// idleWithin is how long a connection is kept for the next request of one
	// that looks at the page.
	idleWithin = 5 * time.Second
)

// serveWebSockets serves those that come until it is stopped. It returns when
// the last of its clients has ended.
func (l *listener) serveWebSockets() {
	v := &visits{listener: l}
	within := l.gateway.waits.handshake
	var versions http.Protocols
	versions.SetHTTP1(true)
	server := &http.Server{
		Handler:                      v,
		ConnContext:                  v.withVisit,
		ConnState:                    v.note,
		ReadTimeout:                  within,
		WriteTimeout:                 within,
		IdleTimeout:                  idleWithin,
		MaxHeaderBytes:               mostHeader,
		Protocols:                    &versions,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(l.gateway.log.Handler(), slog.LevelDebug),
	}
	_ = server.Serve(v) // the error is that the listener is closed
	server.Close()
	v.under.Wait()
}

// A visit is a connection of which it is not known yet what it is for: a client
// that comes, or a look at the page.
//
// Browsers open connections in advance, one for each that they use, and say
// nothing by those that they need not. Such are of no interest to anybody.
type visit struct {
	conn      net.Conn // as the server has it
	bare      *paced   // without encryption
	addr      netip.AddrPort
	transport peers.Transport
	late      *time.Timer // closes the connection if no request comes in time
	err       error       // of the handshake of TLS
	said      atomic.Bool // something came by it
	known     bool        // why it ends is counted, or nothing is to be counted: it is the page that was asked for
}

func (n *visit) secured() bool { return n.transport == peers.SecureWebSocket }

// visits are those of a listener. It is the listener for the server, too.
type visits struct {
	*listener
	all   sync.Map       // from the server's net.Conn to its *visit
	under sync.WaitGroup // has each
}

// Accept returns the next connection, encrypted if that is how it is now.
func (v *visits) Accept() (net.Conn, error) {
	raw, err := v.listener.Accept()
	if err != nil {
		return nil, err
	}
	g := v.gateway
	n := &visit{addr: addrOf(raw.RemoteAddr()), transport: peers.WebSocket, bare: &paced{Conn: raw, stuck: g.waits.stuck}}
	n.conn = &overheard{n.bare, n}
	if options := g.options.Load(); options.Encrypted {
		n.transport = peers.SecureWebSocket
		gate := &gate{Conn: n.conn, slots: g.handshakes}
		n.conn = &encrypted{Conn: tls.Server(gate, options.Certificates), gate: gate, ctx: v.ctx, visit: n}
	}
	n.late = time.AfterFunc(g.waits.handshake, func() { raw.Close() })
	v.all.Store(n.conn, n)
	v.under.Add(1)
	return n.conn, nil
}

// An overheard is a connection that notes whether something came by it.
type overheard struct {
	*paced
	visit *visit
}

func (o *overheard) Read(p []byte) (int, error) {
	n, err := o.paced.Read(p)
	if n > 0 {
		o.visit.said.Store(true)
	}
	return n, err
}

// An encrypted is a connection by TLS, whose handshake is done by the first
// Read, so that it is one of those that take turns.
type encrypted struct {
	*tls.Conn
	gate  *gate
	ctx   context.Context
	once  sync.Once
	visit *visit
}

func (e *encrypted) Read(p []byte) (int, error) {
	e.once.Do(func() {
		e.gate.enter()
		e.visit.err = e.HandshakeContext(e.ctx)
		e.gate.leave()
		e.gate.slots = nil
	})
	if e.visit.err != nil {
		return 0, e.visit.err
	}
	return e.Conn.Read(p)
}

// A visitKey is what the visit of a request is found by in its context.
type visitKey struct{}

func (v *visits) withVisit(ctx context.Context, conn net.Conn) context.Context {
	n, _ := v.all.Load(conn)
	return context.WithValue(ctx, visitKey{}, n)
}

// note notes that a connection has ended that has not become a client's.
func (v *visits) note(conn net.Conn, state http.ConnState) {
	if state != http.StateClosed {
		return
	}
	n, _ := v.all.LoadAndDelete(conn)
	v.done(n.(*visit))
}

// done is called once for each visit.
func (v *visits) done(n *visit) {
	n.late.Stop()
	if n.said.Load() && !n.known {
		why := BadHandshake // it has not come so far that there was something to answer
		if v.ctx.Err() != nil {
			why = Stopped
		}
		var details []any
		if n.err != nil {
			details = []any{"error", n.err}
		}
		v.gateway.ended(n.addr, n.transport, why, details...)
	}
	v.under.Done()
}

// ServeHTTP answers a request, and is what runs a client.
func (v *visits) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n := r.Context().Value(visitKey{}).(*visit)
	n.late.Stop()
	options := v.gateway.options.Load()
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	switch {
	case r.URL.Path != options.Path:
		v.refuse(w, n, BadHandshake, http.StatusNotFound, "There is nothing here.")
	case asksForWebSocket(r):
		v.upgrade(w, r, n, options)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		v.refuse(w, n, BadHandshake, http.StatusMethodNotAllowed, "This is a WebSocket; the page about it can only be read.")
	case !isHere(r.Host, n.secured(), options):
		v.refuse(w, n, BadHandshake, http.StatusMisdirectedRequest, "This is not "+printable(r.Host)+"; want an IP address, localhost, "+
			"or the name of one of gateway.websocket.origins.")
	default:
		n.known = true
		servePage(w, r)
	}
}

// refuse answers that there will be no WebSocket.
func (v *visits) refuse(w http.ResponseWriter, n *visit, why Reason, status int, text string) {
	if !n.known {
		n.known = true
		v.gateway.ended(n.addr, n.transport, why, "error", text)
	}
	w.Header().Set("Connection", "close")
	http.Error(w, text, status)
}

// upgrade makes a client of who asked for a WebSocket, and returns when it has
// ended.
func (v *visits) upgrade(w http.ResponseWriter, r *http.Request, n *visit, options *Options) {
	if !welcomes(r, n.secured(), options) {
		v.refuse(w, n, WrongOrigin, http.StatusForbidden, "Pages of "+printable(r.Header.Get("Origin"))+
			" may not connect; gateway.websocket.origins has those that may.")
		return
	}
	secret, ok := secretIn(r)
	if !ok {
		v.refuse(w, n, BadHandshake, http.StatusBadRequest, "The subprotocol "+secretPrefix+"… does not end with the secret in base64 for URLs, without padding.")
		return
	}
	wire, err := acceptWebSocket(w, r, n.bare, v.gateway.now)
	if err != nil {
		if !n.known {
			n.known = true
			v.gateway.ended(n.addr, n.transport, BadHandshake, "error", err)
		}
		return // the library has answered
	}
	n.known = true
	defer func() {
		v.all.Delete(n.conn)
		v.done(n)
	}()
	c := v.newClient(wire, n.addr, n.transport)
	c.shown = secret
	var beating sync.WaitGroup
	defer beating.Wait()
	beating.Go(func() { wire.beat(pingEvery, pongWithin) })
	v.gateway.serve(c)
}
