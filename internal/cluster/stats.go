package cluster

import (
	"sync/atomic"
	"time"
)

// A Drop is a reason why something did not get through.
type Drop uint8

const (
	// On the way out, in datagrams.

	DropQueueFull     Drop = iota // the queue was full: NATS takes less than the relay has
	DropTooBig                    // longer than 65535 bytes
	DropPublishFailed             // there was no connection to NATS, or it failed

	// On the way in. DropLost is in datagrams: those that another node has
	// numbered and that did not come, on a route that was cut or behind, or
	// dropped here as DropSlow or for another reason. The others are in
	// messages.

	DropLost
	DropDuplicate      // it has come before, or something that was said after it
	DropUnknownVersion // of a program that speaks another version
	DropMalformed      // no message of this program, or not whole
	DropWrongSecret    // not sealed with the secret, or sealed where there is none
	DropTooManyNodes   // of a node more than are remembered
	DropSlow           // the relay took messages too slowly, and the queue was full

	drops
)

// String returns the reason as one word, as metrics and logs name it.
func (d Drop) String() string {
	return [drops]string{
		"queue_full", "too_big", "publish_failed", "lost", "duplicate",
		"unknown_version", "malformed", "wrong_secret", "too_many_nodes", "slow",
	}[d]
}

// Drops returns every reason there is.
func Drops() []Drop {
	list := make([]Drop, drops)
	for i := range list {
		list[i] = Drop(i)
	}
	return list
}

// Stats are counts since the start, and what is known of the cluster.
type Stats struct {
	PublishedMessages, PublishedDatagrams, PublishedBytes uint64 // given to NATS; bytes are of payloads
	ReceivedMessages, ReceivedDatagrams, ReceivedBytes    uint64 // brought to the relay

	Dropped [drops]uint64 // by Drop

	Connected bool   // to a NATS server
	Routes    int    // nodes that this one is connected to; 0 with a URL
	Nodes     []Node // others of the room, by name
}

// A Node is another node of the room, as it has last been heard.
type Node struct {
	ID       string // 16 hexadecimal digits, new at each start
	Name     string // "" if it has not told
	Version  string
	Peers    int           // that it has itself
	In, Out  float64       // datagrams a second that it gets from the cluster and gives to it
	LastSeen time.Time     // anything
	Gone     bool          // it said so, or was not heard for a while
	RTT      time.Duration // a round trip of a message, with what NATS adds; 0: not known yet

	Received, Lost, Duplicates uint64 // of its datagrams, and messages for Duplicates
}

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
		Connected: c.conn.IsConnected(),
		Nodes:     c.nodes.list(time.Now()),
	}
	if c.server != nil {
		s.Routes = c.server.NumRemotes()
	}
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
