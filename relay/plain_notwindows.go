//go:build !windows

package relay

// isWindows reports whether err is the Winsock error number: not here.
func isWindows(error, uint) bool { return false }
