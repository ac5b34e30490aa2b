package filetransfer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
)

// A full disk is told on both sides, and nothing of the file stays on it.
func TestFullDisk(t *testing.T) {
	for _, nameless := range []bool{true, false} {
		for _, checked := range []bool{true, false} {
			p := receiving(t, testneed.SmallDisk(t, "1m"), func(r *Receiver) { r.in.nameless = r.in.nameless && nameless })
			sender := Sender{Address: p.address, Checked: checked}
			_, err := sender.Send(t.Context(), file(t, "large", noise(8<<20)), "")
			if refused := as[*RefusedError](t, err); !strings.Contains(refused.Why, "no space left on device") || !refused.There {
				t.Errorf("got %v", err)
			}
			if e := p.next(t); as[*DiskError](t, e.err) == nil || !errors.Is(e.err, syscall.ENOSPC) {
				t.Errorf("got %+v", e)
			}
			p.wants(t, nil)
			small := noise(500_000)
			if _, err := sender.Send(t.Context(), file(t, "small", small), ""); err != nil {
				t.Errorf("want room again, got %v", err)
			}
			p.wants(t, map[string][]byte{"small": small})
			p.stop()
		}
	}
}

// The mode of a file is what the umask leaves.
func TestMode(t *testing.T) {
	old := syscall.Umask(0o027)
	defer syscall.Umask(old)
	for _, nameless := range []bool{true, false} {
		p := receiving(t, t.TempDir(), func(r *Receiver) { r.in.nameless = r.in.nameless && nameless })
		sender := Sender{Address: p.address}
		if _, err := sender.Send(t.Context(), file(t, "x", nil), ""); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(filepath.Join(p.directory, "x")); err != nil || info.Mode() != 0o640 {
			t.Errorf("want 0640, got %v, %v", info.Mode(), err)
		}
	}
}

// 3 GiB of holes, with bytes behind the limits of 31 and 32 bits, go through;
// the holes stay, so that the copy takes little room.
func TestThreeGiB(t *testing.T) {
	if testing.Short() {
		t.Skip("3 GiB take some seconds")
	}
	const size = 3 << 30
	path := file(t, "big", nil)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	marks := []int64{1<<31 - 3, 1<<31 + 1<<20, size - 4}
	for _, at := range marks {
		if _, err := f.WriteAt([]byte("mark"), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	p := receiving(t, t.TempDir(), nil)
	sender := Sender{Address: p.address}
	begun := time.Now()
	sent, err := sender.Send(t.Context(), path, "")
	if err != nil || !sent.Verified || sent.Bytes != size {
		t.Fatalf("want 3 GiB verified, got %+v, %v", sent, err)
	}
	t.Logf("it took %v", time.Since(begun))
	got, err := os.Open(filepath.Join(p.directory, "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	for _, at := range marks {
		mark := make([]byte, 6)
		if n, _ := got.ReadAt(mark[:min(6, size-at+1)], at-1); n < 5 || string(mark[:5]) != "\x00mark" {
			t.Errorf("at %d: got %q", at, mark)
		}
	}
	var stat unix.Stat_t
	if err := unix.Fstat(int(got.Fd()), &stat); err != nil || stat.Size != size {
		t.Errorf("want 3 GiB, got %d, %v", stat.Size, err)
	}
	if taken := stat.Blocks * 512; taken > 16<<20 {
		t.Errorf("the copy takes %d bytes", taken)
	}
}
