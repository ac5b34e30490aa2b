package admin

import (
	"io/fs"
	"net"
	"os"
	"syscall"
	"testing"
)

func TestTheModeIsRightFromTheStart(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	config := net.ListenConfig{Control: makePrivate}
	listener, err := config.Listen(t.Context(), "unix", socketName(t))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if info, err := os.Lstat(listener.Addr().String()); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("want a socket of mode 0600, got %v, %v", info.Mode(), err)
	}
}

func TestASocketWithAFullQueueIsInUse(t *testing.T) {
	name := socketName(t)
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: name}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	waiting, err := net.Dial("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if err := removeStale(name); err != ErrInUse {
		t.Errorf("want %v, got %v", ErrInUse, err)
	}
}
