package dashboardtest

import (
	"testing"

	"udprelay/internal/nettest"
)

// inPrivateNetwork runs the test that calls it in a process with a network of
// its own, which has the loopback interface and on it all of the private
// networks that the pictures show. It reports whether this is that process.
func inPrivateNetwork(t *testing.T) (inside bool) {
	t.Helper()
	if !nettest.Inside(t) {
		return false
	}
	nettest.IP(t,
		"address add 192.168.7.1/24 dev lo", "route add local 10.8.0.0/24 dev lo src 192.168.7.1",
		"address add fd00:7::1/128 dev lo", "address add fd00:7::24/128 dev lo", "address add fd00:7::43/128 dev lo")
	nettest.AwaitAddress(t, "fd00:7::1", "fd00:7::24", "fd00:7::43")
	return true
}
