package testneed

import (
	"testing"

	"golang.org/x/sys/unix"
)

// SmallDisk returns a directory on a file system of its own that holds size, such
// as "64k" (tmpfs(5)). It needs root.
func SmallDisk(t testing.TB, size string) string {
	t.Helper()
	Root(t)
	directory := t.TempDir()
	if err := unix.Mount("none", directory, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(directory, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount the tmpfs: %v", err)
		}
	})
	return directory
}
