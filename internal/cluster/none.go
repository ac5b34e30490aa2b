//go:build nocluster

package cluster

import (
	"context"
	"errors"
	"net"

	"udprelay/relay"
)

// Available reports whether this program can be a node: it can not if it was
// built with the tag nocluster.
func Available() bool { return false }

// A Cluster is this node's part in a cluster. In this build there is none.
type Cluster struct{}

// Start returns an error: this program was built without clusters.
func Start(context.Context, *relay.Relay, Options) (*Cluster, error) {
	return nil, errors.New("this program was built without clusters (build tag nocluster); want another build, or no cluster in the configuration")
}

// Name implements [relay.Link].
func (*Cluster) Name() string { return "cluster" }

// Deliver implements [relay.Link].
func (*Cluster) Deliver([]relay.Datagram) {}

// Close does nothing.
func (*Cluster) Close() {}

// Addr returns nil.
func (*Cluster) Addr() *net.TCPAddr { return nil }

// ID returns "".
func (*Cluster) ID() string { return "" }

// Stats returns nothing.
func (*Cluster) Stats() Stats { return Stats{} }

// Ask returns ErrNoNode.
func (*Cluster) Ask(context.Context, string, []byte) ([]byte, error) { return nil, ErrNoNode }

// Changed does nothing.
func (*Cluster) Changed() {}

// AwaitShared returns nil: nobody is missing.
func (*Cluster) AwaitShared(context.Context) []Node { return nil }
