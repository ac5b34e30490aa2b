package cluster

import "time"

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
	DropUnproven       // of a node that has not shown yet that it says this now, and not long ago
	DropUnasked        // part of an answer that nobody waits for, or that has come before

	drops
)

// String returns the reason as one word, as metrics and logs name it.
func (d Drop) String() string {
	return [drops]string{
		"queue_full", "too_big", "publish_failed", "lost", "duplicate",
		"unknown_version", "malformed", "wrong_secret", "too_many_nodes", "slow",
		"unproven", "unasked",
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

	In, Out float64 // datagrams a second that the relay gets from the cluster and gives to it

	Connected bool    // to a NATS server
	Trouble   string  // what NATS said last against this node: why it is not connected, or what it may not do; "": nothing
	Routes    []Route // to other nodes: those of Options.Routes first; none with a URL
	Nodes     []Node  // others of the room, by name
}

// A Route is a connection to another node, or one of Options.Routes that is
// missing: that is tried again and again. One that leads to this node itself is
// passed over.
type Route struct {
	Address   string // host:port, as in Options.Routes if it is there; else the other end of the connection
	Node      string // its name; "": not known
	NodeID    string // its Node.ID; "": not known
	Connected bool
	Error     string        // why it is not connected, as far as that is known
	RTT       time.Duration // 0: not known yet
	Pending   int           // bytes that wait to leave
	Since     time.Time     // when it was connected; zero: it is not
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
	Left     bool          // it said so
	RTT      time.Duration // a round trip of a message, with what NATS adds; 0: not known yet

	SameShared bool // what is shared is the same there and here

	Received, Lost, Duplicates uint64 // of its datagrams, and messages for Duplicates
}
