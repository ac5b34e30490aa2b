package filetransfer

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// longAgo as a deadline wakes up what waits.
var longAgo = time.Unix(1, 0)

// A conn is a connection on which each read and write has to get on within the
// timeout, and that a context ends.
type conn struct {
	*net.TCPConn
	ctx     context.Context
	timeout time.Duration
	stop    func() bool

	least  float64       // bytes per second that have to be read, on average over the timeout; 0: no matter how few
	read   int           // bytes, since that was checked last
	waited time.Duration // for them
}

// newConn also has whatever ends the process end the connection with RST, until
// finish.
func newConn(ctx context.Context, tcp *net.TCPConn, timeout time.Duration) *conn {
	_ = tcp.SetLinger(0) // a connection that is gone fails with the next read
	c := &conn{TCPConn: tcp, ctx: ctx, timeout: timeout}
	c.stop = context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(longAgo) })
	return c
}

// SetReadDeadline sets it unless the context is done, which has set one.
func (c *conn) SetReadDeadline(t time.Time) error {
	if err := c.TCPConn.SetReadDeadline(t); err != nil {
		return err
	}
	if c.ctx.Err() != nil {
		return ErrStopped
	}
	return nil
}

// why returns what an error of the connection means.
func (c *conn) why(err error) error {
	switch {
	case c.ctx.Err() != nil && !errors.Is(err, io.EOF):
		return ErrStopped
	case errors.Is(err, os.ErrDeadlineExceeded):
		return ErrSilent
	}
	return err
}

// Read reads, within the timeout.
func (c *conn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, c.why(err)
	}
	begun := time.Now()
	n, err := c.TCPConn.Read(p)
	if err != nil && err != io.EOF {
		err = c.why(err)
	}
	c.read += n
	if c.waited += time.Since(begun); c.waited >= c.timeout {
		if err == nil && float64(c.read) < c.least*c.waited.Seconds() {
			err = ErrSlow
		}
		c.read, c.waited = 0, 0
	}
	return n, err
}

// from returns the address of the other side.
func (c *conn) from() netip.AddrPort {
	addr := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
}

// Write writes; each part has to get on within the timeout.
func (c *conn) Write(p []byte) (n int, err error) {
	const part = 64 << 10
	for n < len(p) {
		if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
			return n, c.why(err)
		}
		if c.ctx.Err() != nil {
			return n, ErrStopped
		}
		did, err := c.TCPConn.Write(p[n:min(n+part, len(p))])
		n += did
		if err != nil {
			return n, c.why(err)
		}
	}
	return n, nil
}

// finish ends the connection in good order: what was written arrives.
func (c *conn) finish() {
	_ = c.SetLinger(-1)
	c.abort()
}

// abort ends it at once.
func (c *conn) abort() {
	c.stop()
	c.Close()
}
