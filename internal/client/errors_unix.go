//go:build unix

package client

import "syscall"

func isRefused(err error) bool  { return isOneOf(err, syscall.ECONNREFUSED) }
func isTooLarge(err error) bool { return isOneOf(err, syscall.EMSGSIZE) }
func isFull(err error) bool     { return isOneOf(err, syscall.ENOBUFS) }

// isPassing reports whether a receive error says nothing of the next receive:
// what ICMP brought on the way of an earlier datagram, and want of memory.
func isPassing(err error) bool {
	return isOneOf(err,
		syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN,
		syscall.ENETRESET, syscall.ENOPROTOOPT, syscall.EPROTO, syscall.EMSGSIZE, syscall.EACCES, syscall.EPERM,
		syscall.ENOBUFS, syscall.ENOMEM, syscall.EAGAIN, syscall.EINTR)
}
