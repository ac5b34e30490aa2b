package client

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"

	"udprelay/internal/framing"
)

const (
	// dialWithin is how long a relay may take to let a client connect, all
	// handshakes included.
	dialWithin = 10 * time.Second

	// A relay whose host is gone is noticed in about half a minute: probes
	// begin after aliveIdle, come each aliveInterval, and aliveCount of them
	// have no answer; the same time may pass until something sent is
	// acknowledged.
	aliveIdle     = 15 * time.Second
	aliveInterval = 5 * time.Second
	aliveCount    = 3
	unackedFor    = aliveIdle + aliveInterval*aliveCount
)

// dialTCP connects to host.
func dialTCP(ctx context.Context, host string) (net.Conn, error) {
	dialer := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: aliveIdle, Interval: aliveInterval, Count: aliveCount}}
	conn, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		boundUnacked(tcp, unackedFor)
	}
	return conn, nil
}

// dialStream connects to a relay that speaks RFC 4571, with TLS if config is not
// nil.
func dialStream(ctx context.Context, host string, config *tls.Config) (*streamWire, error) {
	raw, err := dialTCP(ctx, host)
	if err != nil {
		return nil, err
	}
	if config == nil {
		return newStreamWire(raw, raw), nil
	}
	encrypted := tls.Client(raw, config)
	if err := encrypted.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return newStreamWire(encrypted, raw), nil
}

// A streamWire sends datagrams in frames.
type streamWire struct {
	conn   net.Conn
	raw    net.Conn // conn, or what it encrypts
	frames *framing.Reader

	reading sync.Mutex // held while conn is read
	writing sync.Mutex // held while it is written
	frame   []byte     // room for one; guarded by writing

	mu     sync.Mutex // guards the deadlines of conn, and what follows
	closed bool
}

func newStreamWire(conn, raw net.Conn) *streamWire {
	return &streamWire{conn: conn, raw: raw, frames: framing.NewReader(conn)}
}

func (w *streamWire) receive(datagram []byte) (int, error) {
	w.reading.Lock()
	defer w.reading.Unlock()
	payload, err := w.frames.Next()
	return copy(datagram, payload), err
}

func (w *streamWire) send(payload []byte) error {
	w.writing.Lock()
	defer w.writing.Unlock()
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return net.ErrClosed
	}
	_ = w.conn.SetWriteDeadline(time.Now().Add(writeWithin)) // fails if it is closed, and then so does Write
	w.mu.Unlock()
	w.frame = framing.Append(w.frame[:0], payload)
	_, err := w.conn.Write(w.frame)
	return err
}

// close says that nothing more comes, and waits for the relay to say the same:
// a connection that is closed while something received has not been read is
// reset, and that can take what was sent with it.
func (w *streamWire) close(until time.Time) {
	w.mu.Lock()
	w.closed = true
	_ = w.conn.SetWriteDeadline(until)
	_ = w.conn.SetReadDeadline(time.Unix(1, 0)) // whoever reads leaves
	w.mu.Unlock()
	cut := time.AfterFunc(time.Until(until), func() { w.raw.Close() }) // TLS has bounds of its own, which are longer
	defer cut.Stop()
	w.writing.Lock()
	defer w.writing.Unlock()
	w.reading.Lock()
	defer w.reading.Unlock()
	defer w.raw.Close()
	if !time.Now().Before(until) {
		return
	}
	if half, ok := w.conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	if half, ok := w.raw.(*net.TCPConn); ok {
		_ = half.CloseWrite() // TLS has said it inside only
	}
	_ = w.raw.SetReadDeadline(until)
	_, _ = io.Copy(io.Discard, w.raw)
}
