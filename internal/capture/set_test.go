package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// recordSet records the payloads to a set of files and returns the names of
// those that are there then, without the times in them.
func recordSet(t *testing.T, name string, keep int, payloads ...string) (numbers []string) {
	t.Helper()
	out, err := ToFiles(name, LeastRotate, keep)
	if err != nil {
		t.Fatal(err)
	}
	saved, err := Save(context.Background(), bytes.NewReader(recording(t, payloads...)), out, 0)
	if err != nil || saved.Datagrams != uint64(len(payloads)) {
		t.Fatalf("want %d datagrams, got %+v, %v", len(payloads), saved, err)
	}
	return numbersIn(t, filepath.Dir(name))
}

func numbersIn(t *testing.T, directory string) (numbers []string) {
	t.Helper()
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		number, _, _ := strings.Cut(strings.TrimPrefix(entry.Name(), "room_"), "_")
		numbers = append(numbers, number)
	}
	return numbers
}

// large are payloads of which each fills a file of the least size.
func large(from, to int) (payloads []string) {
	for i := from; i < to; i++ {
		payloads = append(payloads, fmt.Sprintf("%05d", i)+strings.Repeat("x", LeastRotate/2))
	}
	return payloads
}

// What a set takes is bounded however often a recording begins anew, and what is
// there is never written over.
func TestASetGoesOnWhereTheLastRecordingEnded(t *testing.T) {
	directory := t.TempDir()
	name := filepath.Join(directory, "room.pcapng")
	if got := recordSet(t, name, 5, large(0, 3)...); !slices.Equal(got, []string{"00001", "00002", "00003"}) {
		t.Errorf("want 3 files, got %q", got)
	}
	if got := recordSet(t, name, 5, large(3, 7)...); !slices.Equal(got, []string{"00003", "00004", "00005", "00006", "00007"}) {
		t.Errorf("want the last 5 files of both, got %q", got)
	}
	names, err := filepath.Glob(filepath.Join(directory, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, played(t, name, bytes.NewReader(data))...)
	}
	if !slices.Equal(got, large(2, 7)) {
		t.Errorf("want the last 5 payloads in order, got %d", len(got))
	}
	if got := recordSet(t, name, 1, large(7, 8)...); !slices.Equal(got, []string{"00008"}) {
		t.Errorf("want the last file only, got %q", got)
	}
}

// Only files whose name is made as those of the set are removed.
func TestASetLeavesOtherFilesAlone(t *testing.T) {
	directory := t.TempDir()
	others := []string{
		"room.pcapng", "room_00001.pcapng", "room_00001_20260102150405.pcap", "room_00001_20260102150405.pcapng.gz",
		"room_1_20260102150405.pcapng", "room_0000x_20260102150405.pcapng", "room_00001_2026010215040x.pcapng",
		"other_00001_20260102150405.pcapng", "room_two_00001_20260102150405.pcapng", "room_00001_20260102150405_.pcapng",
	}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(directory, "room_00002_20260102150405.pcapng"), 0o700); err != nil {
		t.Fatal(err)
	}
	recordSet(t, filepath.Join(directory, "room.pcapng"), 1, large(0, 3)...)
	for _, name := range others {
		if data, err := os.ReadFile(filepath.Join(directory, name)); err != nil || string(data) != name {
			t.Errorf("%s: want it as it was, got %q, %v", name, data, err)
		}
	}
	if entries, err := os.ReadDir(directory); err != nil || len(entries) != len(others)+2 {
		t.Errorf("want one file more than there were, got %v, %v", entries, err)
	}
}

// Two recordings of one name begin in the same second, and one keeps little: it
// does not take from the other what that is writing.
func TestTwoRecordingsOfOneSet(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there the system keeps files that are open, and no lock")
	}
	directory := t.TempDir()
	name := filepath.Join(directory, "room.pcapng")
	first, err := ToFiles(name, LeastRotate, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.add([]byte("begun"), true); err != nil {
		t.Fatal(err)
	}
	recordSet(t, name, 1, large(0, 4)...)
	if err := errors.Join(first.flush(), first.close()); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(first.Name()); err != nil || string(data) != "begun" {
		t.Errorf("want the file of the first as it was written, got %q, %v", data, err)
	}
	if got := numbersIn(t, directory); !slices.Equal(got, []string{"00001", "00005"}) {
		t.Errorf("want a file of each, got %q", got)
	}
	if got := recordSet(t, name, 1, large(4, 5)...); !slices.Equal(got, []string{"00006"}) {
		t.Errorf("want both gone when nobody writes them, got %q", got)
	}
}

func TestTheNumbersOfASetBeginAgain(t *testing.T) {
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, "room_99999_20260102150405.pcapng"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := recordSet(t, filepath.Join(directory, "room.pcapng"), 9, large(0, 2)...); !slices.Equal(got, []string{"00000", "00001", "99999"}) {
		t.Errorf("want 0 and 1 after 99999, got %q", got)
	}
}

func TestASetWithoutADirectory(t *testing.T) {
	out, err := ToFiles(filepath.Join(t.TempDir(), "no", "room.pcapng"), LeastRotate, 1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Save(context.Background(), bytes.NewReader(recording(t, "x")), out, 0)
	if path := (*fs.PathError)(nil); !errors.As(err, &path) || path.Op != "open" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("want an error of opening, got %v", err)
	}
}

// What is said to be recorded is what the output has taken.
func TestWhatAnOutputHasNotTakenIsNotRecorded(t *testing.T) {
	data := recording(t, large(0, 1000)...) // several times what is written at once
	w := &failing{3}
	saved, err := Save(context.Background(), bytes.NewReader(data), ToWriter(w), 0)
	if !errors.Is(err, errFull) || saved.Datagrams == 0 || saved.Datagrams >= 999 {
		t.Fatalf("want a part of them and %v, got %+v, %v", errFull, saved, err)
	}
	var whole bytes.Buffer
	again, err := Save(context.Background(), bytes.NewReader(data), ToWriter(&limited{&whole, 3}), 0)
	if !errors.Is(err, errFull) || again != saved {
		t.Fatalf("want the same again, got %+v, %v", again, err)
	}
	if got := played(t, "part", &whole); uint64(len(got)) != saved.Datagrams {
		t.Errorf("want the %d that were written, got %d", saved.Datagrams, len(got))
	}
}

// limited takes so many writes.
type limited struct {
	to   *bytes.Buffer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	if l.left--; l.left < 0 {
		return 0, errFull
	}
	return l.to.Write(p)
}

func FuzzMember(f *testing.F) {
	f.Add("room_00001_20260102150405.pcapng", "room", ".pcapng")
	f.Add("_00001_20260102150405", "", "")
	f.Add("room__0001_+2026010215040.pcapng", "room", ".pcapng")
	f.Fuzz(func(t *testing.T, name, beginning, end string) {
		m, ok := memberOf(name, beginning, end)
		if again := fmt.Sprintf("%s_%05d_%s%s", beginning, m.number, m.began, end); ok && (again != name || m.number > mostNumber) {
			t.Fatalf("%q is taken for %q", name, again)
		}
	})
}
