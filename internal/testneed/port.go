package testneed

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// The kernel gives out ports from 32768 on (ip_local_port_range), to connections
// of other tests among others.
const firstPort, lastPort = 20_000, 32_000

// FreePort returns a port that nobody has, by UDP or TCP at any address, and that
// nobody gets by chance.
func FreePort() (uint16, error) {
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if isFree(fmt.Sprintf(":%d", port)) {
			return uint16(port), nil
		}
	}
	return 0, fmt.Errorf("no port from %d to %d is free", firstPort, lastPort)
}

func isFree(address string) bool {
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		return false
	}
	defer packets.Close()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	listener.Close()
	return true
}
