package client

import (
	"context"
	"crypto/tls"
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

	// smallRead is more than the relay's own texts have, so that they are known
	// whatever room the caller has.
	smallRead = 64

	// receivePause keeps a receive error that persists from taking a core.
	receivePause = 10 * time.Millisecond
)

// ErrTooLarge is why a payload did not leave: it has more than MaxPayload
// bytes, or more than the system sends in one datagram (macOS: 9216 unless
// net.inet.udp.maxdgram is raised).
var ErrTooLarge = errors.New("too large for one datagram")

// Options are what a caller may choose. The zero value is fine.
type Options struct {
	KeepAlive time.Duration  // an empty datagram leaves when nothing else did for so long; 0: DefaultKeepAlive
	At        netip.AddrPort // over UDP, where to begin, of the addresses that a name may have; zero: the first
	Secret    []byte         // what the relay may want to be shown the knowledge of; nil: there is none
	TLS       *tls.Config    // for tls:// and wss://, see Certificates; nil: the authorities that the system trusts

	jitter   func(time.Duration) time.Duration // for tests; nil: at random
	resolver *net.Resolver                     // for tests; nil: the default one
	times    *reachTimes                       // for tests; nil: usualTimes
}

// Health is what a client knows of its relay. That is little, for UDP has no
// answers: a datagram received shows that there was a relay, a refusal (ICMP
// port unreachable) that there was none. Silence shows nothing. Over a
// connection, what is sent while there is none is refused, and what was sent to
// a relay that ended it as soon as it had begun.
type Health struct {
	Received        uint64 // datagrams
	PayloadsRefused uint64 // refusals that followed a payload; at least as many were lost, for hosts limit their ICMP
	Refusing        bool   // the last datagram sent, payload or keep-alive, has been refused

	WantsProof   bool   // the relay has asked this client for a proof
	Proving      bool   // a proof is under way, or it has to be found out whether one is needed: Send waits
	ShutOut      bool   // the same, for so long that Send does not wait any more, see ProofError
	PayloadsLost uint64 // payloads that Send took, and the relay did not, for it wanted a proof first
}

// conn is what a Client needs of its connected UDP socket, or of its connection.
type conn interface {
	Read([]byte) (int, error)
	Write([]byte) (int, error)
	Close() error
}

// A Client is one peer of a relay. Its methods may be called from any
// goroutine, at the same time.
type Client struct {
	// Never change after Dial.
	conn    conn
	stream  *connection                                                  // conn, unless that is a *socket
	redial  func(ctx context.Context, before netip.Addr) (dialed, error) // looks the relay up again; nil: never
	ctx     context.Context                                              // done: the client is closed
	cancel  context.CancelFunc
	refused chan struct{} // holds one
	proofs  chan struct{} // holds one
	wake    chan struct{} // holds one; for keepIn
	running sync.WaitGroup

	// sending is full while something is written, so that nothing comes between
	// the look at the joiner and the write. It is a lock that is taken before mu.
	sending chan struct{}

	mu          sync.Mutex // guards what follows
	relay       string     // the address, for people
	remote      netip.AddrPort
	local       netip.AddrPort
	joiner      joiner
	reach       reach
	sentPayload bool      // the last datagram sent was none of the client's own
	payloadAt   time.Time // of the last payload that may not have arrived
	away        bool      // the connection is lost
	unsettled   uint64    // payloads sent over the connection since it began
	health      Health
	released    chan struct{} // closed when Send need not wait any more
}

// Dial joins the relay at address, see ParseAddress, with an empty datagram. Of
// a name with several addresses it takes the first that the system can send to.
// The client closes when ctx is done.
//
// A relay that wants a proof says so, and gets it, while Receive is called: that
// is where its answers are read. It is also what connects again to a relay that
// is reached by a connection, when that is lost. If the first one cannot be
// made, the error is a *ConnectError.
func Dial(ctx context.Context, address string, options Options) (*Client, error) {
	relay, err := ParseAddress(address)
	if err != nil {
		return nil, err
	}
	if relay.Scheme != UDP {
		return dialConnection(ctx, relay, options)
	}
	redial := func(ctx context.Context, before netip.Addr) (dialed, error) {
		return dialUDP(ctx, options.resolver, relay.Host, before)
	}
	var first dialed
	if options.At.IsValid() {
		first, err = connectUDP(ctx, options.At.String())
	} else {
		first, err = redial(ctx, netip.Addr{})
	}
	if err != nil {
		if dns := (*net.DNSError)(nil); errors.As(err, &dns) {
			return nil, dns
		}
		return nil, fmt.Errorf("connect to %s: %w", relay, bare(err))
	}
	c := newClient(first.remote.String(), first.remote, options)
	c.conn, c.local, c.redial = &socket{now: first.conn}, first.local, redial
	return c.start(ctx)
}

// addrPort returns addr, of UDP or TCP, as it is written.
func addrPort(addr net.Addr) netip.AddrPort {
	a, ok := addr.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(a.AddrPort().Addr().Unmap(), a.AddrPort().Port())
}

// newClient returns a client without a connection.
func newClient(relay string, remote netip.AddrPort, options Options) *Client {
	c := &Client{
		relay:    relay,
		remote:   remote,
		refused:  make(chan struct{}, 1),
		proofs:   make(chan struct{}, 1),
		wake:     make(chan struct{}, 1),
		sending:  make(chan struct{}, 1),
		joiner:   newJoiner(options, time.Now()),
		released: make(chan struct{}),
	}
	c.reach.keepAlive, c.reach.times = c.joiner.keepAlive, usualTimes
	if options.times != nil {
		c.reach.times = *options.times
	}
	return c
}

// start begins with the connection that the client has been given, and closes it
// if that fails.
func (c *Client) start(ctx context.Context) (*Client, error) {
	c.ctx, c.cancel = context.WithCancel(ctx)
	if err := c.Send(nil); err != nil {
		c.cancel()
		c.conn.Close()
		return nil, err
	}
	context.AfterFunc(c.ctx, func() { c.conn.Close() }) // ends reads and writes that wait
	c.running.Go(c.keepIn)
	return c, nil
}

// RemoteAddr returns the relay's address: over UDP the present one, else that
// when the client began.
func (c *Client) RemoteAddr() netip.AddrPort {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remote
}

// Relay returns what people know the relay by: its present address and port, or
// how it is reached, such as tcp://relay.example:9000.
func (c *Client) Relay() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.relay
}

// Send sends one datagram; an empty one is a keep-alive. It waits while the
// system has no room, and while the relay is given a proof that it wants; when
// that takes longer than 10 seconds, or the relay has refused three proofs,
// Send fails until the relay accepts one. An error wraps ErrTooLarge,
// net.ErrClosed, a *ProofError or the error of the system, and then this
// datagram did not leave; no error means only that it left this machine or
// waits to do so.
//
// Payloads that leave before the relay says that it wants a proof are lost at
// it. So those of the first 4 seconds, of at most about 256 KiB, are kept, and
// sent when it has the proof. A relay that forgets a client later loses what
// comes until it has said so, as payloads may not come twice.
func (c *Client) Send(payload []byte) error {
	if len(payload) > MaxPayload {
		return fmt.Errorf("send %d bytes to %s: %w (at most %d)", len(payload), c.Relay(), ErrTooLarge, MaxPayload)
	}
	for {
		wait, err := c.send(payload)
		if wait == nil {
			return err
		}
		select {
		case <-wait:
		case <-c.ctx.Done():
			return net.ErrClosed
		}
	}
}

// send is Send, but returns what to wait for where that has to wait.
func (c *Client) send(payload []byte) (wait <-chan struct{}, err error) {
	c.sending <- struct{}{}
	defer func() { <-c.sending }()
	c.mu.Lock()
	held, shutOut, released := c.joiner.holds(), c.shutOut(), c.released
	if !held {
		c.joiner.sends(len(payload) == 0, time.Now())
	}
	c.mu.Unlock()
	switch {
	case held && len(payload) == 0:
		return nil, nil // the client asks by itself
	case held && shutOut != nil:
		return nil, shutOut
	case held:
		return released, nil
	}
	if err := c.write(payload, len(payload) > 0); err != nil || len(payload) == 0 {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joiner.sent(payload, time.Now())
	return nil, nil
}

// write writes one datagram, a payload or one of the client's own.
func (c *Client) write(datagram []byte, isPayload bool) error {
	pause := roomPause
	for tries := 1; ; tries++ {
		before := c.markSent(isPayload)
		_, err := c.conn.Write(datagram)
		switch {
		case err == nil:
			if isPayload {
				c.mu.Lock()
				c.payloadAt = time.Now()
				c.mu.Unlock()
			}
			return nil
		case c.ctx.Err() != nil:
			return net.ErrClosed
		case err == errAway:
			c.markAway(isPayload)
			return nil
		case (isRefused(err) || isLate(err)) && tries < roomTries:
			// The answer to an earlier datagram: the system hands it out in
			// place of sending this one, which can now go.
			c.markFailed(err, before)
		case isUnreachable(err) && tries == 1:
			// Perhaps the same: Receive may have emptied the queue of errors.
		case isFull(err) && tries < roomTries && c.pause(pause):
			pause *= 2
		case isTooLarge(err):
			return fmt.Errorf("send %d bytes to %s: %w", len(datagram), c.Relay(), ErrTooLarge)
		default:
			if !isFull(err) {
				c.markFailed(err, false)
			}
			return fmt.Errorf("send to %s: %w", c.Relay(), bare(err))
		}
	}
}

// Receive waits for a payload and returns its length; what does not fit into
// buf is lost, so MaxPayload bytes are a good size. Empty datagrams and
// cookies, by which the relay asks for a proof, are not returned. Refusals and
// errors that pass are not returned: the client goes on. After Close, or when
// the context is done, the error is net.ErrClosed.
func (c *Client) Receive(buf []byte) (int, error) {
	read := buf
	if len(buf) < smallRead {
		read = make([]byte, smallRead)
	}
	for {
		n, err := c.conn.Read(read)
		switch {
		case err == nil:
			if c.heard(read[:n]) {
				if c.stream != nil {
					c.stream.settle(nil)
				}
				if len(buf) < smallRead {
					n = copy(buf, read[:n])
				}
				return n, nil
			}
		case c.ctx.Err() != nil:
			return 0, net.ErrClosed
		case err == errAway:
			c.lostConnection()
		case err == errBack:
			c.reconnected()
		case isRefused(err), isUnreachable(err):
			c.mu.Lock()
			last := c.sentPayload
			c.mu.Unlock()
			c.markFailed(err, last)
		case isPassing(err):
			c.pause(receivePause)
		default:
			return 0, fmt.Errorf("receive from %s: %w", c.Relay(), bare(err))
		}
	}
}

// heard takes a datagram of the relay's and reports whether it is for the user.
func (c *Client) heard(datagram []byte) bool {
	c.mu.Lock()
	c.health.Received++
	before := c.joiner.next
	was := c.joiner.state
	now := time.Now()
	mine := c.joiner.heard(datagram, now)
	silent := c.reach.Silent
	if c.stream == nil {
		c.reach.heard(now)
	}
	c.publish()
	changed := was != c.joiner.state || before != c.joiner.next || c.joiner.suspect || c.reach.Failing
	c.mu.Unlock()
	if silent {
		signal(c.refused)
	}
	if changed {
		signal(c.wake)
	}
	return mine
}

// publish makes known what the joiner does now. The caller holds mu.
func (c *Client) publish() {
	j, h := &c.joiner, &c.health
	before := *h
	h.WantsProof, h.Proving, h.ShutOut, h.PayloadsLost = j.asked, j.holds(), j.shutOut, j.lost
	if before.Proving != h.Proving || before.ShutOut != h.ShutOut {
		signal(c.proofs)
		// Who waits looks again.
		close(c.released)
		c.released = make(chan struct{})
	}
}

// signal puts a value into a channel that holds one, unless it has one.
func signal(channel chan<- struct{}) {
	select {
	case channel <- struct{}{}:
	default:
	}
}

// Proofs yields a value after Proving or ShutOut of Health have changed, once
// or several times.
func (c *Client) Proofs() <-chan struct{} { return c.proofs }

// ProofError returns why Send fails at a relay that wants a proof, or nil.
func (c *Client) ProofError() *ProofError {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shutOut()
}

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

// keepIn sends what is due: keep-alives, and what a proof needs.
func (c *Client) keepIn() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-timer.C:
		case <-c.wake:
		}
		timer.Reset(time.Until(c.sendDue()))
	}
}

// sendDue sends what is due, and returns when to do so again. A network that is
// away may come back: the next one tries again.
func (c *Client) sendDue() time.Time {
	c.sending <- struct{}{}
	defer func() { <-c.sending }()
	c.mu.Lock()
	now, before := time.Now(), c.reach.Reach
	datagrams, again := c.joiner.due(now)
	look, samePort, next := c.reach.due(now)
	changed := before != c.reach.Reach
	c.mu.Unlock()
	if changed {
		signal(c.refused)
	}
	if look && c.redial != nil {
		c.running.Go(func() { c.renew(samePort) })
	}
	if !next.IsZero() && next.Before(again) {
		again = next
	}
	failed := uint64(0)
	for _, d := range datagrams {
		if err := c.write(d.text, d.payload); err != nil && d.payload {
			failed++
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.joiner.lost += failed
	c.publish()
	return again
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
