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

	"udprelay/internal/testneed"
)

// A disk that fills up ends the recording; what is said to be in the file is in
// it, whole.
func TestAFullDiskEndsAFileBehindAWholePacket(t *testing.T) {
	name := filepath.Join(testneed.SmallDisk(t, "64k"), "room.pcapng")
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
	name := filepath.Join(testneed.SmallDisk(t, "64k"), "room.pcapng")
	for range 3 {
		if got := recordSet(t, name, 14, large(0, 100)...); len(got) != 14 {
			t.Errorf("want 14 files, got %q", got)
		}
	}
}

// A disk that something else has filled costs a set no more than one of its
// files, however often a recording begins anew.
func TestAFullDiskCostsASetNoFiles(t *testing.T) {
	directory := testneed.SmallDisk(t, "64k")
	name := filepath.Join(directory, "room.pcapng")
	const keep = 4
	recordSet(t, name, keep, large(0, keep)...)
	fill := func() { // all the room that there is
		file, err := os.OpenFile(filepath.Join(directory, "other"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		for block := make([]byte, 512); err == nil; {
			_, err = file.Write(block)
		}
	}
	for range 2 * keep {
		fill()
		out, err := ToFiles(name, LeastRotate, keep)
		if err != nil {
			t.Fatal(err)
		}
		// What thin frees is taken by the other at once.
		blocked := iotest.OneByteReader(bytes.NewReader(recording(t, large(0, 1)...)))
		if err := out.open(); err != nil {
			t.Fatal(err)
		}
		fill()
		if _, err := Save(context.Background(), blocked, out, 0); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("want a full disk, got %v", err)
		}
	}
	left, err := filepath.Glob(filepath.Join(directory, "room_*"))
	if err != nil || len(left) != keep-1 {
		t.Fatalf("want %d files left, got %q, %v", keep-1, left, err)
	}
	for _, name := range left {
		if info, err := os.Stat(name); err != nil || info.Size() == 0 {
			t.Errorf("want %s to have something in it, got %v", name, err)
		}
	}
}
