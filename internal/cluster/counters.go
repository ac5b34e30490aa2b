//go:build !nocluster

package cluster

import (
	"sync/atomic"
	"time"
)

// counters are the counts that several goroutines add to.
type counters struct {
	publishedMessages, publishedDatagrams, publishedBytes atomic.Uint64
	receivedMessages, receivedDatagrams, receivedBytes    atomic.Uint64

	dropped [drops]atomic.Uint64
}

func (c *counters) drop(reason Drop, n int) {
	if n > 0 {
		c.dropped[reason].Add(uint64(n))
	}
}

// Stats returns the counts so far. Any goroutine may call it, also after Close.
func (c *Cluster) Stats() Stats {
	n := &c.counters
	s := Stats{
		PublishedMessages: n.publishedMessages.Load(), PublishedDatagrams: n.publishedDatagrams.Load(), PublishedBytes: n.publishedBytes.Load(),
		ReceivedMessages: n.receivedMessages.Load(), ReceivedDatagrams: n.receivedDatagrams.Load(), ReceivedBytes: n.receivedBytes.Load(),
		Connected: c.conn.now() != nil,
		Nodes:     c.nodes.list(time.Now()),
	}
	s.Trouble = c.trouble.text(s.Connected)
	if c.server != nil {
		s.Routes = c.routes()
	}
	r := c.rates.Load()
	s.In, s.Out = r.in, r.out
	c.countSlow()
	for i := range s.Dropped {
		s.Dropped[i] = n.dropped[i].Load()
	}
	return s
}

// countSlow counts what NATS has dropped because messages were taken too
// slowly.
func (c *Cluster) countSlow() {
	c.slowMu.Lock()
	defer c.slowMu.Unlock()
	for i, sub := range c.subs {
		if n, err := sub.Dropped(); err == nil && n > c.slow[i] { // an error: it is closed
			c.counters.drop(DropSlow, n-c.slow[i])
			c.slow[i] = n
		}
	}
}
