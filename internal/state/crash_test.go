package state

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// saveForever names the file that a process of this program saves to until it
// is killed.
const saveForever = "STATE_TEST_SAVE_FOREVER"

func TestAKilledSaveLeavesAWholeFile(t *testing.T) {
	if name := os.Getenv(saveForever); name != "" {
		few, many := manyPeers(10, time.Now()), manyPeers(3000, time.Now())
		for err := error(nil); err == nil; _, err = os.Stdout.Write([]byte{'.'}) {
			for _, s := range []*Snapshot{few, many} {
				if err := Save(name, s, time.Now(), false); err != nil {
					t.Fatal(err)
				}
			}
		}
		return
	}
	directory := t.TempDir()
	name := filepath.Join(directory, "peers")
	leftovers := 0
	for range 20 {
		saver := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
		saver.Env = append(os.Environ(), saveForever+"="+name)
		output, err := saver.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := saver.Start(); err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadFull(output, make([]byte, 3))
		saver.Process.Kill()
		saver.Wait() // it was killed
		if err != nil {
			t.Fatalf("want three rounds of saves, got %v", err)
		}
		s, err := Load(name, time.Now())
		if err != nil || len(s.Peers) != 10 && len(s.Peers) != 3000 {
			t.Fatalf("want 10 or 3000 peers, got %v", err)
		}
		entries, err := os.ReadDir(directory)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if !slices.Contains([]string{"peers", "peers.new"}, entry.Name()) {
				t.Fatalf("want peers and perhaps peers.new, got %s", entry.Name())
			}
		}
		leftovers += len(entries) - 1
	}
	t.Logf("%d of 20 left a file that was not whole, beside it", leftovers)
	if err := Save(name, shown, time.Now(), false); err != nil {
		t.Fatal(err)
	}
	wantFiles(t, directory, "peers")
}
