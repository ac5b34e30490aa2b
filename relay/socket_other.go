//go:build !linux

package relay

import "net"

func newSocket(conn *net.UDPConn, own *own, options Options) (socket, error) {
	return newPlainSocket(conn, own, options)
}
