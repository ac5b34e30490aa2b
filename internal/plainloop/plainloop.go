// Package plainloop is the relay as it is written in five minutes: a loop of
// ReadFromUDP and WriteToUDP. It is the baseline of the benchmarks, and for
// nothing else: it checks nothing, forgets nobody and stops for any error.
package plainloop

import "net"

// Serve relays among those who send to conn until a call fails.
func Serve(conn *net.UDPConn) error {
	peers := make(map[string]*net.UDPAddr)
	buffer := make([]byte, 65535)
	for {
		n, from, err := conn.ReadFromUDP(buffer)
		if err != nil {
			return err
		}
		sender := from.String()
		peers[sender] = from
		for name, peer := range peers {
			if name == sender {
				continue
			}
			if _, err := conn.WriteToUDP(buffer[:n], peer); err != nil {
				return err
			}
		}
	}
}
