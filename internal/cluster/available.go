//go:build !nocluster

package cluster

// Available reports whether this program can be a node: it can not if it was
// built with the tag nocluster.
func Available() bool { return true }
