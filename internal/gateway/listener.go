package gateway

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"udprelay/peers"
)

const (
	// handshakeWithin is how long a client has for the handshakes of TLS and of
	// WebSocket together.
	handshakeWithin = 10 * time.Second

	// acceptPause is how long an error of accept, such as too many open files,
	// is waited out.
	acceptPause = 50 * time.Millisecond

	// A connection whose other end is silent is probed after keepAliveIdle, each
	// keepAliveInterval, and ends after keepAliveCount without an answer. So a
	// host that is gone takes a place for half a minute.
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 5 * time.Second
	keepAliveCount    = 3

	// vanishedAfter is how long the other end may acknowledge nothing of what
	// was sent: its host is gone then.
	vanishedAfter = 30 * time.Second
)

// A listener accepts the connections of one way.
type listener struct {
	net.Listener // whose connections are counted, and bounded
	gateway      *Gateway
	way          way
	stopping     context.CancelFunc
	ctx          context.Context // done: it is stopped
}

// listen opens a listener.
func (g *Gateway) listen(ctx context.Context, w way, address string) (*listener, error) {
	config := net.ListenConfig{
		Control:         g.waits.tune,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: keepAliveIdle, Interval: keepAliveInterval, Count: keepAliveCount},
	}
	config.SetMultipathTCP(false) // its sockets would not take all the options
	open, err := config.Listen(ctx, "tcp", address)
	if err != nil {
		if bare := (*net.OpError)(nil); errors.As(err, &bare) {
			err = bare.Err
		}
		return nil, err
	}
	l := &listener{Listener: open, gateway: g, way: w}
	l.ctx, l.stopping = context.WithCancel(context.Background())
	return l, nil
}

// stop ends serve. Connections stay.
func (l *listener) stop() {
	l.stopping()
	l.Listener.Close()
}

// serve serves those that come until it is stopped.
func (l *listener) serve() {
	if l.way == byWebSocket {
		l.serveWebSockets()
		return
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		l.gateway.working.Go(func() { l.serveStream(conn) })
	}
}

// Accept returns the next connection for which there is room and whose address
// might be let in. The error is net.ErrClosed.
func (l *listener) Accept() (net.Conn, error) {
	g := l.gateway
	for {
		conn, err := l.Listener.Accept()
		if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			if err == nil {
				conn.Close()
			}
			return nil, net.ErrClosed
		}
		if err != nil {
			l.sayError(err)
			select {
			case <-l.ctx.Done():
			case <-time.After(acceptPause):
			}
			continue
		}
		g.counts.accepted.Add(1)
		addr := addrOf(conn.RemoteAddr())
		transport := g.transport(l.way)
		if verdict := g.relay.Peers().MayConnect(addr.Addr(), time.Now()); verdict.Refused() {
			conn.Close()
			g.ended(addr, transport, NotLetIn, "because", verdict)
			continue
		}
		if host := peers.HostOf(addr.Addr()); g.takePlace(host) {
			return &counted{Conn: conn, gateway: g, host: host}, nil
		}
		conn.Close()
		g.ended(addr, transport, TooMany)
	}
}

// takePlace reports whether there is room for another connection of a host, and
// takes it. One host that opens connections and leaves them must not keep all
// others out.
func (g *Gateway) takePlace(host peers.Host) bool {
	o := g.options.Load()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.connections.Load() >= int64(o.Connections) || o.PerAddress > 0 && g.hosts[host] >= o.PerAddress {
		return false
	}
	g.connections.Add(1)
	g.hosts[host]++
	return true
}

// leavePlace makes room.
func (g *Gateway) leavePlace(host peers.Host) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.connections.Add(-1)
	if g.hosts[host]--; g.hosts[host] == 0 {
		delete(g.hosts, host)
	}
}

// sayError says that no connection could be accepted, most likely for the lack
// of file descriptors.
func (l *listener) sayError(err error) {
	l.gateway.log.Warn("cannot accept a connection", "key", ways[l.way], "listen", l.Addr(), "error", err)
}

// A counted is a connection that is one of Gateway.open until it is closed.
type counted struct {
	net.Conn
	gateway *Gateway
	host    peers.Host
	once    sync.Once
}

// reset closes the connection, and what was not sent yet is thrown away.
func (c *counted) reset() {
	if conn, ok := c.Conn.(interface{ SetLinger(int) error }); ok {
		conn.SetLinger(0)
	}
	c.Close()
}

// closeWrite tells the other end that nothing more comes.
func (c *counted) closeWrite() {
	if conn, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		conn.CloseWrite()
	}
}

func (c *counted) Close() error {
	c.once.Do(func() { c.gateway.leavePlace(c.host) })
	return c.Conn.Close()
}
