//go:build unix

package client

import "syscall"

func isRefused(err error) bool  { return isOneOf(err, syscall.ECONNREFUSED) }
func isTooLarge(err error) bool { return isOneOf(err, syscall.EMSGSIZE) }
func isFull(err error) bool     { return isOneOf(err, syscall.ENOBUFS) }

// isUnreachable reports whether err says that datagrams do not get to the relay:
// what ICMP or the system said of an earlier one.
func isUnreachable(err error) bool {
	return isOneOf(err,
		syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.ENOPROTOOPT, syscall.EACCES)
}

// isPassing reports whether a receive error says nothing of the next receive.
func isPassing(err error) bool {
	return isOneOf(err,
		syscall.ENETRESET, syscall.EPROTO, syscall.EMSGSIZE, syscall.EPERM,
		syscall.ENOBUFS, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR)
}
