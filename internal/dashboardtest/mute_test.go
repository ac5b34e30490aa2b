package dashboardtest

import (
	"net"
	"testing"
)

// A mute is a program that only receives, as a collector does.
type mute struct {
	conn *net.UDPConn
	port int
}

func newMute(t testing.TB) mute {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return mute{conn, conn.LocalAddr().(*net.UDPAddr).Port}
}
