package admin

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// A daemon behind a socket has so long to take a connection.
	dialTimeout = time.Second

	// Another daemon that opens the same socket has so long to finish that:
	// longer than it may take.
	lockTimeout = 3 * dialTimeout
)

// ErrInUse is the reason of a failing [Listen] where another daemon answers, or
// is just opening the same socket.
var ErrInUse = errors.New("another relay has it")

var errTaken = errors.New("something else has taken its name")

// Listen opens the unix socket called name, for its owner only. One that a
// daemon has left behind, which nobody answers at, is replaced; what is no
// socket is left alone. Closing the listener removes it, unless another one has
// the name by then. Of several daemons that start at once one gets it, on
// Windows most likely.
func Listen(name string) (net.Listener, error) { return ListenFor(name, "") }

func listen(name, group string, gid int) (net.Listener, error) {
	// Between its bind and its listen another daemon's socket looks like one
	// that was left behind.
	unlock, err := lock(name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := removeStale(name); err != nil {
		return nil, err
	}
	config := net.ListenConfig{Control: makePrivate}
	listener, err := config.Listen(context.Background(), "unix", name)
	if err != nil {
		return nil, err
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	file, err := os.Lstat(name)
	if err == nil && file.Mode().Type() != fs.ModeSocket {
		err = errTaken
	}
	if err != nil {
		listener.Close()
		return nil, err
	}
	s := &socket{Listener: listener, name: name, file: file}
	if err = wantPrivate(name, file); err == nil && gid != noGroup {
		err = share(name, file, group, gid)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// A socket is a listener that removes its file, and no other, when it is closed.
type socket struct {
	net.Listener
	name string
	file fs.FileInfo
	once sync.Once
}

// Close removes the file first: as long as somebody may answer, no other daemon
// takes the file for one that was left behind.
func (s *socket) Close() (err error) {
	s.once.Do(func() {
		if file, failed := os.Lstat(s.name); failed == nil && os.SameFile(file, s.file) {
			err = os.Remove(s.name)
		}
		err = errors.Join(err, s.Listener.Close())
	})
	return err
}

// removeStale removes the socket called name if nobody is behind it.
func removeStale(name string) error {
	info, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is something else of that name, which is no socket")
	}
	conn, err := net.DialTimeout("unix", name, dialTimeout)
	if err == nil {
		conn.Close()
		return ErrInUse
	}
	if busy := net.Error(nil); errors.As(err, &busy) && busy.Timeout() {
		return ErrInUse // so many connections wait that none fits in
	}
	if Absent(err) {
		return os.Remove(name)
	}
	return err
}

// Absent reports whether err is that there is no daemon behind a socket: it has
// no file, or nobody listens.
func Absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, connectionRefused)
}

// reason returns the last of a chain of errors, for the name is said already.
func reason(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}
