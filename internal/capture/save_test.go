package capture

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func blocksOf(data []byte) *blockReader {
	return &blockReader{r: bufio.NewReader(bytes.NewReader(data))}
}

// recording returns a recording of the payloads.
func recording(t testing.TB, payloads ...string) []byte {
	t.Helper()
	r := newRecorder(t, Options{Version: "1", To: relay4})
	r.Deliver(from(origin4, payloads...))
	return drained(t, r)
}

func TestFilesTakeTurns(t *testing.T) {
	payloads := numbered(200)
	dir := t.TempDir()
	for _, keep := range []int{1000, 3} {
		out, err := ToFiles(filepath.Join(dir, "room.pcapng"), LeastRotate, keep)
		if err != nil {
			t.Fatal(err)
		}
		saved, err := Save(context.Background(), bytes.NewReader(recording(t, payloads...)), out, 0)
		if err != nil || saved.Datagrams != 200 {
			t.Fatalf("want 200 datagrams, got %+v, %v", saved, err)
		}
		names, err := filepath.Glob(filepath.Join(dir, "room_*.pcapng"))
		if err != nil {
			t.Fatal(err)
		}
		if len(names) != min(keep, saved.Files) || saved.Files < 10 {
			t.Errorf("keep %d: want %d files there, got %d: %q", keep, min(keep, saved.Files), len(names), names)
		}
		var got []string
		for _, name := range names {
			if !regexp.MustCompile(`room_\d{5}_\d{14}\.pcapng$`).MatchString(name) {
				t.Errorf("want a name that Wireshark knows as one of a set, got %s", name)
			}
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(data) > LeastRotate {
				t.Errorf("%s: want at most %d bytes, got %d", name, LeastRotate, len(data))
			}
			if lastBlock(t, data) != statistics {
				t.Errorf("%s: want statistics at the end", name)
			}
			got = append(got, played(t, name, bytes.NewReader(data))...)
			if n := len(tshark(t, name)); n == 0 {
				t.Errorf("%s: tshark sees nothing in it", name)
			}
			os.Remove(name)
		}
		if want := payloads[len(payloads)-len(got):]; !slices.Equal(got, want) || keep == 1000 && len(got) != 200 {
			t.Errorf("keep %d: want the last payloads in order, got %d", keep, len(got))
		}
	}
}

func TestOutputsThatCannotBe(t *testing.T) {
	for _, o := range []struct {
		size int64
		keep int
	}{{LeastRotate - 1, 1}, {LeastRotate, 0}, {LeastRotate, MostKept + 1}} {
		if _, err := ToFiles("x", o.size, o.keep); err == nil {
			t.Errorf("%+v: want an error, got none", o)
		}
	}
	missing := filepath.Join(t.TempDir(), "no", "such")
	if _, err := Save(context.Background(), bytes.NewReader(recording(t, "x")), ToFile(missing), 0); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("want an error of the directory, got %v", err)
	}
	saved, err := Save(context.Background(), bytes.NewReader(recording(t, "x")), ToWriter(&failing{0}), 0)
	if !errors.Is(err, errFull) || strings.Count(err.Error(), errFull.Error()) != 1 {
		t.Errorf("want %v once, got %v (%+v)", errFull, err, saved)
	}
}

// TestAFileIsGoodWhileItGrows looks at the file after each batch, and ends it as
// a signal does.
func TestAFileIsGoodWhileItGrows(t *testing.T) {
	r := newRecorder(t, Options{To: relay4})
	read, write := io.Pipe()
	stop := startStream(t, r, write)
	name := filepath.Join(t.TempDir(), "growing.pcapng")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	context.AfterFunc(ctx, func() { read.CloseWithError(ctx.Err()) })
	type result struct {
		Saved
		error
	}
	done := make(chan result, 1)
	go func() {
		saved, err := Save(ctx, read, ToFile(name), 0)
		done <- result{saved, err}
	}()
	payloads := numbered(50)
	for i := range 5 {
		r.Deliver(from(origin4, payloads[i*10:][:10]...))
		var data []byte
		await(t, "what was recorded is in the file", func() bool {
			data, _ = os.ReadFile(name)
			return bytes.Contains(data, []byte(payloads[i*10+9]))
		})
		if got := played(t, name, bytes.NewReader(data)); !slices.Equal(got, payloads[:i*10+10]) {
			t.Errorf("after %d: want them all, got %d", i*10+10, len(got))
		}
		if n := len(tshark(t, name)); n != i*10+10 {
			t.Errorf("after %d: tshark sees %d in the file", i*10+10, n)
		}
	}
	cancel()
	if got := <-done; got.error != nil || got.Datagrams != 50 || got.Files != 1 {
		t.Errorf("want 50 datagrams in a file and no error, got %+v", got)
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("want the recorder to see that its reader is gone, got %v", err)
	}
	data, err := os.ReadFile(name)
	if err != nil || lastBlock(t, data) != statistics {
		t.Errorf("want statistics at the end of the file: %v", err)
	}
	if info, err := os.Stat(name); err != nil || runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		t.Errorf("want a file for its owner only, got %v, %v", info.Mode(), err)
	}
}

func TestARecordingThatBreaksOff(t *testing.T) {
	data := recording(t, numbered(10)...)
	whole := 0
	for cut := range len(data) {
		name := filepath.Join(t.TempDir(), "cut.pcapng")
		saved, err := Save(context.Background(), bytes.NewReader(data[:cut]), ToFile(name), 0)
		if broken := (*BrokenOffError)(nil); err != nil && !errors.As(err, &broken) {
			t.Fatalf("cut at %d: want a *BrokenOffError, got %v", cut, err)
		}
		if err == nil {
			whole++
		}
		if saved.Files == 0 {
			continue // not even the header
		}
		written, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		blocks := blocksOf(written)
		packets := uint64(0)
		for {
			kind, err := blocks.next(func(uint32) bool { return true })
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("cut at %d: %v", cut, err)
			}
			if kind == packetBlock {
				packets++
			}
		}
		if packets != saved.Datagrams {
			t.Fatalf("cut at %d: want %d packets, got %d", cut, saved.Datagrams, packets)
		}
	}
	if whole != 13 { // before each of the blocks: header, interface, packets, statistics
		t.Errorf("want 13 cuts between blocks, got %d", whole)
	}
}

func TestSaveEndsAtTheCount(t *testing.T) {
	var out bytes.Buffer
	saved, err := Save(context.Background(), bytes.NewReader(recording(t, numbered(10)...)), ToWriter(&out), 4)
	if err != nil || saved.Datagrams != 4 {
		t.Errorf("want 4, got %+v, %v", saved, err)
	}
	if got := played(t, "out", bytes.NewReader(out.Bytes())); !slices.Equal(got, numbered(4)) || lastBlock(t, out.Bytes()) != statistics {
		t.Errorf("want the first 4 and statistics, got %q", got)
	}
}

// In a directory such as /tmp anybody may have made a link to a file of root.
func TestALinkIsNotFollowed(t *testing.T) {
	directory := t.TempDir()
	link, target := filepath.Join(directory, "link"), filepath.Join(directory, "target")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	save := func() {
		t.Helper()
		_, err := Save(context.Background(), bytes.NewReader(recording(t, "x")), ToFile(link), 0)
		if want := link + " is a symbolic link; want the name of the file itself"; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q; got %v", want, err)
		}
	}
	save()
	if _, err := os.Lstat(target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("want no file made where the link leads; got %v", err)
	}
	if err := os.WriteFile(target, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	save()
	if content, err := os.ReadFile(target); string(content) != "precious" {
		t.Errorf("want the file as it was; got %q, %v", content, err)
	}
}
