package relay

import (
	"errors"
	"net"
	"os"
	"syscall"
)

// plainDropOf translates an error of a send call.
func plainDropOf(err error) Drop {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOBUFS):
		return DropNoBuffer
	case errors.Is(err, syscall.EMSGSIZE), isWindows(err, 10040): // WSAEMSGSIZE
		return DropTooBig
	case errors.Is(err, syscall.EPERM):
		return DropFiltered
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EINVAL),
		errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.EADDRNOTAVAIL),
		isWindows(err, 10051), isWindows(err, 10065): // WSAENETUNREACH, WSAEHOSTUNREACH
		return DropUnreachable
	}
	var address *net.AddrError
	if errors.As(err, &address) { // an IPv6 peer on a socket of IPv4
		return DropUnreachable
	}
	return DropSendFailed
}

// ofTheMoment reports whether an error of the receive call is no reason to
// stop: what was sent before met a closed port, or a datagram was too long.
func ofTheMoment(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH) ||
		isWindows(err, 10054) || isWindows(err, 10052) || isWindows(err, 10040) // WSAECONNRESET, WSAENETRESET, WSAEMSGSIZE
}
