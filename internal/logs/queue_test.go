package logs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"udprelay/internal/testwait"
)

// soon is far longer than what is waited for takes.
const soon = testwait.Patience

var lostLine = regexp.MustCompile(`^<4>log lines lost count=([0-9]+)$`)

// toldLost returns how many lines a line says are lost, or 0.
func toldLost(t testing.TB, line string) int {
	t.Helper()
	parts := lostLine.FindStringSubmatch(line)
	if parts == nil {
		return 0
	}
	n, err := strconv.Atoi(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

func TestAPipeThatNobodyReadsHoldsNobodyUp(t *testing.T) {
	const lines = 100_000
	r, w := pipe(t)
	log := New(w, Options{Level: slog.LevelDebug, To: Journal})
	for n := range lines { // is through although nobody reads
		log.Logger().Debug("line", "n", n)
	}
	if log.Close(time.Millisecond) {
		t.Fatal("want lines that wait, got none")
	}

	// Now somebody reads. The lines come in their order, and each gap is told.
	done := make(chan bool)
	next, lost := 0, 0
	go func() {
		defer close(done)
		for scanner := bufio.NewScanner(r); scanner.Scan(); {
			if n := toldLost(t, scanner.Text()); n > 0 {
				next, lost = next+n, lost+n
			} else if want := fmt.Sprintf("<7>line n=%d", next); scanner.Text() != want {
				t.Errorf("want %q, got %q", want, scanner.Text())
				next++
			} else {
				next++
			}
		}
	}()
	if !log.Close(soon) {
		t.Error("want no line that waits")
	}
	log.Logger().Debug("line", "n", lines)
	if !log.Close(soon) {
		t.Error("want no line that waits")
	}
	w.Close()
	<-done
	if next != lines+1 || lost == 0 {
		t.Errorf("want %d lines, some of them lost, got %d and %d", lines+1, next, lost)
	}
}

// A gate passes lines on once it is open.
type gate struct {
	open  chan struct{}
	began chan struct{} // gets a value with the first Write
	bytes.Buffer
}

func newGate() *gate { return &gate{open: make(chan struct{}), began: make(chan struct{}, 1)} }

func (g *gate) Write(line []byte) (int, error) {
	select {
	case g.began <- struct{}{}:
	default:
	}
	<-g.open
	return g.Buffer.Write(line)
}

func TestTheQueueIsBounded(t *testing.T) {
	short, long := strings.Repeat("s", 10), strings.Repeat("l", maxLine/2-1)
	for _, c := range []struct {
		name, line string
		most       int
	}{
		{"lines", short, maxLines},
		{"bytes", long, maxBytes / (maxLine / 2)},
	} {
		g := newGate()
		q := &queue{w: g, notice: newNotice(slog.LevelInfo, Options{To: Journal})}
		io.WriteString(q, "first\n")
		<-g.began // the first no longer waits
		for range c.most + 5 {
			io.WriteString(q, c.line+"\n")
		}
		close(g.open)
		if !q.close(soon) {
			t.Fatalf("%s: want all to be written", c.name)
		}
		want := "first\n" + strings.Repeat(c.line+"\n", c.most) + "<4>log lines lost count=5\n"
		if g.String() != want {
			t.Errorf("%s: want the first, %d lines and that 5 are lost, got %d bytes instead of %d, at the end %q",
				c.name, c.most, g.Len(), len(want), g.String()[max(0, g.Len()-100):])
		}
	}
}

func TestALineThatIsTooLongIsLost(t *testing.T) {
	var got bytes.Buffer
	log := New(&got, Options{To: Journal})
	log.Logger().Info(strings.Repeat("x", maxLine-len("<6>\n")))
	log.Logger().Info(strings.Repeat("x", maxLine-len("<6>")))
	if !log.Close(soon) {
		t.Fatal("want all to be written")
	}
	if line, rest, _ := strings.Cut(got.String(), "\n"); len(line) != maxLine-1 || rest != "<4>log lines lost count=1\n" {
		t.Errorf("want the longest line and one lost, got %d bytes and %q", len(line), rest)
	}
}

// A changing writer is another one from time to time.
type changing struct {
	mu sync.Mutex
	to io.Writer
}

func (c *changing) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.to.Write(line)
}

// set returns the one that it was.
func (c *changing) set(w io.Writer) (was io.Writer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	was, c.to = c.to, w
	return was
}

// written waits until nothing waits any more.
func written(t *testing.T, log *Log) {
	t.Helper()
	log.queue.mu.Lock()
	idle := log.queue.idle
	log.queue.mu.Unlock()
	if idle != nil && !within(soon, idle) {
		t.Fatal("want all to be written")
	}
}

func TestLinesThatTheSystemDoesNotTakeAreCounted(t *testing.T) {
	_, reader := pipe(t)
	broken, w := pipe(t)
	broken.Close() // a Write to w is EPIPE
	bad := map[string]io.Writer{"EPIPE": w, "closed": reader}
	reader.Close()
	if full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0); err == nil { // ENOSPC
		defer full.Close()
		bad["ENOSPC"] = full
	} else if runtime.GOOS == "linux" {
		t.Error(err)
	}
	for name, bad := range bad {
		var got bytes.Buffer
		writer := &changing{to: bad}
		log := New(writer, Options{To: Journal})
		for n := range 3 {
			log.Logger().Info("early", "n", n)
		}
		written(t, log)
		writer.set(&got)
		log.Logger().Info("good")
		written(t, log)
		writer.set(bad)
		log.Logger().Info("late")
		written(t, log)
		writer.set(&got)
		if !log.Close(soon) {
			t.Errorf("%s: want all to be written", name)
		}
		if want := "<4>log lines lost count=3\n<6>good\n<4>log lines lost count=1\n"; got.String() != want {
			t.Errorf("%s: want\n%sgot\n%s", name, want, got.String())
		}
	}
}

// A tearing writer takes some bytes and then none any more.
type tearing struct {
	room int
	bytes.Buffer
}

func (w *tearing) Write(line []byte) (int, error) {
	n := min(len(line), w.room)
	w.room -= n
	w.Buffer.Write(line[:n])
	if n < len(line) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func TestALineThatIsTornGetsAnEnd(t *testing.T) {
	w := &tearing{room: 5}
	q := &queue{w: w, notice: newNotice(slog.LevelInfo, Options{To: Journal})}
	io.WriteString(q, "torn line\n")
	io.WriteString(q, "line\n")
	if !q.close(soon) {
		t.Fatal("want nothing to wait")
	}
	w.room = 1000
	io.WriteString(q, "good\n")
	if want := "torn \n<4>log lines lost count=2\ngood\n"; w.String() != want {
		t.Errorf("want %q, got %q", want, w.String())
	}
}

func TestCloseWaitsNoLongerThanItsTimeout(t *testing.T) {
	g := newGate()
	log := New(g, Options{To: Journal})
	log.Logger().Info("first")
	for _, timeout := range []time.Duration{0, time.Millisecond, -time.Second} {
		if log.Close(timeout) {
			t.Error("want a line that waits")
		}
	}
	log.Logger().Info("second") // does not wait either
	close(g.open)
	if !log.Close(soon) {
		t.Fatal("want all to be written")
	}
	if want := "<6>first\n<6>second\n"; g.String() != want {
		t.Errorf("want %q, got %q", want, g.String())
	}
}

func TestALineAfterCloseIsWrittenAtOnce(t *testing.T) {
	writer := &changing{to: new(bytes.Buffer)}
	log := New(writer, Options{To: Journal})
	if !log.Close(0) {
		t.Fatal("want nothing to wait")
	}
	log.queue.late = soon // so that a slow machine does not decide
	for n := range 100 {  // and none of them is left out
		var got bytes.Buffer
		writer.set(&got)
		log.Logger().Info("late", "n", n)
		if want := fmt.Sprintf("<6>late n=%d\n", n); got.String() != want {
			t.Fatalf("want %q, got %q", want, got.String())
		}
	}
}

func TestAfterCloseOnlyOneLineWaitsForAHangingWriter(t *testing.T) {
	g := newGate()
	log := New(g, Options{})
	log.Close(0)
	log.queue.late = time.Millisecond
	log.Logger().Info("hangs")
	if late := log.queue.late; late != 0 {
		t.Errorf("want lines that do not wait, got %s", late)
	}
	close(g.open)
	written(t, log)
}

func TestManyGoroutinesLogAndSetTheLevel(t *testing.T) {
	const goroutines, lines = 8, 500
	var got bytes.Buffer
	log := New(&got, Options{Level: slog.LevelDebug, To: Journal})
	var busy sync.WaitGroup
	for g := range goroutines {
		busy.Go(func() {
			mine := log.Logger().With("goroutine", g).WithGroup("line")
			for n := range lines {
				log.SetLevel(slog.LevelDebug)
				mine.Debug("debug", "n", n)
				mine.Error("error", "n", n)
			}
		})
	}
	busy.Wait()
	if !log.Close(soon) {
		t.Fatal("want all to be written")
	}
	debug, left, lost, told := 0, 0, 0, 0
	for line := range strings.Lines(got.String()) {
		switch line = strings.TrimSpace(line); {
		case toldLost(t, line) > 0:
			lost += toldLost(t, line)
		case strings.HasPrefix(line, "<7>debug goroutine="):
			debug++
		case strings.HasPrefix(line, "<3>error goroutine="):
			left++
		default:
			if _, err := fmt.Sscanf(line, "<3>lines left out about=error count=%d", &told); err != nil {
				t.Errorf("%v: %q", err, line)
			}
		}
	}
	if left > maxRepeats || debug+left+told+lost < 2*goroutines*lines {
		t.Errorf("want %d lines told of, got %d of debug, %d of errors, %d left out, %d lost", 2*goroutines*lines, debug, left, told, lost)
	}
}

func TestTheLevelIsThatOfTheMoment(t *testing.T) {
	var got bytes.Buffer
	log := New(&got, Options{Level: slog.LevelWarn, To: Journal})
	logger := log.Logger().With("a", 1)
	logger.Info("no")
	log.SetLevel(slog.LevelInfo)
	logger.Info("yes")
	log.SetLevel(slog.LevelError)
	logger.Warn("no")
	if !log.Close(soon) || got.String() != "<6>yes a=1\n" {
		t.Errorf("want one line, got %q", got.String())
	}
}

func TestCloseAgainIsNoMistake(t *testing.T) {
	log := New(failing{}, Options{})
	log.Logger().Error("x")
	for range 3 {
		if !log.Close(soon) {
			t.Error("want nothing to wait")
		}
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("does not write") }

func BenchmarkLine(b *testing.B) {
	for name, form := range forms {
		b.Run(strings.ReplaceAll(name, ", ", "-"), func(b *testing.B) {
			b.ReportAllocs()
			form.options.Level = slog.LevelDebug
			log := New(io.Discard, form.options)
			logger := log.Logger().With("peer", "192.0.2.1:9000")
			for b.Loop() {
				logger.Debug("datagram refused", "reason", "no_rule", "bytes", 200)
			}
			log.Close(soon)
		})
	}
}
