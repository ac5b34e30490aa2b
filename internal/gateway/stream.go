package gateway

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"udprelay/internal/framing"
	"udprelay/peers"
	"udprelay/relay"
)

// serveStream serves the client at the other end of a connection by TCP or TLS.
func (l *listener) serveStream(conn net.Conn) {
	g := l.gateway
	transport := g.transport(l.way)
	s := &stream{raw: conn, paced: paced{Conn: conn, stuck: g.waits.stuck}, linger: g.waits.linger}
	s.conn = &s.paced
	if transport == peers.TLS {
		secured, err := g.shakeHands(l, &s.paced)
		if err != nil {
			conn.Close()
			why := BadHandshake
			if l.ctx.Err() != nil {
				why = Stopped
			}
			g.ended(addrOf(conn.RemoteAddr()), transport, why, "error", err)
			return
		}
		s.conn = secured
	}
	s.reader = framing.NewReader(s.conn)
	g.serve(l.newClient(s, addrOf(conn.RemoteAddr()), transport))
}

// shakeHands begins TLS as a server.
func (g *Gateway) shakeHands(l *listener, conn net.Conn) (*tls.Conn, error) {
	conn.SetDeadline(time.Now().Add(g.waits.handshake))
	gate := &gate{Conn: conn, slots: g.handshakes}
	secured := tls.Server(gate, g.options.Load().Certificates)
	gate.enter()
	err := secured.HandshakeContext(l.ctx) // which closes conn when it is done
	gate.leave()
	gate.slots = nil
	conn.SetDeadline(time.Time{})
	return secured, err
}

// A gate lets a few handshakes compute at a time, so that those who begin many
// cannot take all processors from the datapath. Who waits for the other end lets
// others in.
type gate struct {
	net.Conn
	slots chan struct{} // nil: the handshake is over
}

func (g *gate) enter() { g.slots <- struct{}{} }
func (g *gate) leave() { <-g.slots }

func (g *gate) Read(b []byte) (int, error) {
	if g.slots != nil {
		g.leave()
		defer g.enter()
	}
	return g.Conn.Read(b)
}

func (g *gate) Write(b []byte) (int, error) {
	if g.slots != nil {
		g.leave()
		defer g.enter()
	}
	return g.Conn.Write(b)
}

// A stream is the wire of TCP and TLS.
type stream struct {
	raw     net.Conn // the connection of TCP
	paced   paced    // the same
	conn    net.Conn // the same, or TLS over it
	reader  *framing.Reader
	linger  time.Duration
	sending sync.Mutex // held during send
	closing sync.Once
}

func (s *stream) receive(batch []relay.Datagram) ([]relay.Datagram, error) {
	for {
		payload, err := s.reader.Next()
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF):
			return batch, BadFrame // it ends within one: most likely they never were frames
		case err != nil:
			return batch, err
		}
		batch = append(batch, relay.Datagram{Payload: payload})
		if len(batch) == cap(batch) || !s.reader.Ready() {
			return batch, nil
		}
	}
}

func (s *stream) send(frames []byte) (sent int, err error) {
	s.sending.Lock()
	defer s.sending.Unlock()
	n, err := s.conn.Write(frames)
	if err == nil {
		return n, nil
	}
	for rest := frames[:n]; ; {
		_, after, whole := framing.Next(rest)
		if !whole {
			return n - len(rest), err
		}
		rest = after
	}
}

func (s *stream) close(why Reason) {
	s.closing.Do(func() {
		defer s.raw.Close()
		raw, ok := s.raw.(*counted)
		switch {
		case !ok:
		case why == Stuck:
			raw.reset()
		case (why.graceful() || why == TakenOut) && s.sending.TryLock(): // nothing is being sent
			defer s.sending.Unlock()
			s.farewell(raw, why)
		}
	})
}

func (s *stream) abort() { s.raw.Close() }

// farewell says to the other end that nothing more comes. Were the connection
// closed while something that it has sent is not read, some systems would throw
// away there what it has not read yet (RFC 1122, section 4.2.2.13).
func (s *stream) farewell(raw *counted, why Reason) {
	if secured, ok := s.conn.(*tls.Conn); ok {
		s.paced.ending.Store(true)
		secured.CloseWrite()
	}
	raw.closeWrite()
	if why == Stopped {
		raw.SetReadDeadline(time.Now().Add(s.linger))
		io.Copy(io.Discard, raw)
	}
}

// A paced is a connection whose Write waits as long as the other end takes
// something. It fails with os.ErrDeadlineExceeded when that has taken nothing
// for a while.
type paced struct {
	net.Conn
	stuck  time.Duration
	ending atomic.Bool // there is little to write, and no time
}

func (c *paced) Write(b []byte) (written int, err error) {
	wait := c.stuck
	if c.ending.Load() {
		wait = flushWithin
	}
	for {
		c.Conn.SetWriteDeadline(time.Now().Add(wait))
		n, err := c.Conn.Write(b[written:])
		written += n
		if n == 0 || written == len(b) || !errors.Is(err, os.ErrDeadlineExceeded) {
			return written, err
		}
	}
}
