package logs

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"time"
)

// Options say which lines there are and what they look like.
type Options struct {
	Level slog.Level  // the least important line that is written; SetLevel changes it
	JSON  bool        // an object for each line, otherwise text
	To    Destination // what the writer is, see DestinationOf
}

// A Log is a place that lines go to.
type Log struct {
	level  slog.LevelVar
	limit  *limiter
	queue  *queue
	logger *slog.Logger
}

// New returns a log that writes to w, a line with each call of Write, and never
// two at a time. Close it to be sure that all is written.
func New(w io.Writer, o Options) *Log {
	l := &Log{}
	l.level.Set(o.Level)
	l.queue = &queue{w: w, notice: newNotice(&l.level, o)}
	lines := newForm(l.queue, &l.level, o)
	l.limit = &limiter{out: lines, accounts: map[event]*account{}}
	l.logger = slog.New(&limited{lines, l.limit})
	return l
}

// Logger returns the logger whose lines go to l. It never blocks.
func (l *Log) Logger() *slog.Logger { return l.logger }

// SetLevel sets the least important line that is written from now on. Any
// goroutine may call it.
func (l *Log) SetLevel(level slog.Level) { l.level.Set(level) }

// Close says what was left out so far and waits until all lines are written,
// but no longer than timeout. It reports whether all are. Lines that come later
// are still written, each before the call that logs it returns, unless the
// writer hangs.
func (l *Log) Close(timeout time.Duration) bool {
	l.limit.close()
	return l.queue.close(timeout)
}

// newNotice returns what makes the line that says how many lines are lost. Only
// one goroutine may call it at a time.
func newNotice(level slog.Leveler, o Options) func(lost uint64) []byte {
	var line bytes.Buffer
	lines := newForm(&line, level, o)
	return func(lost uint64) []byte {
		line.Reset()
		r := slog.NewRecord(time.Now(), slog.LevelWarn, "log lines lost", 0)
		r.AddAttrs(slog.Uint64("count", lost))
		lines.Handle(context.Background(), r) // a buffer takes everything
		return line.Bytes()
	}
}
