package state

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A running is a Saver that runs, in a bubble of synctest.
type running struct {
	*Saver
	takes   time.Duration // to collect
	changes atomic.Uint64
	cancel  context.CancelFunc

	mu     sync.Mutex  // for the race detector: nothing here happens at once
	begins []time.Time // when it collected
	log    bytes.Buffer
}

// Write is called with what is logged.
func (r *running) Write(line []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(line)
}

// newRunning returns a Saver, not yet running.
func newRunning(name string) *running {
	r := new(running)
	r.Saver = &Saver{
		Name: name, Every: 3 * time.Second,
		Collect: func() *Snapshot {
			r.mu.Lock()
			r.begins = append(r.begins, time.Now())
			r.mu.Unlock()
			time.Sleep(r.takes)
			return &Snapshot{Peers: []Peer{{Addr: shown.Peers[0].Addr, Joined: time.Now(), Heard: time.Now()}}}
		},
		Changed: r.changes.Load,
		Log: slog.New(slog.NewTextHandler(r, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}})),
	}
	return r
}

// run runs it until stop.
func (r *running) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go r.Run(ctx)
	synctest.Wait()
}

func (r *running) stop() {
	r.cancel()
	synctest.Wait()
}

// passes lets time pass, and a little more for what is due at its end.
func (r *running) passes(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *running) wantSaves(t *testing.T, want int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.begins) != want {
		t.Fatalf("want %d saves, got %d at %v", want, len(r.begins), r.begins)
	}
}

// wantLog checks the lines since the last call.
func (r *running) wantLog(t *testing.T, want ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	text := ""
	for _, line := range want {
		text += line + "\n"
	}
	if got := r.log.String(); got != text {
		t.Fatalf("want the log\n%s\ngot\n%s", text, got)
	}
	r.log.Reset()
}

func (r *running) loaded(t *testing.T) *Snapshot {
	t.Helper()
	s, err := Load(r.Name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestItSavesWhatChanges(t *testing.T) {
	name := filepath.Join(t.TempDir(), "peers")
	synctest.Test(t, func(t *testing.T) {
		r := newRunning(name)
		r.run(t)
		r.wantSaves(t, 1)
		if s := r.loaded(t); len(s.Peers) != 1 || s.Clean || s.Every != 3100*time.Millisecond {
			t.Fatalf("want a peer, not clean, and a save at least every 3s and a look later; got %+v", s)
		}
		r.passes(time.Second)
		r.wantSaves(t, 1)
		for n := range 5 {
			r.changes.Add(1)
			r.passes(lookEvery)
			r.wantSaves(t, n+2)
		}
		r.passes(2900 * time.Millisecond)
		r.wantSaves(t, 6)
		r.passes(lookEvery) // every 3 s
		r.wantSaves(t, 7)
		r.passes(30 * time.Second)
		r.wantSaves(t, 17)

		if s := r.loaded(t); s.Clean {
			t.Fatal("want no clean file before the end")
		}
		r.stop()
		r.wantSaves(t, 18)
		if s := r.loaded(t); !s.Clean || len(s.Peers) != 1 {
			t.Fatalf("want a clean file with a peer, got %+v", s)
		}
		r.wantLog(t)
	})
}

func TestItSavesForATwentiethOfTheTime(t *testing.T) {
	name := filepath.Join(t.TempDir(), "peers")
	synctest.Test(t, func(t *testing.T) {
		r := newRunning(name)
		r.takes = 333 * time.Millisecond
		more := r.Collect
		r.Collect = func() *Snapshot { r.changes.Add(1); return more() } // there is always a change
		r.run(t)
		for range 1000 {
			r.passes(lookEvery)
		}
		r.mu.Lock()
		begins := slices.Clone(r.begins)
		r.mu.Unlock()
		for i := range begins[1:] {
			if between := begins[i+1].Sub(begins[i]); between < 20*r.takes || between > 20*r.takes+lookEvery {
				t.Fatalf("want %v from one save to the next, or up to %v more; got %v", 20*r.takes, lookEvery, between)
			}
		}
		r.wantSaves(t, 15) // in 100.333 s: every 6.7 s
		if got, want := r.loaded(t).Every, 20*r.takes+lookEvery; got != want {
			t.Fatalf("want the file to say %v, got %v", want, got)
		}
		r.stop() // the last one waits for nothing
		time.Sleep(r.takes)
		synctest.Wait()
		r.wantSaves(t, 16)
		if !r.loaded(t).Clean {
			t.Fatal("want a clean file")
		}
	})
}

func TestChangesWhileItSavesAreSavedNext(t *testing.T) {
	name := filepath.Join(t.TempDir(), "peers")
	synctest.Test(t, func(t *testing.T) {
		r := newRunning(name)
		more := r.Collect
		r.Collect = func() *Snapshot { s := more(); r.changes.CompareAndSwap(0, 1); return s }
		r.run(t)
		r.passes(lookEvery)
		r.wantSaves(t, 2)
		r.passes(time.Second)
		r.wantSaves(t, 2)
		r.stop()
	})
}

func TestItSaysOnceAnHourThatItCannotSave(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "there")
	name := filepath.Join(directory, "peers")
	synctest.Test(t, func(t *testing.T) {
		r := newRunning(name)
		fails := func(message string) string {
			err := Save(name, shown, savedAt.wall, false) // the words are those of the system
			hint := "make the directory " + directory + ", or set state.file to a file elsewhere"
			return `level=WARN msg="` + message + `" error=` + quoted(err.Error()) + " hint=" + quoted(hint)
		}
		r.run(t)
		r.wantLog(t, fails("peers are not saved"))
		r.passes(time.Second)
		r.wantSaves(t, 1) // as often as if it went well
		r.passes(8 * time.Second)
		r.wantSaves(t, 4)
		r.wantLog(t)
		if err := r.Save(true); err == nil {
			t.Fatal("want Save to fail")
		}
		r.wantLog(t)

		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		r.changes.Add(1)
		r.passes(lookEvery)
		again := `level=INFO msg="peers are saved again" file=` + quoted(name) + " failures="
		r.wantLog(t, again+"5")
		r.passes(8 * time.Second)
		r.wantLog(t)

		if err := os.RemoveAll(directory); err != nil {
			t.Fatal(err)
		}
		r.passes(8 * time.Second)
		r.wantLog(t, fails("peers are not saved"))
		since := r.Trouble().Since
		r.passes(warnAgain)
		r.wantLog(t, fails("peers are not saved"))
		if trouble := r.Trouble(); !trouble.Since.Equal(since) || trouble.Elsewhere {
			t.Errorf("want the trouble to last since %v; got %+v", since, trouble)
		}
		r.stop()
		r.wantLog(t, fails("peers were not saved"))
	})
}

// quoted returns an attribute as the text handler writes it.
func quoted(text string) string {
	line := new(bytes.Buffer)
	slog.New(slog.NewTextHandler(line, nil)).Info("", "x", text)
	_, value, _ := strings.Cut(strings.TrimSpace(line.String()), " x=")
	return value
}

func TestTheLastSaveMayBeTheFirstToFail(t *testing.T) {
	directory := filepath.Join(t.TempDir(), "there")
	if err := os.Mkdir(directory, 0o700); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRunning(filepath.Join(directory, "peers"))
		r.run(t)
		r.wantLog(t)
		if err := os.RemoveAll(directory); err != nil {
			t.Fatal(err)
		}
		r.stop()
		r.mu.Lock()
		defer r.mu.Unlock()
		if got := r.log.String(); strings.Count(got, "\n") != 1 || !strings.HasPrefix(got, `level=WARN msg="peers are not saved" error=`) {
			t.Fatalf("want one warning, got %s", got)
		}
	})
}

func TestEveryHasADefault(t *testing.T) {
	name := filepath.Join(t.TempDir(), "peers")
	synctest.Test(t, func(t *testing.T) {
		r := newRunning(name)
		r.Every = 0
		r.run(t)
		r.passes(DefaultEvery - lookEvery)
		r.wantSaves(t, 1)
		r.passes(lookEvery)
		r.wantSaves(t, 2)
		r.stop()
	})
}

func TestManyMaySave(t *testing.T) {
	name := filepath.Join(t.TempDir(), "peers")
	var changes atomic.Uint64
	s := &Saver{
		Name: name, Log: slog.New(slog.DiscardHandler), Changed: func() uint64 { return changes.Add(1) },
		Collect: func() *Snapshot { return manyPeers(100, time.Now()) },
	}
	ctx, cancel := context.WithCancel(t.Context())
	var all, runs sync.WaitGroup
	runs.Go(func() { s.Run(ctx) })
	for range 4 {
		all.Go(func() {
			for range 50 {
				if err := s.Save(false); err != nil {
					t.Error(err)
				}
				if got, err := Load(name, time.Now()); err != nil || len(got.Peers) != 100 || got.Clean {
					t.Errorf("want 100 peers at any time, got %v", err)
				}
			}
		})
	}
	all.Wait()
	cancel()
	runs.Wait()
	if got, err := Load(name, time.Now()); err != nil || len(got.Peers) != 100 || !got.Clean {
		t.Fatalf("want 100 peers and a clean end, got %v", err)
	}
	wantFiles(t, filepath.Dir(name), "peers")
}
