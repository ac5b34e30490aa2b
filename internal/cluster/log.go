//go:build !nocluster

package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// What others can have logged is bounded: logBurst lines in logEvery, or
// movesBurst of nodes that come and go, and a count of the rest. If it goes on
// the time doubles, up to logSeldom.
const (
	logEvery  = 10 * time.Second
	logSeldom = 10 * time.Minute
	logBurst  = 5

	movesBurst = maxNodes
)

// A limitedLog tells of what may happen often.
type limitedLog struct {
	log   *slog.Logger
	burst int

	mu     sync.Mutex // guards what follows
	since  time.Time
	every  time.Duration
	lines  int
	hidden int
}

func newLimitedLog(log *slog.Logger, burst int) *limitedLog {
	return &limitedLog{log: log, burst: burst}
}

// allow reports whether one more line may be written now, and how many were
// not written before it.
func (l *limitedLog) allow(now time.Time) (hidden int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.since) >= l.every {
		if l.hidden > 0 {
			l.every = min(2*l.every, logSeldom)
		} else {
			l.every = logEvery
		}
		l.since, l.lines = now, 0
	}
	if l.lines == l.burst {
		l.hidden++
		return 0, false
	}
	l.lines++
	hidden, l.hidden = l.hidden, 0
	return hidden, true
}

func (l *limitedLog) warn(message string, args ...any) { l.tell(slog.LevelWarn, message, args...) }

func (l *limitedLog) tell(level slog.Level, message string, args ...any) {
	hidden, ok := l.allow(time.Now())
	if !ok {
		return
	}
	if hidden > 0 {
		args = append(args, "not_shown", hidden)
	}
	l.log.Log(context.Background(), level, message, args...)
}

// A serverLog is the logger of a NATS server.
type serverLog struct {
	limited *limitedLog
	fatal   chan string // the first reason why the server can not start
}

func newServerLog(log *slog.Logger) *serverLog {
	return &serverLog{limited: newLimitedLog(log, logBurst), fatal: make(chan string, 1)}
}

func (l *serverLog) warn(format string, v []any) {
	l.limited.warn("cluster: the NATS server says", "message", fmt.Sprintf(format, v...))
}

// Fatalf implements [server.Logger]. It does not end the program.
func (l *serverLog) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default:
		l.warn(format, v)
	}
}

// Errorf implements [server.Logger].
func (l *serverLog) Errorf(format string, v ...any) { l.warn(format, v) }

// Warnf implements [server.Logger].
func (l *serverLog) Warnf(format string, v ...any) {
	if !strings.HasPrefix(format, "Plaintext passwords") { // they are random or derived, and in no file
		l.warn(format, v)
	}
}

// Noticef implements [server.Logger].
func (l *serverLog) Noticef(format string, v ...any) {
	if log := l.limited.log; log.Enabled(context.Background(), slog.LevelDebug) {
		log.Debug("cluster: the NATS server says", "message", fmt.Sprintf(format, v...))
	}
}

// Debugf implements [server.Logger].
func (l *serverLog) Debugf(string, ...any) {}

// Tracef implements [server.Logger].
func (l *serverLog) Tracef(string, ...any) {}
