package client

import "time"

// lateAfter is how long it may take until the system or a router says that a
// datagram cannot be delivered: three questions to a neighbor, a second each, and
// something for the way.
const lateAfter = 4 * time.Second

// Refused yields a value after one error or several: the host of the relay said
// that nothing listens there, or the system or a router that it cannot be
// reached. An error is noticed by a call of Receive that waits, or else by the
// next datagram sent. It also yields one after Reach or Relay has changed, and
// over a connection after Lost has.
func (c *Client) Refused() <-chan struct{} { return c.refused }

// markSent notes that a datagram is about to leave, and reports whether the
// one before it was a payload. It comes before the write, for the refusal may
// be there before the write returns.
func (c *Client) markSent(payload bool) (before bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before = c.sentPayload
	c.sentPayload, c.health.Refusing = payload, c.away
	if payload {
		c.unsettled++
	}
	return before
}

// markFailed notes that a payload, or a datagram of the client's own, was refused
// or could not be delivered. Which datagram an error answers cannot be known;
// keep-alives leave mostly in silence, so the last one sent is as good as certain.
// That a host cannot be reached is said late, so a payload sent meanwhile counts.
func (c *Client) markFailed(err error, payload bool) {
	now := time.Now()
	c.mu.Lock()
	c.health.Refusing = true
	if !isRefused(err) {
		payload = payload || now.Sub(c.payloadAt) < lateAfter
		c.payloadAt = time.Time{}
	}
	if payload {
		c.health.PayloadsRefused++
	}
	c.joiner.refused(now)
	c.reach.failed(bare(err), now)
	c.reach.At = c.relay
	c.publish()
	c.mu.Unlock()
	signal(c.refused)
	signal(c.wake)
}
