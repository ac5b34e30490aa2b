package capture

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/iotest"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
)

// smallDisk returns a directory on a file system of 64 KiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	testneed.Root(t)
	directory := t.TempDir()
	if err := unix.Mount("none", directory, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(directory, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount the tmpfs: %v", err)
		}
	})
	return directory
}

// A disk that fills up ends the recording; what is said to be in the file is in
// it, whole.
func TestAFullDiskEndsAFileBehindAWholePacket(t *testing.T) {
	name := filepath.Join(smallDisk(t), "room.pcapng")
	payloads := large(0, 60)
	saved, err := Save(context.Background(), iotest.OneByteReader(bytes.NewReader(recording(t, payloads...))), ToFile(name), 0)
	if !errors.Is(err, syscall.ENOSPC) || saved.Datagrams < 20 || saved.Datagrams > 31 {
		t.Fatalf("want the first 30 or so and a full disk, got %+v, %v", saved, err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := played(t, name, bytes.NewReader(data)); !slices.Equal(got, payloads[:saved.Datagrams]) {
		t.Errorf("want the first %d, got %d", saved.Datagrams, len(got))
	}
}

// A set that fits the disk never fills it, however much is recorded and however
// often.
func TestASetKeepsADiskFromFillingUp(t *testing.T) {
	name := filepath.Join(smallDisk(t), "room.pcapng")
	for range 3 {
		if got := recordSet(t, name, 14, large(0, 100)...); len(got) != 14 {
			t.Errorf("want 14 files, got %q", got)
		}
	}
}
