package state

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "peers")
	release, err := Lock(name, "the first relay")
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(name, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{name, link} {
		_, err = Lock(name, "the second relay")
		if locked := (*LockedError)(nil); !errors.As(err, &locked) || locked.Holder != "the first relay" || err.Error() != name+" is in use by the first relay" {
			t.Errorf("want %s in use by the first relay; got %v", name, err)
		}
	}
	// A save replaces the file, and the lock stays.
	if err := replace(name, []byte("new"), false); err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(name, "the second relay"); err == nil {
		t.Error("want the file in use after it was replaced; it is not")
	}
	release()
	release, err = Lock(name, "2nd") // shorter than the first
	if err != nil {
		t.Fatalf("want the lock when it was released; got %v", err)
	}
	defer release()
	locked := (*LockedError)(nil)
	if _, err := Lock(name, "the third relay"); !errors.As(err, &locked) || locked.Holder != "2nd" {
		t.Errorf("want the file in use by 2nd; got %v", err)
	}
}

// What cannot be locked is no other relay's.
func TestLockThatCannotBe(t *testing.T) {
	directory := t.TempDir()
	for name, prepare := range map[string]func(name string) error{
		"no such directory": func(name string) error { return os.RemoveAll(filepath.Dir(name)) },
		"a directory":       func(name string) error { return os.Mkdir(name+".lock", 0o700) },
	} {
		inside := filepath.Join(directory, name)
		if err := os.Mkdir(inside, 0o700); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(inside, "peers")
		if err := prepare(file); err != nil {
			t.Fatal(err)
		}
		_, err := Lock(file, "a relay")
		if locked := (*LockedError)(nil); err == nil || errors.As(err, &locked) {
			t.Errorf("%s: want an error of the file system; got %v", name, err)
		}
	}
}
