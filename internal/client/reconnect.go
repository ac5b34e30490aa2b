package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"
)

// dialConnection joins a relay that is reached by connections.
func dialConnection(ctx context.Context, relay Address, options Options) (*Client, error) {
	config := options.TLS
	switch {
	case !relay.IsEncrypted():
		config = nil
	case config == nil:
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	default:
		config = config.Clone()
	}
	if config != nil && config.ServerName == "" {
		config.ServerName, _, _ = net.SplitHostPort(relay.Host)
	}
	var remote netip.AddrPort
	first, err := connect(ctx, relay, config, &remote)
	if err != nil {
		return nil, err
	}
	c := newClient(relay.String(), remote, options)
	c.joiner.connected(time.Now())
	again := func(ctx context.Context) (wire, error) { return connect(ctx, relay, config, nil) }
	c.stream = newConnection(c.relay, first, again, c.joiner.jitter, func() { signal(c.refused) })
	c.conn = c.stream
	return c.start(ctx)
}

// connect makes a connection to relay. The error is a *ConnectError. It sets
// remote unless that is nil.
func connect(ctx context.Context, relay Address, config *tls.Config, remote *netip.AddrPort) (wire, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	var made wire
	var addr net.Addr
	var err error
	if relay.IsWebSocket() {
		var w *messageWire
		if w, addr, err = dialWebSocket(ctx, relay, config); err == nil {
			made = w
		}
	} else {
		var w *streamWire
		if w, err = dialStream(ctx, relay.Host, config); err == nil {
			made, addr = w, w.raw.RemoteAddr()
		}
	}
	if err != nil {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = context.DeadlineExceeded // the system may name the step that was interrupted
		}
		problem, hint := explain(err)
		return nil, &ConnectError{relay.String(), problem, hint, err}
	}
	if remote != nil {
		*remote = addrPort(addr)
	}
	return made, nil
}

// Lost returns why there is no connection to the relay, or none that has lasted
// yet, or nil. It is always nil over UDP.
func (c *Client) Lost() *LostError {
	if c.stream == nil {
		return nil
	}
	return c.stream.lostError()
}

// Connects reports whether the relay is reached by a connection, not by UDP.
func (c *Client) Connects() bool { return c.stream != nil }

// markAway notes a datagram that there was no connection for.
func (c *Client) markAway(payload bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away, c.health.Refusing = true, true
	if payload {
		c.health.PayloadsRefused++
		c.unsettled-- // not over this connection
	}
}

// lostConnection notes that the connection is lost. What a relay got that ended
// it as soon as it had begun was for nothing.
func (c *Client) lostConnection() {
	c.sending <- struct{}{}
	defer func() { <-c.sending }()
	lost := c.stream.lostError()
	c.mu.Lock()
	c.away, c.health.Refusing = true, true
	if lost != nil && lost.TurnedAway && !c.joiner.out() {
		c.health.PayloadsRefused += c.unsettled
	}
	c.unsettled = 0
	c.joiner.disconnected(time.Now())
	c.publish()
	c.mu.Unlock()
	signal(c.refused)
	signal(c.wake)
}

// reconnected goes on with another connection. Nothing that was meant for the
// one before leaves over it.
func (c *Client) reconnected() {
	c.sending <- struct{}{}
	defer func() { <-c.sending }()
	c.mu.Lock()
	c.away, c.health.Refusing, c.unsettled = false, false, 0
	c.joiner.connected(time.Now())
	c.publish()
	c.mu.Unlock()
	c.stream.resume()
	signal(c.wake)
}
