package filetransfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"udprelay/internal/testwait"
)

// Every size around a block, every name, both ways: what comes is what was sent.
func TestFilesArriveAsTheyAre(t *testing.T) {
	for _, checked := range []bool{false, true} {
		p := receiving(t, t.TempDir(), nil)
		want := map[string][]byte{}
		for i, size := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 7} {
			want[[]string{"empty", "-rf", "two words.txt", "été.txt", "文件.txt", "👩‍🚀"}[i]] = noise(size)
		}
		want["zeros"] = make([]byte, 2*blockSize+5)
		want["a hole"] = append(append(noise(blockSize), make([]byte, blockSize)...), 1)
		want["a hole at the end"] = append(noise(blockSize), make([]byte, blockSize)...)
		for name, content := range want {
			sender := Sender{Address: p.address, Checked: checked}
			sent, err := sender.Send(t.Context(), file(t, name, content), "")
			if err != nil || !sent.Verified || sent.Bytes != int64(len(content)) || sent.Name != name {
				t.Errorf("%s: want it verified, got %+v, %v", name, sent, err)
			}
			if e := p.next(t); e.err != nil || e.Name != name || e.Sum != sent.Sum || e.Checked != checked {
				t.Errorf("%s: want the same, got %+v", name, e)
			}
		}
		p.wants(t, want)
	}
}

// The first file shows that the receiver is one of ours; the others are checked.
func TestLaterFilesAreChecked(t *testing.T) {
	p := receiving(t, t.TempDir(), nil)
	sender := Sender{Address: p.address}
	for i, name := range []string{"a", "b", "c"} {
		if _, err := sender.Send(t.Context(), file(t, name, []byte(name)), ""); err != nil {
			t.Fatal(err)
		}
		if e := p.next(t); e.Checked != (i > 0) {
			t.Errorf("%s: want checked from the second on, got %+v", name, e)
		}
	}
}

func TestManySendersAtOnce(t *testing.T) {
	const senders = 12
	p := receiving(t, t.TempDir(), nil)
	var running sync.WaitGroup
	want := map[string][]byte{}
	for i := range senders {
		name := fmt.Sprintf("file %d", i)
		want[name] = noise(100_000 + i)
		path := file(t, name, want[name])
		running.Go(func() {
			sender := Sender{Address: p.address}
			if _, err := sender.Send(context.Background(), path, ""); err != nil {
				t.Error(err)
			}
		})
	}
	running.Wait()
	p.wants(t, want)
}

// Of senders of one name one wins, and its file is whole; in the other way of
// making files, too.
func TestOneOfManyWins(t *testing.T) {
	for _, nameless := range []bool{true, false} {
		p := receiving(t, t.TempDir(), func(r *Receiver) { r.in.nameless = r.in.nameless && nameless })
		var running sync.WaitGroup
		var mu sync.Mutex
		won := []byte(nil)
		for i := range 8 {
			content := noise(200_000 + i)
			path := file(t, "x", content)
			running.Go(func() {
				sender := Sender{Address: p.address, Checked: true}
				_, err := sender.Send(context.Background(), path, "")
				mu.Lock()
				defer mu.Unlock()
				switch refused := (*RefusedError)(nil); {
				case err == nil && won != nil:
					t.Error("two have won")
				case err == nil:
					won = content
				case !errors.As(err, &refused) || !strings.Contains(refused.Why, "of that name"):
					t.Errorf("want it refused for its name, got %v", err)
				}
			})
		}
		running.Wait()
		p.wants(t, map[string][]byte{"x": won})
	}
}

// A file that appears while another of its name is coming is kept.
func TestALateFileIsKept(t *testing.T) {
	for _, nameless := range []bool{true, false} {
		p := receiving(t, t.TempDir(), func(r *Receiver) { r.in.nameless = r.in.nameless && nameless })
		c := dial(t, p.address)
		say(t, c, "x\n")
		hear(t, c, "ok\n")
		if err := os.WriteFile(filepath.Join(p.directory, "x"), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
		say(t, c, "theirs")
		c.CloseWrite()
		hear(t, c, "error: "+errExists.Why+"\n")
		as[*RefusedError](t, p.next(t).err)
		p.wants(t, map[string][]byte{"x": []byte("mine")})
	}
}

func TestOverwrite(t *testing.T) {
	for _, nameless := range []bool{true, false} {
		p := receiving(t, t.TempDir(), func(r *Receiver) { r.in.nameless, r.Overwrite = r.in.nameless && nameless, true })
		sender := Sender{Address: p.address}
		for _, content := range []string{"a longer one", "short"} {
			if _, err := sender.Send(t.Context(), file(t, "x", []byte(content)), ""); err != nil {
				t.Fatal(err)
			}
			p.wants(t, map[string][]byte{"x": []byte(content)})
		}
	}
}

// What is there and is no regular file is neither written through nor replaced.
func TestNothingIsFollowed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links want a privilege there")
	}
	outside := file(t, "outside", []byte("mine"))
	p := receiving(t, t.TempDir(), func(r *Receiver) { r.Overwrite = true })
	for name, target := range map[string]string{"file": outside, "dangling": outside + "2", "directory": filepath.Dir(outside)} {
		if err := os.Symlink(target, filepath.Join(p.directory, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(p.directory, "real"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"file", "dangling", "directory", "real"} {
		sender := Sender{Address: p.address}
		_, err := sender.Send(t.Context(), file(t, "x", []byte("theirs")), name)
		if refused := as[*RefusedError](t, err); !strings.Contains(refused.Why, "no regular file") || !refused.There {
			t.Errorf("%s: got %v", name, err)
		}
		p.next(t)
	}
	if content, err := os.ReadFile(outside); err != nil || string(content) != "mine" {
		t.Errorf("outside is %q, %v", content, err)
	}
	if _, err := os.Lstat(outside + "2"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file was made outside: %v", err)
	}
}

func TestSizeLimit(t *testing.T) {
	p := receiving(t, t.TempDir(), func(r *Receiver) { r.MaxSize = 1 << 20 })
	for _, checked := range []bool{false, true} {
		for size, fits := range map[int]bool{1 << 20: true, 1<<20 + 1: false, 9 << 20: false} {
			sender := Sender{Address: p.address, Checked: checked}
			name := fmt.Sprintf("%v%d", checked, size)
			_, err := sender.Send(t.Context(), file(t, name, noise(size)), "")
			if p.next(t); fits && err != nil {
				t.Errorf("%s: %v", name, err)
			} else if !fits {
				if refused := as[*RefusedError](t, err); !strings.Contains(refused.Why, "larger than the 1048576 bytes") {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	content := noise(1 << 20)
	p.wants(t, map[string][]byte{"false1048576": content, "true1048576": content})
}

// Names that attack are refused by the receiver, and before that by the sender,
// with the reason.
func TestBadNames(t *testing.T) {
	p := receiving(t, t.TempDir(), nil)
	for _, name := range []string{"../x", "/etc/x", "", "a\x00b", strings.Repeat("a", 256), strings.Repeat("a", 5000), "CON", ".profile", "a\\b", "..", "\xff", "\u202ea"} {
		c := dial(t, p.address)
		say(t, c, name+"\n")
		said := hearAll(t, c)
		e := p.next(t)
		if !strings.HasPrefix(said, "error: the name ") || e.err == nil || "error: "+e.err.Error()+"\n" != said {
			t.Errorf("%q: want the reason, got %q and %v", name, said, e.err)
		}
	}
	p.wants(t, nil)
	path := file(t, "x", nil)
	for _, name := range []string{"../x", "a\nb", strings.Repeat("a", 256)} {
		sender := Sender{Address: p.address}
		if _, err := sender.Send(t.Context(), path, name); !errors.Is(err, ErrName) {
			t.Errorf("%q: got %v", name, err)
		}
	}
}

// At most so many come at once, and the next is told; a place that gets free is
// taken.
func TestTooManyAtOnce(t *testing.T) {
	p := receiving(t, t.TempDir(), func(r *Receiver) { r.Transfers = 2 })
	first, second := dial(t, p.address), dial(t, p.address)
	for i, c := range []*net.TCPConn{first, second} {
		say(t, c, fmt.Sprintf("%d\n", i))
		hear(t, c, "ok\n")
	}
	sender := Sender{Address: p.address}
	path := file(t, "x", nil)
	_, err := sender.Send(t.Context(), path, "")
	if refused := as[*RefusedError](t, err); !strings.Contains(refused.Why, "there are 2 transfers already") {
		t.Error(err)
	}
	first.CloseWrite()
	p.next(t)
	testwait.Until(t, func() bool {
		_, err = sender.Send(t.Context(), path, "")
		return err == nil
	}, func() string { return fmt.Sprintf("want it sent; got %v", err) })
	second.CloseWrite()
}

// One host cannot keep all others out, and may send several files at once.
func TestHalfOfThePlacesAreForOtherHosts(t *testing.T) {
	r, err := NewReceiver(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Transfers = 5
	for _, step := range []struct{ from, want string }{
		{"2001:db8::1", ""}, {"2001:db8::2", ""}, {"2001:db8::1", ""}, // all of one network
		{"2001:db8::3", "there are 3 transfers already, and the places that are left are for other addresses; try again later"},
		{"192.0.2.1", ""},
		{"192.0.2.1", "there are 4 transfers already, and the places that are left are for other addresses; try again later"},
		{"127.0.0.1", ""},
		{"192.0.2.2", "there are 5 transfers already; try again later"},
	} {
		if got := r.enter(netip.MustParseAddr(step.from)); got != step.want {
			t.Errorf("%s: want %q; got %q", step.from, step.want, got)
		}
	}
	for _, from := range []string{"2001:db8::1", "2001:db8::1", "2001:db8::1", "192.0.2.1", "127.0.0.1"} {
		r.leave(netip.MustParseAddr(from))
	}
	if len(r.hosts) != 0 || r.coming != 0 {
		t.Errorf("want nothing left; got %v, %d", r.hosts, r.coming)
	}
}

// A sender that sends a byte now and then is let go; a slow one is not.
func TestDrippingSenders(t *testing.T) {
	p := receiving(t, t.TempDir(), func(r *Receiver) { r.Timeout = time.Second })
	drip := func(name string, each int) (stop func(), said chan string) {
		c := dial(t, p.address)
		said = make(chan string, 1)
		say(t, c, name+"\n")
		hear(t, c, "ok\n")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for {
				if _, err := c.Write(make([]byte, each)); err != nil {
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		}()
		go func() { said <- hearAll(t, c) }()
		return func() { c.CloseWrite(); <-ended }, said
	}
	stopSlow, slow := drip("slow", 1000)
	_, dripping := drip("dripping", 1)
	if got := <-dripping; got != "error: "+ErrSlow.Error()+"\n" {
		t.Errorf("want %q; got %q", ErrSlow, got)
	}
	as[*BrokenError](t, p.next(t).err)
	stopSlow()
	if got := <-slow; strings.Contains(got, "error") {
		t.Errorf("want the slow one received; got %q", got)
	}
	if e := p.next(t); e.err != nil {
		t.Errorf("want the slow one received; got %v", e.err)
	}
}

// A sender that is silent is let go, wherever it is.
func TestSilentSenders(t *testing.T) {
	p := receiving(t, t.TempDir(), func(r *Receiver) { r.Timeout = time.Second })
	for _, said := range []string{"", "x\n", "y\nbytes", magic + "9 z\nbytes", magic + "5 z\nbytes"} {
		c := dial(t, p.address)
		say(t, c, said)
		if got := hearAll(t, c); !strings.HasSuffix(got, "error: "+ErrSilent.Error()+"\n") {
			t.Errorf("%q: got %q", said, got)
		}
		as[*BrokenError](t, p.next(t).err)
	}
	p.wants(t, nil)
}

// To be stopped leaves nothing, and the sender knows.
func TestStoppedReceiver(t *testing.T) {
	p := receiving(t, t.TempDir(), nil)
	c := dial(t, p.address)
	say(t, c, "x\nbytes")
	hear(t, c, "ok\n")
	p.stop()
	if e := p.next(t); !errors.Is(e.err, ErrStopped) {
		t.Errorf("got %v", e.err)
	}
	hear(t, c, "error: the receiver was stopped\n")
	p.wants(t, nil)
}

func TestStoppedSender(t *testing.T) {
	for _, checked := range []bool{false, true} {
		p := receiving(t, t.TempDir(), nil)
		ctx, cancel := context.WithCancel(t.Context())
		sender := Sender{Address: p.address, Checked: checked, Progress: func(int64, int64) { cancel() }}
		if _, err := sender.Send(ctx, file(t, "x", noise(8<<20)), ""); err != ErrStopped {
			t.Errorf("got %v", err)
		}
		as[*BrokenError](t, p.next(t).err)
		p.wants(t, nil)
	}
}

// Once takes one file, and those that fail before do not count.
func TestOnce(t *testing.T) {
	p := receiving(t, t.TempDir(), func(r *Receiver) { r.Once = true })
	c := dial(t, p.address)
	say(t, c, "x\nbytes")
	hear(t, c, "ok\n")
	sender := Sender{Address: p.address}
	if _, err := sender.Send(t.Context(), file(t, "x", nil), ""); err == nil {
		t.Fatal("want an error")
	}
	if _, err := sender.Send(t.Context(), file(t, "y", []byte("y")), ""); err != nil {
		t.Fatal(err)
	}
	c.CloseWrite()
	if got := hearAll(t, c); got != "error: the one file that was wanted has come\n" {
		t.Errorf("got %q", got)
	}
	p.wants(t, map[string][]byte{"y": []byte("y")})
}

func TestCheckedOnly(t *testing.T) {
	p := receiving(t, t.TempDir(), func(r *Receiver) { r.Checked = true })
	path := file(t, "x", []byte("x"))
	plain, checked := Sender{Address: p.address}, Sender{Address: p.address, Checked: true}
	if _, err := plain.Send(t.Context(), path, ""); err == nil || !strings.Contains(err.Error(), "--checked") {
		t.Errorf("got %v", err)
	}
	if _, err := checked.Send(t.Context(), path, ""); err != nil {
		t.Error(err)
	}
}

// In the checked way a part is never the whole, however it ends.
func TestPartsOfTheCheckedWay(t *testing.T) {
	whole := hello{name: "x", line: true, checked: true, size: 5}.String() + "bytes" + "277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9\n"
	p := receiving(t, t.TempDir(), nil)
	start := strings.Index(whole, "\n") + 1
	for end := start; end < len(whole); end++ {
		c := dial(t, p.address)
		say(t, c, whole[:end])
		c.CloseWrite()
		c.Close()
		as[*BrokenError](t, p.next(t).err)
	}
	c := dial(t, p.address)
	say(t, c, strings.Replace(whole, "bytes", "Bytes", 1))
	if got := hearAll(t, c); !strings.HasPrefix(got, "ok\nerror: the bytes that came do not have the SHA-256") {
		t.Errorf("got %q", got)
	}
	p.wants(t, nil)
	c = dial(t, p.address)
	say(t, c, whole)
	if got := hearAll(t, c); got != "ok\nreceived 5 277089d91c0bdf4f2e6862ba7e4a07605119431f5d13f726dd352b06f1b206a9\n" {
		t.Errorf("got %q", got)
	}
	p.wants(t, map[string][]byte{"x": []byte("bytes")})
}
