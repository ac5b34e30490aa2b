package logs

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxRepeats lines of an event leave within a period, which begins with
	// the first.
	maxRepeats = 10
	period     = time.Minute

	maxEvents = 256 // that are told apart at a time
	maxText   = 256 // bytes of a message or a reason that tell it from others

	reasonKey = "reason"
)

// A limited handler passes on what its limiter admits.
type limited struct {
	slog.Handler
	limit *limiter
}

func (h *limited) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo && !h.limit.admit(event{r.Level, told(r.Message), reason(r)}) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h *limited) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &limited{h.Handler.WithAttrs(attrs), h.limit}
}

func (h *limited) WithGroup(name string) slog.Handler {
	return &limited{h.Handler.WithGroup(name), h.limit}
}

// reason returns the attribute of that name that the line has itself, or "".
func reason(r slog.Record) (text string) {
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == reasonKey {
			text = told(a.Value.String())
		}
		return a.Key != reasonKey
	})
	return text
}

// told returns what tells a text from others.
func told(text string) string {
	if len(text) > maxText {
		text = strings.Clone(text[:maxText])
	}
	return text
}

// A limiter counts lines of the same event that are too many, and says how many
// they were.
type limiter struct {
	out slog.Handler

	mu       sync.Mutex
	accounts map[event]*account
	closed   bool
}

// An event is what its lines have in common.
type event struct {
	level   slog.Level
	message string
	reason  string
}

// others stands for all events beyond maxEvents. No line that is counted has
// its level.
var others = event{level: math.MinInt, message: "other messages"}

// An account is the lines of an event in a period.
type account struct {
	admitted int
	leftOut  int
	level    slog.Level // the highest of leftOut
	end      *time.Timer
}

// admit reports whether a line is to leave.
func (l *limiter) admit(e event) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return true
	}
	a := l.account(e)
	if a.admitted < maxRepeats {
		a.admitted++
		return true
	}
	if a.leftOut == 0 || e.level > a.level {
		a.level = e.level
	}
	a.leftOut++
	return false
}

// account returns the account that lines of e go to.
func (l *limiter) account(e event) *account {
	a := l.accounts[e]
	if a == nil && len(l.accounts) >= maxEvents {
		e = others
		a = l.accounts[e]
	}
	if a == nil {
		a = &account{}
		a.end = time.AfterFunc(period, func() { l.over(e, a) })
		l.accounts[e] = a
	}
	return a
}

// over ends the period of an account.
func (l *limiter) over(e event, a *account) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return // close says it
	}
	delete(l.accounts, e)
	l.mu.Unlock()
	l.say(e, a) // nobody else has it any more
}

// close ends all periods. What comes later is admitted.
func (l *limiter) close() {
	l.mu.Lock()
	l.closed = true
	accounts := l.accounts
	l.accounts = nil
	l.mu.Unlock()

	var events []event
	for e, a := range accounts {
		a.end.Stop()
		events = append(events, e)
	}
	slices.SortFunc(events, func(a, b event) int {
		return cmp.Or(cmp.Compare(b.level, a.level), cmp.Compare(a.message, b.message), cmp.Compare(a.reason, b.reason))
	})
	for _, e := range events {
		l.say(e, accounts[e])
	}
}

// say writes the line that stands for those that were left out.
func (l *limiter) say(e event, a *account) {
	ctx := context.Background()
	if a.leftOut == 0 || !l.out.Enabled(ctx, a.level) {
		return
	}
	r := slog.NewRecord(time.Now(), a.level, "lines left out", 0)
	r.AddAttrs(slog.String("about", e.message))
	if e.reason != "" {
		r.AddAttrs(slog.String(reasonKey, e.reason))
	}
	r.AddAttrs(slog.Int("count", a.leftOut))
	l.out.Handle(ctx, r) // a queue takes everything
}
