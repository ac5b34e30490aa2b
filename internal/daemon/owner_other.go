//go:build !linux

package daemon

import "net/netip"

// portOwner cannot tell here who has a port.
func portOwner(netip.AddrPort) string { return "" }
