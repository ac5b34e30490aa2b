//go:build !nocluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
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

	// maxFirsts is how many kinds of lines are remembered, to log the first of
	// each kind whatever else was logged.
	maxFirsts = 64
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
	firsts map[string]bool
}

func newLimitedLog(log *slog.Logger, burst int) *limitedLog {
	return &limitedLog{log: log, burst: burst, firsts: make(map[string]bool)}
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

// tell reports whether it did.
func (l *limitedLog) tell(level slog.Level, message string, args ...any) bool {
	hidden, ok := l.allow(time.Now())
	if !ok {
		return false
	}
	if hidden > 0 {
		args = append(args, "not_shown", hidden)
	}
	l.log.Log(context.Background(), level, message, args...)
	return true
}

// isFirst reports whether this is the first of a kind. Of no more kinds than are
// remembered it is known.
func (l *limitedLog) isFirst(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.firsts[kind] || len(l.firsts) == maxFirsts {
		return false
	}
	l.firsts[kind] = true
	return true
}

// first warns, the first time of each kind whatever was logged before. It reports
// whether it did.
func (l *limitedLog) first(kind, message string, args ...any) bool {
	if l.isFirst(kind) {
		l.log.Warn(message, args...)
		return true
	}
	return l.tell(slog.LevelWarn, message, args...)
}

// once warns the first time of each kind.
func (l *limitedLog) once(kind, message string, args ...any) {
	if l.isFirst(kind) {
		l.log.Warn(message, args...)
	}
}

// A serverLog is the logger of a NATS server.
type serverLog struct {
	limited *limitedLog
	routes  []string    // that are configured
	fatal   chan string // the first reason why the server can not start
}

func newServerLog(log *slog.Logger, routes []string) *serverLog {
	return &serverLog{limited: newLimitedLog(log, logBurst), routes: routes, fatal: make(chan string, 1)}
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

// Errorf implements [server.Logger]. That a configured route is missing the watch
// says.
func (l *serverLog) Errorf(format string, v ...any) {
	if strings.HasPrefix(format, "Error trying to connect to route") && slices.ContainsFunc(v, l.isOfRoute) {
		l.Noticef(format, v...)
		return
	}
	l.warn(format, v)
}

// isOfRoute reports whether v is the error of a configured route that can not be
// called.
func (l *serverLog) isOfRoute(v any) bool {
	var (
		lookup *net.DNSError
		called *net.OpError
	)
	err, _ := v.(error)
	if errors.As(err, &lookup) {
		return slices.ContainsFunc(l.routes, func(route string) bool {
			host, _, _ := splitHostPort(route)
			return host == lookup.Name
		})
	}
	if !errors.As(err, &called) || called.Addr == nil {
		return false
	}
	ip, port, _ := splitHostPort(called.Addr.String())
	return slices.ContainsFunc(l.routes, func(route string) bool {
		host, its, _ := splitHostPort(route)
		return its == port && (host == ip || !isAddress(host)) // the address of a name is not known here
	})
}

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
