//go:build !linux

package client

import (
	"net"
	"time"
)

// boundUnacked leaves it to the system how long something sent may stay
// unacknowledged.
func boundUnacked(*net.TCPConn, time.Duration) {}
