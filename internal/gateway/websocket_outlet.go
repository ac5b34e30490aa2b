package gateway

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// outletHolds is how many bytes an outlet takes before something leaves.
	outletHolds = 160 << 10

	// outletHead is the buffer in bytes in which the library puts the head of a
	// frame before its payload, or a control frame as a whole.
	outletHead = 256
)

// pieces has the buffers of outlets that hold something.
var pieces = sync.Pool{New: func() any { return new([]byte) }}

// An outlet is the connection below a WebSocket. The library writes each message
// on its own; an outlet that is corked keeps them and writes them together.
// What the library has to answer in between, such as a ping, is among them, and
// does not wait for a client that takes nothing.
type outlet struct {
	net.Conn
	bare   *paced // the same without encryption
	now    func() int64
	heard  atomic.Int64 // when something came last, by now
	failed atomic.Bool  // reading or writing has, or it is closed
	dry    atomic.Bool  // somebody has wanted to read, and nothing more came
	deaf   atomic.Bool  // what comes is passed over

	mu      sync.Mutex // guards what follows; never held while something is written
	free    sync.Cond  // corked has become false
	corked  bool       // somebody will write what is held
	held    *[]byte    // what is to be written; nil: nothing
	into    int64      // bytes that were ever given to it
	out     int64      // bytes that have left
	err     error      // why nothing more leaves
	closing bool
}

func newOutlet(conn net.Conn, bare *paced, now func() int64) *outlet {
	o := &outlet{Conn: conn, bare: bare, now: now}
	o.free.L = &o.mu
	o.heard.Store(now())
	return o
}

func (o *outlet) Read(p []byte) (int, error) {
	if o.deaf.Load() {
		o.cork() // until what is held has left
		o.uncork()
		o.closeWrite()
		for {
			if _, err := o.Conn.Read(p); err != nil {
				return 0, err
			}
		}
	}
	n, err := o.Conn.Read(p)
	if n > 0 {
		o.heard.Store(o.now())
	}
	if err != nil && n > 0 {
		return n, nil // the next one has the error
	}
	if err != nil {
		o.dry.Store(true)
		o.failed.Store(true)
	}
	return n, err
}

// deafen has what comes passed over until the other end closes the connection,
// and tells it by closing this half of it that it should. Were the connection
// closed with something to read, what it has not got yet would be lost.
func (o *outlet) deafen() { o.deaf.Store(true) }

func (o *outlet) Write(p []byte) (int, error) {
	o.mu.Lock()
	if o.held == nil {
		o.held = pieces.Get().(*[]byte)
	}
	switch {
	case o.closing:
		o.err = net.ErrClosed
	case len(*o.held)+len(p) > outletHolds: // answers to a client that takes none
		o.err = os.ErrDeadlineExceeded
	}
	if err := o.err; err != nil {
		o.mu.Unlock()
		return 0, err
	}
	*o.held = append(*o.held, p...)
	o.into += int64(len(p))
	if o.corked {
		o.mu.Unlock()
		return len(p), nil
	}
	o.corked = true
	o.mu.Unlock()
	_, err := o.uncork()
	return len(p), err
}

// cork has what is written kept until uncork.
func (o *outlet) cork() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.corked {
		o.free.Wait()
	}
	o.corked = true
}

// given returns how many bytes were ever given to it.
func (o *outlet) given() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.into
}

// uncork writes what is kept, and returns how many bytes have ever left.
func (o *outlet) uncork() (out int64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.err == nil && o.held != nil {
		held := o.held
		o.held = nil
		o.mu.Unlock()
		n, err := o.Conn.Write(*held)
		o.mu.Lock()
		*held = (*held)[:0]
		pieces.Put(held)
		o.out += int64(n)
		if err != nil {
			o.err = err
			o.failed.Store(true)
		}
	}
	o.corked = false
	o.free.Signal()
	if o.closing {
		o.Conn.Close()
	}
	return o.out, o.err
}

// Close closes the connection, once what is held has left, if that does not take
// long. Nothing is read from now on.
func (o *outlet) Close() error {
	o.mu.Lock()
	corked, before := o.corked, o.closing
	o.closing = true
	o.mu.Unlock()
	o.failed.Store(true)
	o.bare.ending.Store(true)
	if before {
		return net.ErrClosed
	}
	if !corked {
		return o.Conn.Close()
	}
	time.AfterFunc(closeWithin, o.abort)
	return o.SetReadDeadline(time.Unix(1, 0))
}

// abort closes the connection at once.
func (o *outlet) abort() { o.bare.Close() }

// closeWrite says that nothing more is sent.
func (o *outlet) closeWrite() {
	below := o.bare.Conn
	if c, ok := below.(*counted); ok {
		below = c.Conn
	}
	for _, conn := range []net.Conn{o.Conn, below} {
		if half, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite() // on an error the other end is not there any more
		}
	}
}

// reset is abort, and throws away what has not been sent yet.
func (o *outlet) reset() {
	if conn, ok := o.bare.Conn.(*counted); ok {
		conn.reset()
	}
	o.abort()
}

// An outletWriter lets a WebSocket take an outlet over instead of its connection.
type outletWriter struct {
	http.ResponseWriter
	bare   *paced
	now    func() int64
	outlet *outlet
	in     *bufio.Reader
}

// Hijack implements [http.Hijacker].
func (w *outletWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.outlet = newOutlet(conn, w.bare, w.now)
	w.in = buffers.Reader
	return w.outlet, bufio.NewReadWriter(w.in, bufio.NewWriterSize(w.outlet, outletHead)), nil
}
