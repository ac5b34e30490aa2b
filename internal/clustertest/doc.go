// Package clustertest tests daemons that are one relay as their users have
// them: the built program on hosts of its own, datagrams of real sockets, and
// networks that are cut, stalled and healed meanwhile.
//
// The package has nothing but tests. They need Linux and root, for each host is
// a network namespace. Parts of a cluster that need no network are tested in
// internal/cluster.
package clustertest
