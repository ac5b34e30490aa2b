package cluster

import (
	"context"
	"crypto/tls"
	"log/slog"
)

// DefaultQueue is how many bytes may wait on the way out, and as many on the way
// in: 8 MiB.
const DefaultQueue = 8 << 20

// Options say how a node takes part. Room is required. Without URL the node
// runs a NATS server of its own, for which Listen and Routes are.
type Options struct {
	Name    string // of this node, for people; need not be unique. "": the name of the host
	Version string // of the program, for people
	Room    string // nodes of one room hear each other: letters, digits, - and _, at most 64

	// Listen is the host:port where other nodes connect; "": a port of the
	// loopback interface that the system chooses. Anywhere else it needs Secret
	// or TLS, or InsecureListen.
	Listen         string
	InsecureListen bool     // whoever reaches Listen may take part
	Advertise      string   // host:port that other nodes are told to connect to; "": where they see this one come from, and the port of Listen
	Routes         []string // host:port of other nodes. One that is connected tells of all the others

	URL         string // of an existing NATS deployment, several separated by commas
	Credentials string // file of NATS credentials, for URL

	// TLS is for the routes between nodes, or for URL. For routes it needs a
	// certificate, and RootCAs or ClientCAs: both sides show one and have it
	// verified.
	TLS *tls.Config

	// Secret is known to all nodes of the cluster, and seals what they say: who
	// does not have it hears nothing and is not heard, whatever way the
	// messages go. Empty: nothing is sealed.
	Secret []byte

	// Answer answers what other nodes ask with [Cluster.Ask], one question at a
	// time, within a few seconds; ctx ends when the node closes. The answer has
	// at most MaxAnswer bytes; nil: this question is not answered here. Nil:
	// none is.
	Answer func(ctx context.Context, question []byte) (answer []byte)

	Shared Shared // what all nodes of the room agree on; nil: nothing

	Queue  int          // bytes that may wait, at least 256 KiB; 0: DefaultQueue
	Logger *slog.Logger // nil: nothing is logged
}
