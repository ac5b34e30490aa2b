//go:build !linux

package client

import "net"

// reportErrors returns socket: other systems report by themselves that a host or
// a network cannot be reached.
func reportErrors(socket *net.UDPConn) conn { return socket }
