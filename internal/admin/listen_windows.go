package admin

import (
	"errors"
	"io/fs"
	"syscall"

	"golang.org/x/sys/windows"
)

// connectionRefused is what Windows says; syscall.ECONNREFUSED is a number of
// Go's own there.
const connectionRefused = windows.WSAECONNREFUSED

// makePrivate and wantPrivate do nothing: who may open the file of a socket
// is for the access control list that it inherits from its directory.
func makePrivate(_, _ string, _ syscall.RawConn) error { return nil }

func wantPrivate(string, fs.FileInfo) error { return nil }

// share is not called: there are no groups.
func share(string, fs.FileInfo, string, int) error { return errors.ErrUnsupported }

// lock locks nothing: of two daemons that start at the same moment both may
// believe that they have the socket.
func lock(string) (unlock func(), err error) { return func() {}, nil }
