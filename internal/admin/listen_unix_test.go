//go:build unix

package admin

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// leave leaves a socket behind, as a process that is killed does.
func leave(t *testing.T, name string) {
	t.Helper()
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
}

// files returns the names of what is beside a socket, with it.
func files(t *testing.T, socket string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(socket))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestTheSocketOfAnotherOneIsNotRemoved(t *testing.T) {
	name := socketName(t)
	first, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(name); err != nil { // as one who cleans up /tmp
		t.Fatal(err)
	}
	second, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := first.Close(); err != nil {
			t.Error(err)
		}
		conn, err := net.Dial("unix", name)
		if err != nil {
			t.Fatalf("want the second one to answer, got %v", err)
		}
		conn.Close()
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	if left := files(t, name); len(left) > 0 {
		t.Errorf("want nothing left behind, got %q", left)
	}
}

func TestOneOfManyThatStartAtOnceGetsTheSocket(t *testing.T) {
	name := socketName(t)
	for range 50 {
		leave(t, name)
		var starting sync.WaitGroup
		begin := make(chan struct{})
		listeners := make(chan net.Listener, 8)
		for range cap(listeners) {
			starting.Go(func() {
				<-begin
				listener, err := Listen(name)
				if err == nil {
					listeners <- listener
				} else if !errors.Is(err, ErrInUse) {
					t.Error(err)
				}
			})
		}
		close(begin)
		starting.Wait()
		if got := len(listeners); got != 1 {
			t.Errorf("want one with the socket, got %d", got)
		}
		if got := files(t, name); len(got) != 1 {
			t.Errorf("want the socket only, got %q", got)
		}
		for range len(listeners) {
			(<-listeners).Close()
		}
	}
}

// lockFile returns the name of the file that locks a socket.
func lockFile(socket string) string {
	return filepath.Join(filepath.Dir(socket), "."+filepath.Base(socket)+".lock")
}

func TestALockThatWasLeftBehindLocksNobodyOut(t *testing.T) {
	name := socketName(t)
	if err := os.WriteFile(lockFile(name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if left := files(t, name); len(left) > 0 {
		t.Errorf("want nothing left behind, got %q", left)
	}
}

func TestALockThatIsHeldIsWaitedForNotForEver(t *testing.T) {
	name := socketName(t)
	unlock, err := lock(name)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if listener, err := Listen(name); !errors.Is(err, ErrInUse) {
		t.Errorf("want %v, got %v, %v", ErrInUse, listener, err)
	}
}

func TestWhatIsNoLockIsLeftAlone(t *testing.T) {
	for what, put := range map[string]func(string) error{
		"a file":          func(name string) error { return os.WriteFile(name, []byte("precious"), 0o600) },
		"a symbolic link": func(name string) error { return os.Symlink("elsewhere", name) },
		"a FIFO":          func(name string) error { return syscall.Mkfifo(name, 0o600) },
		"a directory":     func(name string) error { return os.Mkdir(name, 0o700) },
	} {
		name := socketName(t)
		if err := put(lockFile(name)); err != nil {
			t.Fatal(err)
		}
		if listener, err := Listen(name); err == nil {
			listener.Close()
			t.Errorf("%s: want an error", what)
		}
		if got := files(t, name); len(got) != 1 || got[0] != filepath.Base(lockFile(name)) {
			t.Errorf("%s: want it left, and only it, got %q", what, got)
		}
	}
}

func TestTheModeFollowsNoLink(t *testing.T) {
	directory := t.TempDir()
	target, link := filepath.Join(directory, "target"), filepath.Join(directory, "link")
	if err := os.WriteFile(target, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(target, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(link)
	if err != nil {
		t.Fatal(err)
	}
	_ = wantPrivate(link, info) // some systems have modes for links
	if info, err = os.Stat(target); err != nil || info.Mode() != 0o644 {
		t.Errorf("want the mode as it was, got %v, %v", info.Mode(), err)
	}
}

func TestTheModeDoesNotDependOnTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	name := socketName(t)
	listener, err := Listen(name)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if info, err := os.Lstat(name); err != nil || info.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("want a socket of mode 0600, got %v, %v", info.Mode(), err)
	}
}
