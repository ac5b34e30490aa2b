package client

import "time"

// Refused yields a value after one refusal or several: the host of the relay
// said that nothing listens there. A refusal is noticed by a call of Receive
// that waits, or else by the next datagram sent. Over a connection it yields one
// after Lost has changed.
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

// markRefused notes a refusal of a payload or of a datagram of the client's
// own. Which datagram it answers cannot be known; keep-alives leave mostly in
// silence, so the last one sent is as good as certain.
func (c *Client) markRefused(payload bool) {
	c.mu.Lock()
	c.health.Refusing = true
	if payload {
		c.health.PayloadsRefused++
	}
	c.joiner.refused(time.Now())
	c.publish()
	c.mu.Unlock()
	signal(c.refused)
	signal(c.wake)
}
