package client

import "golang.org/x/sys/windows"

// Windows reports port unreachable as a connection reset.
func isRefused(err error) bool {
	return isOneOf(err, windows.WSAECONNRESET, windows.WSAECONNREFUSED)
}
func isTooLarge(err error) bool { return isOneOf(err, windows.WSAEMSGSIZE) }
func isFull(err error) bool     { return isOneOf(err, windows.WSAENOBUFS) }

// isUnreachable reports whether err says that datagrams do not get to the relay.
func isUnreachable(err error) bool {
	return isOneOf(err, windows.WSAENETUNREACH, windows.WSAEHOSTUNREACH, windows.WSAENETDOWN, windows.WSAEHOSTDOWN)
}

// isPassing reports whether a receive error says nothing of the next receive.
// WSAENETRESET is a datagram whose time to live ran out.
func isPassing(err error) bool {
	return isOneOf(err,
		windows.WSAENETRESET, windows.WSAEMSGSIZE, windows.WSAENOBUFS)
}
