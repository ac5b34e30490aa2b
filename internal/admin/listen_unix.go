//go:build unix

package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const connectionRefused = unix.ECONNREFUSED

// private is the mode of the file of a control socket: who connects needs the
// right to write.
const private = 0o600

// makePrivate gives a socket, before it is bound, the mode that its file gets
// on Linux (unix_bind_bsd in net/unix/af_unix.c). Other systems need not know
// modes of sockets; there wantPrivate does it.
func makePrivate(_, _ string, conn syscall.RawConn) error {
	return conn.Control(func(fd uintptr) { _ = unix.Fchmod(int(fd), private) })
}

// wantPrivate makes the file of a bound socket private if it is not. A symbolic
// link that somebody has put in its place is not followed.
func wantPrivate(name string, file fs.FileInfo) error {
	if file.Mode().Perm() == private {
		return nil
	}
	return unix.Fchmodat(unix.AT_FDCWD, name, private, unix.AT_SYMLINK_NOFOLLOW)
}

// lock keeps other daemons from opening the socket called name until unlock,
// with a file beside it that is gone then. The kernel releases the lock of a
// process that ends; the file it leaves is the next one's.
func lock(name string) (unlock func(), err error) {
	directory, base := filepath.Split(name)
	name = filepath.Join(directory, "."+base+".lock")
	for deadline := time.Now().Add(lockTimeout); ; time.Sleep(5 * time.Millisecond) {
		switch unlock, err := tryLock(name); {
		case unlock != nil || err != nil:
			return unlock, err
		case time.Now().After(deadline):
			return nil, fmt.Errorf("%w, for %s is locked", ErrInUse, name)
		}
	}
}

// tryLock is lock that does not wait: without an error there need not be a lock.
func tryLock(name string) (unlock func(), err error) {
	// Not blocked by a FIFO, and no symbolic link.
	file, err := os.OpenFile(name, os.O_RDONLY|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, private)
	if err != nil {
		return nil, err
	}
	defer func() {
		if unlock == nil {
			file.Close()
		}
	}()
	ours, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !ours.Mode().IsRegular() || ours.Size() > 0 {
		return nil, fmt.Errorf("%s is in the way", name)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, unix.EINTR) {
			return nil, nil
		}
		return nil, err
	}
	// One that its last owner has removed since locks nobody out.
	if now, err := os.Lstat(name); err != nil || !os.SameFile(now, ours) {
		return nil, nil
	}
	return func() {
		os.Remove(name)
		file.Close()
	}, nil
}
