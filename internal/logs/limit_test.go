package logs

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs f with a log and a clock of its own; lines returns what was
// written since it was called last.
func bubble(t *testing.T, o Options, f func(t *testing.T, log *Log, lines func() []string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		writer := &changing{to: new(bytes.Buffer)}
		o.To = Journal
		log := New(writer, o)
		f(t, log, func() []string {
			synctest.Wait()
			got := writer.set(new(bytes.Buffer)).(*bytes.Buffer)
			return slices.Collect(strings.Lines(got.String()))
		})
		log.Close(soon)
	})
}

// accounts returns how many there are.
func accounts(log *Log) int {
	log.limit.mu.Lock()
	defer log.limit.mu.Unlock()
	return len(log.limit.accounts)
}

func repeat(n int, log func()) {
	for range n {
		log()
	}
}

func wantLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	for i := range want {
		want[i] += "\n"
	}
	if !slices.Equal(got, want) {
		t.Fatalf("want\n%sgot\n%s", strings.Join(want, ""), strings.Join(got, ""))
	}
}

func TestRepeatedLinesAreCountedNotRepeated(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, log *Log, lines func() []string) {
		for n := range 50 {
			log.Logger().With("a", n).WithGroup("g").Warn("refused", "n", n)
			time.Sleep(time.Second)
		}
		if got := lines(); len(got) != maxRepeats || got[9] != "<4>refused a=9 g.n=9\n" {
			t.Fatalf("want the first %d lines, got %q", maxRepeats, got)
		}
		time.Sleep(9 * time.Second)
		wantLines(t, lines())
		time.Sleep(time.Second) // no line has to come for the minute to be over
		wantLines(t, lines(), "<4>lines left out about=refused count=40")

		log.Logger().Warn("refused") // another minute begins
		wantLines(t, lines(), "<4>refused")
		time.Sleep(2 * time.Minute)
		wantLines(t, lines())
	})
}

func TestEventsDifferByLevelAndMessage(t *testing.T) {
	bubble(t, Options{Level: slog.LevelDebug}, func(t *testing.T, log *Log, lines func() []string) {
		repeat(maxRepeats, func() {
			log.Logger().Info("a")
			log.Logger().Warn("a")
			log.Logger().Info("b")
		})
		if got := lines(); len(got) != 3*maxRepeats {
			t.Errorf("want %d lines, got %d", 3*maxRepeats, len(got))
		}
		repeat(3, func() { log.Logger().Info("b") })
		repeat(2, func() { log.Logger().Warn("a") })
		repeat(1, func() { log.Logger().Info("a") })
		repeat(100, func() { log.Logger().Debug("debug is for who wants each line") })
		if got := lines(); len(got) != 100 {
			t.Errorf("want 100 lines, got %d", len(got))
		}
		log.Close(soon) // says it at once, the most important first
		wantLines(t, lines(),
			"<4>lines left out about=a count=2",
			"<6>lines left out about=a count=1",
			"<6>lines left out about=b count=3")
		time.Sleep(2 * period)
		wantLines(t, lines())
	})
}

func TestEventsDifferByReason(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, log *Log, lines func() []string) {
		for n := range maxRepeats + 3 {
			log.Logger().Warn("client refused", "client", n, "reason", "not_let_in")
			log.Logger().Warn("client refused", "client", n, "reason", "bad_proof", "hint", "none")
			log.Logger().Warn("client refused", "client", n)
		}
		if got := lines(); len(got) != 3*maxRepeats {
			t.Errorf("want %d lines, got %d", 3*maxRepeats, len(got))
		}
		log.Close(soon)
		wantLines(t, lines(),
			`<4>lines left out about="client refused" count=3`,
			`<4>lines left out about="client refused" reason=bad_proof count=3`,
			`<4>lines left out about="client refused" reason=not_let_in count=3`)
	})
}

func TestMessagesBeyondTheBoundShareAnAccount(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, log *Log, lines func() []string) {
		for n := range maxEvents {
			log.Logger().Info(fmt.Sprint("message ", n))
		}
		for n := range maxRepeats + 5 {
			log.Logger().Info(fmt.Sprint("another message ", n))
		}
		log.Logger().Error("yet another")
		log.Logger().Info("message 7") // has an account of its own
		if got := lines(); len(got) != maxEvents+maxRepeats+1 || got[len(got)-1] != "<6>message 7\n" {
			t.Fatalf("want %d lines, got %q", maxEvents+maxRepeats+1, got)
		}
		if n := accounts(log); n != maxEvents+1 {
			t.Errorf("want %d accounts, got %d", maxEvents+1, n)
		}
		time.Sleep(period)
		wantLines(t, lines(), `<3>lines left out about="other messages" count=6`)
		if n := accounts(log); n != 0 {
			t.Errorf("want no account when the minute is over, got %d", n)
		}
	})
}

func TestOnlyTheBeginningOfALongMessageTells(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, log *Log, lines func() []string) {
		long := strings.Repeat("x", maxText)
		for n := range maxRepeats + 1 {
			log.Logger().Info(fmt.Sprint(long, n))
		}
		if got := lines(); len(got) != maxRepeats {
			t.Errorf("want %d lines, got %d", maxRepeats, len(got))
		}
		time.Sleep(period)
		wantLines(t, lines(), "<6>lines left out about="+long+" count=1")
	})
}

func TestWhatIsNotLoggedAnyMoreIsNotCountedAloud(t *testing.T) {
	bubble(t, Options{}, func(t *testing.T, log *Log, lines func() []string) {
		repeat(20, func() { log.Logger().Info("a") })
		if got := lines(); len(got) != maxRepeats {
			t.Errorf("want %d lines, got %d", maxRepeats, len(got))
		}
		log.SetLevel(slog.LevelWarn)
		time.Sleep(period)
		wantLines(t, lines())
	})
}
