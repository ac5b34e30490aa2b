//go:build !linux

package command

import "io"

// watchReader does nothing: no event tells that the reader of a pipe has gone,
// so that the write of the next datagram finds it out.
func watchReader(io.Writer, func()) (stop func()) { return func() {} }
