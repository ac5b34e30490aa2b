package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"udprelay/internal/testneed"
)

// link makes a symbolic link.
func link(t *testing.T, target, name string) {
	t.Helper()
	err := os.Symlink(target, name)
	testneed.True(t, err == nil || runtime.GOOS != "windows", "the right to make symbolic links: %v", err)
	if err != nil {
		t.Fatal(err)
	}
}

func TestTheFileThatALinkLeadsToIsReplaced(t *testing.T) {
	directory, elsewhere := t.TempDir(), t.TempDir()
	name, target := filepath.Join(directory, "peers"), filepath.Join(elsewhere, "there")
	link(t, target, name)
	if err := os.WriteFile(target, encoded(t, shown, savedAt), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Save(name, &Snapshot{Clean: true}, savedAt.wall, true); err != nil {
		t.Fatal(err)
	}
	if got, err := os.Readlink(name); got != target || err != nil {
		t.Fatalf("want the link to stay, got %q, %v", got, err)
	}
	s, err := Load(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, &Snapshot{Clean: true, Peers: []Peer{}}, s)
	wantFiles(t, elsewhere, "there")

	newName, err := SetAside(name)
	if want := target + ".damaged"; err != nil || evaluated(t, newName) != evaluated(t, want) {
		t.Fatalf("want %s, got %s, %v", want, newName, err)
	}
	wantFiles(t, elsewhere, "there.damaged")
	wantFiles(t, directory, "peers")
}

// evaluated returns a name without links: that of a temporary directory may
// have some.
func evaluated(t *testing.T, name string) string {
	t.Helper()
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestALinkThatLeadsNowhereIsAnError(t *testing.T) {
	directory := t.TempDir()
	name := filepath.Join(directory, "peers")
	link(t, filepath.Join(directory, "nothing"), name)
	wantError(t, Save(name, shown, savedAt.wall, false), "save peers to "+name+": "+name+" is a symbolic link that leads nowhere", "")
	wantFiles(t, directory, "peers")
	if s, err := Load(name, savedAt.wall); err != nil || len(s.Peers) > 0 {
		t.Fatalf("want an empty snapshot, got %v, %v", s, err)
	}
}

func TestWhatACrashHasLeftIsOverwritten(t *testing.T) {
	directory := t.TempDir()
	name, victim := filepath.Join(directory, "peers"), filepath.Join(directory, "victim")
	if err := os.WriteFile(name+".new", []byte(strings.Repeat("half a file", 1000)), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := Save(name, shown, savedAt.wall, false); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(name, savedAt.wall); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, directory, "peers")

	// A link that somebody has laid is not followed.
	if err := os.WriteFile(victim, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	link(t, victim, name+".new")
	if err := Save(name, shown, savedAt.wall, false); err != nil {
		t.Fatal(err)
	}
	wantFile(t, victim, []byte("mine"))
	wantFiles(t, directory, "peers", "victim")
}

func TestADirectoryInTheWay(t *testing.T) {
	directory := t.TempDir()
	name := filepath.Join(directory, "peers")
	if err := os.Mkdir(name+".new", 0o700); err != nil {
		t.Fatal(err)
	}
	wantError(t, Save(name, shown, savedAt.wall, false), "save peers to "+name+": "+name+".new is a directory", "")
	wantFiles(t, directory, "peers.new")

	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
	want := name + " is a directory"
	wantError(t, Save(name, shown, savedAt.wall, false), "save peers to "+name+": "+want, "")
	_, err := Load(name, savedAt.wall)
	if damaged := (*Damaged)(nil); err == nil || err.Error() != want || errors.As(err, &damaged) {
		t.Errorf("want Load to say %q, got %v", want, err)
	}
	if _, err := SetAside(name); err == nil || err.Error() != want {
		t.Errorf("want SetAside to say %q, got %v", want, err)
	}
	wantFiles(t, directory, "peers")
}

func TestNoDirectory(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "nothing")
	err := Save(filepath.Join(directory, "peers"), shown, savedAt.wall, true)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("want no such directory, got %v", err)
	}
	wantError(t, err, err.Error(), "make the directory "+directory+", or set state.file to a file elsewhere")
}

func TestSetAside(t *testing.T) {
	directory := t.TempDir()
	name := filepath.Join(directory, "peers")
	set := func(content string) (newName string, err error) {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return SetAside(name)
	}
	if _, err := SetAside(name); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("want no such file; got %v", err)
	}
	for n := 1; n <= mostAside; n++ {
		want, content := name+".damaged", fmt.Sprint("content ", n)
		if n > 1 {
			want = fmt.Sprint(name, ".damaged-", n)
		}
		if newName, err := set(content); newName != want || err != nil {
			t.Fatalf("want %s; got %q, %v", want, newName, err)
		}
		wantFile(t, want, []byte(content))
	}
	if s, err := Load(name, savedAt.wall); err != nil || !s.Saved.IsZero() {
		t.Fatalf("want to go on with nothing; got %v, %v", s, err)
	}
	wantFile(t, name+".damaged", []byte("content 1"))
	if newName, err := set("one too many"); err == nil {
		t.Errorf("want an error when there are %d files; got %q", mostAside, newName)
	}
	wantFile(t, name, []byte("one too many"))
}
