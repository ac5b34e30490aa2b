package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
)

// asAnother runs f with the rights on files of a user that is not root.
func asAnother(t *testing.T, f func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Setfsuid(65534); err != nil {
			t.Errorf("become another user: %v", err)
			return
		}
		f()
	}()
	<-done
}

func TestFullDisk(t *testing.T) {
	directory := testneed.SmallDisk(t, "16k")
	name := filepath.Join(directory, "peers")
	now := time.Now()
	if err := Save(name, manyPeers(20, now), now, true); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, sync := range []bool{false, true} {
		err := Save(name, manyPeers(1000, now), now, sync)
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("want a full disk, got %v", err)
		}
		wantError(t, err, fmt.Sprintf("save peers to %s: write %s.new: no space left on device", name, name), "make room on the file system of "+directory)
		wantFile(t, name, before)
		wantFiles(t, directory, "peers")
	}

	// Where not a byte fits.
	filler, err := os.Create(filepath.Join(directory, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = filler.Write(make([]byte, 512))
	}
	filler.Close()
	err = Save(name, shown, now, true)
	wantError(t, err, fmt.Sprintf("save peers to %s: write %s.new: no space left on device", name, name), "make room on the file system of "+directory)
	wantFile(t, name, before)
	wantFiles(t, directory, "filler", "peers")

	if err := os.Remove(filler.Name()); err != nil {
		t.Fatal(err)
	}
	if err := Save(name, shown, now, true); err != nil {
		t.Fatalf("want room again, got %v", err)
	}
	wantFiles(t, directory, "peers")
}

func TestReadOnlyFileSystem(t *testing.T) {
	directory := testneed.SmallDisk(t, "16k")
	name := filepath.Join(directory, "peers")
	if err := Save(name, shown, time.Now(), false); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(name)
	if err := unix.Mount("none", directory, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	wantError(t, Save(name, new(Snapshot), time.Now(), false), fmt.Sprintf("save peers to %s: open %s.new: read-only file system", name, name),
		"the file system of "+directory+" is read-only: set state.file to a file elsewhere")
	wantFile(t, name, before)
	wantFiles(t, directory, "peers")
}

func TestForbidden(t *testing.T) {
	directory := t.TempDir()
	if err := os.Chmod(filepath.Dir(directory), 0o755); err != nil { // the way to it is free
		t.Fatal(err)
	}
	name := filepath.Join(directory, "peers")
	if err := Save(name, shown, time.Now(), false); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadFile(name)
	if err := os.Chmod(name, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(directory, 0o555); err != nil {
		t.Fatal(err)
	}
	asAnother(t, func() {
		err := Save(name, new(Snapshot), time.Now(), false)
		if want := fmt.Sprintf("save peers to %s: open %s.new: permission denied", name, name); err == nil || err.Error() != want || !errors.Is(err, fs.ErrPermission) {
			t.Errorf("want %q, got %v", want, err)
		} else if got, want := err.(*saveError).Hint(), "let udprelay write to the directory "+directory+", or set state.file to a file elsewhere"; got != want {
			t.Errorf("want the hint %q, got %q", want, got)
		}
		_, err = Load(name, time.Now())
		if damaged := (*Damaged)(nil); !errors.Is(err, fs.ErrPermission) || errors.As(err, &damaged) || err.Error() != "open "+name+": permission denied" {
			t.Errorf("want that it may not be read, not that it is damaged; got %v", err)
		}
		if _, err := SetAside(name); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("want that it may not be renamed, got %v", err)
		}
	})
	if err := os.Chmod(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	wantFile(t, name, before)
	wantFiles(t, directory, "peers")
}

func TestAPipeOrDeviceIsLeftAlone(t *testing.T) {
	directory := t.TempDir()
	name := filepath.Join(directory, "peers")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	want := name + " is no regular file"
	if _, err := Load(name, time.Now()); err == nil || err.Error() != want { // and does not wait for a writer
		t.Errorf("want Load to say %q, got %v", want, err)
	}
	wantError(t, Save(name, shown, time.Now(), false), "save peers to "+name+": "+want, "")
	wantError(t, Save(os.DevNull, shown, time.Now(), false), "save peers to /dev/null: /dev/null is no regular file", "")
	wantFiles(t, directory, "peers")
}
