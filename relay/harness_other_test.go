//go:build !linux

package relay

import (
	"net"
	"testing"
)

var ways = []way{{"plain", New}}

// A spy has nothing to watch where there are no trains.
type spy struct{}

func (spy) watch(*crew) bool { return false }

func (spy) check(testing.TB) {}

// roomFor gives the socket a receive buffer of size bytes and returns what can
// be relied on: the least that systems come with.
func roomFor(t testing.TB, conn *net.UDPConn, size int) int {
	t.Helper()
	conn.SetReadBuffer(size)
	return 200 << 10
}

func roomOf(testing.TB, *Relay) int { return 200 << 10 }
