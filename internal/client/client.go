package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// MaxPayload is the largest payload in bytes: the 65,535 of an IPv4 packet
	// less its header (20) and the header of UDP (8). IPv6 has room for 20
	// more, but the relay's other peers may be on IPv4.
	MaxPayload = 65507

	// DefaultKeepAlive is half of the 30 seconds after which many NATs forget a
	// silent UDP mapping (RFC 4787, section 4.3, wants two minutes, but not all
	// follow it), so that one lost keep-alive costs nothing, and a quarter of
	// the 60 seconds after which the relay forgets a silent peer.
	DefaultKeepAlive = 15 * time.Second

	// refusedRetry is how soon a refused client tries again: a relay that is
	// being restarted should not wait for the next regular keep-alive.
	refusedRetry = time.Second

	// receiveBuffer is asked of the kernel, in bytes, for the bursts that a
	// relay sends; Linux grants at most twice net.core.rmem_max.
	receiveBuffer = 4 << 20

	// BSD and macOS do not wait for room in the queue of an interface but fail
	// with ENOBUFS, so Send waits in their stead: from roomPause on, doubled
	// each time, 63 ms in all.
	roomPause = time.Millisecond
	roomTries = 7

	// receivePause keeps a receive error that persists from taking a core.
	receivePause = 10 * time.Millisecond
)

// ErrTooLarge is why a payload did not leave: it has more than MaxPayload
// bytes, or more than the system sends in one datagram (macOS: 9216 unless
// net.inet.udp.maxdgram is raised).
var ErrTooLarge = errors.New("too large for one datagram")

// Options are what a caller may choose. The zero value is fine.
type Options struct {
	KeepAlive time.Duration // an empty datagram leaves when nothing else did for so long; 0: DefaultKeepAlive
}

// Health is what a client knows of its relay. That is little, for UDP has no
// answers: a datagram received shows that there was a relay, a refusal (ICMP
// port unreachable) that there was none. Silence shows nothing.
type Health struct {
	Received        uint64 // datagrams
	PayloadsRefused uint64 // refusals that followed a payload; at least as many were lost, for hosts limit their ICMP
	Refusing        bool   // the last datagram sent, payload or keep-alive, has been refused
}

// conn is what a Client needs of its connected UDP socket.
type conn interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	Close() error
}

// A Client is one peer of a relay. Its methods may be called from any
// goroutine, at the same time.
type Client struct {
	// Never change after Dial.
	conn      conn
	remote    netip.AddrPort
	keepAlive time.Duration
	ctx       context.Context // done: the client is closed
	cancel    context.CancelFunc
	refused   chan struct{} // holds one
	wake      chan struct{} // holds one; for keepAlives
	running   sync.WaitGroup

	mu        sync.Mutex // guards what follows
	sentAt    time.Time
	sentEmpty bool // the last datagram sent was a keep-alive
	health    Health
}

// Dial joins the relay at address, HOST:PORT, with an empty datagram. Of a name
// with several addresses it takes the first that the system can send to. The
// client closes when ctx is done.
func Dial(ctx context.Context, address string, options Options) (*Client, error) {
	if err := CheckAddress(address); err != nil {
		return nil, err
	}
	dialed, err := new(net.Dialer).DialContext(ctx, "udp", address)
	if err != nil {
		if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
			return nil, dns
		}
		return nil, fmt.Errorf("connect to %s: %w", address, bare(err))
	}
	socket := dialed.(*net.UDPConn)
	_ = socket.SetReadBuffer(receiveBuffer) // less is no failure
	remote := socket.RemoteAddr().(*net.UDPAddr).AddrPort()
	remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	return start(ctx, socket, remote, options)
}

// start makes a client of a connected socket.
func start(ctx context.Context, socket conn, remote netip.AddrPort, options Options) (*Client, error) {
	c := &Client{
		conn:      socket,
		remote:    remote,
		keepAlive: options.KeepAlive,
		refused:   make(chan struct{}, 1),
		wake:      make(chan struct{}, 1),
		sentEmpty: true,
	}
	if c.keepAlive <= 0 {
		c.keepAlive = DefaultKeepAlive
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	if err := c.Send(nil); err != nil {
		c.cancel()
		socket.Close()
		return nil, err
	}
	context.AfterFunc(c.ctx, func() { socket.Close() }) // ends reads and writes that wait
	c.running.Go(c.keepAlives)
	return c, nil
}

// RemoteAddr returns the relay's address.
func (c *Client) RemoteAddr() netip.AddrPort { return c.remote }

// Send sends one datagram; an empty one is a keep-alive. It waits while the
// system has no room. An error wraps ErrTooLarge, net.ErrClosed or the error
// of the system, and then this datagram did not leave; no error means only
// that it left this machine or waits to do so.
func (c *Client) Send(payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("send %d bytes to %s: %w (at most %d)", len(payload), c.remote, ErrTooLarge, MaxPayload)
	}
	pause := roomPause
	for tries := 1; ; tries++ {
		before := c.markSent(len(payload) == 0)
		_, err := c.conn.Write(payload)
		switch {
		case err == nil:
			return nil
		case c.ctx.Err() != nil:
			return net.ErrClosed
		case isRefused(err) && tries < roomTries:
			// The answer to an earlier datagram: the system hands it out in
			// place of sending this one, which can now go.
			c.markRefused(before)
		case isFull(err) && tries < roomTries && c.pause(pause):
			pause *= 2
		case isTooLarge(err):
			return fmt.Errorf("send %d bytes to %s: %w", len(payload), c.remote, ErrTooLarge)
		default:
			return fmt.Errorf("send to %s: %w", c.remote, bare(err))
		}
	}
}

// Receive waits for a datagram and returns its length; what does not fit into
// buf is lost, so MaxPayload bytes are a good size. Refusals and errors that
// pass are not returned: the client goes on. After Close, or when the context
// is done, the error is net.ErrClosed.
func (c *Client) Receive(buf []byte) (int, error) {
	for {
		n, err := c.conn.Read(buf)
		switch {
		case err == nil:
			c.mu.Lock()
			c.health.Received++
			c.mu.Unlock()
			return n, nil
		case c.ctx.Err() != nil:
			return 0, net.ErrClosed
		case isRefused(err):
			c.mu.Lock()
			last := c.sentEmpty
			c.mu.Unlock()
			c.markRefused(last)
		case isPassing(err):
			c.pause(receivePause)
		default:
			return 0, fmt.Errorf("receive from %s: %w", c.remote, bare(err))
		}
	}
}

// Refused yields a value after one refusal or several: the host of the relay
// said that nothing listens there. A refusal is noticed by a call of Receive
// that waits, or else by the next datagram sent.
func (c *Client) Refused() <-chan struct{} { return c.refused }

// Health returns what is known of the relay by now.
func (c *Client) Health() Health {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.health
}

// Close ends the client, and calls of Send and Receive that wait. The relay
// learns nothing of it: it forgets the peer by its silence. The error is nil.
func (c *Client) Close() error {
	c.cancel()
	c.conn.Close()
	c.running.Wait()
	return nil
}

// keepAlives sends an empty datagram whenever one is due.
func (c *Client) keepAlives() {
	timer := time.NewTimer(c.keepAlive)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-timer.C:
		case <-c.wake:
		}
		if c.untilDue() <= 0 {
			_ = c.Send(nil) // a network that is away may come back: the next one tries again
		}
		timer.Reset(c.untilDue())
	}
}

// untilDue returns how long the client may still be silent.
func (c *Client) untilDue() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	interval := c.keepAlive
	if c.health.Refusing {
		interval = min(interval, refusedRetry)
	}
	return interval - time.Since(c.sentAt)
}

// markSent notes that a datagram is about to leave, and reports whether the
// one before it was a keep-alive. It comes before the write, for the refusal
// may be there before the write returns.
func (c *Client) markSent(empty bool) (before bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before = c.sentEmpty
	c.sentAt, c.sentEmpty, c.health.Refusing = time.Now(), empty, false
	return before
}

// markRefused notes a refusal of a keep-alive or of a payload. Which datagram
// it answers cannot be known; keep-alives leave only in silence, so the last
// one sent is as good as certain.
func (c *Client) markRefused(empty bool) {
	c.mu.Lock()
	c.health.Refusing = true
	if !empty {
		c.health.PayloadsRefused++
	}
	c.mu.Unlock()
	for _, signal := range []chan struct{}{c.refused, c.wake} {
		select {
		case signal <- struct{}{}:
		default: // one is there already
		}
	}
}

// pause waits for d and reports whether the client is still open.
func (c *Client) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}
