package state

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// DefaultEvery is how often a [Saver] saves what has not changed.
	DefaultEvery = 10 * time.Second

	// lookEvery is how often it is looked whether there is something new.
	lookEvery = 100 * time.Millisecond

	// restFor is how many times as long as a save took lies between its begin
	// and that of the next.
	restFor = 20

	// warnAgain is how often it is logged that nothing can be saved.
	warnAgain = time.Hour
)

// A Saver saves the learned peers, and what else a [Snapshot] has, again and
// again, so that a crash costs few of them. Its fields are set before it is used and not changed.
type Saver struct {
	Name    string           // of the file
	Every   time.Duration    // how often what has not changed is saved, to keep the ages fresh; 0: DefaultEvery
	Collect func() *Snapshot // what is to be saved; the Saver changes Clean and Every of it
	Changed func() uint64    // a number that differs when peers or bans came or went
	Log     *slog.Logger

	// Elsewhere keeps what the file would hold if it cannot be written, where it
	// outlives a restart of the daemon, and must not keep data itself. Nil: the file
	// has been written. It may be nil itself.
	Elsewhere func(data []byte) error

	mu       sync.Mutex // held while there is a save
	pace     pace
	seen     uint64 // what Changed returned before the last save
	failures int    // saves that failed in a row
	warned   time.Time

	trouble atomic.Pointer[Trouble]
}

// A Trouble is why the file cannot be written.
type Trouble struct {
	Since     time.Time // the first save that failed
	Err       error     // of the last one; it may have a method Hint() string
	Elsewhere bool      // what it would hold is kept where it outlives a restart of the daemon
}

// Run saves at once, and then within 100 ms when s.Changed differs, and every
// s.Every, but never so often that it takes more than a twentieth of the time.
// When ctx is done it saves once more, as the last save of an orderly stop, with
// sync, and returns. What is in the file before must have been loaded.
//
// A save that fails is tried again when the next is due. It is logged when that
// begins, each hour, when it ends, and when there is an end to trying.
func (s *Saver) Run(ctx context.Context) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	s.Save(false) // what fails is logged
	for {
		select {
		case <-ctx.Done():
			s.stop()
			return
		case <-look.C:
			s.saveIfDue()
		}
	}
}

// Save saves now, as [Save] does. It may be called by any goroutine, and waits
// for a save that is under way. To save after Run has returned makes the file
// one that is not from an orderly stop.
func (s *Saver) Save(sync bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.save(sync, false)
}

// Trouble returns why the file cannot be written, or nil if it can: what is new
// since the last save that succeeded may not outlive a restart. Any goroutine may
// call it.
func (s *Saver) Trouble() *Trouble { return s.trouble.Load() }

func (s *Saver) saveIfDue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pace.due(time.Now(), s.every(), s.Changed() != s.seen) {
		s.save(false, false) // what fails is logged
	}
}

// stop is the last save.
func (s *Saver) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.failures
	if err := s.save(true, true); err != nil && before > 0 { // the first failure is logged by save
		s.warn("peers were not saved", err)
	}
}

func (s *Saver) every() time.Duration {
	if s.Every <= 0 {
		return DefaultEvery
	}
	return s.Every
}

// save is called with s.mu locked.
func (s *Saver) save(sync, clean bool) error {
	begin := time.Now()
	s.seen = s.Changed() // before: what changes in between is saved next time
	snapshot := s.Collect()
	snapshot.Clean, snapshot.Every = clean, s.pace.longest(s.every())
	kept := false
	err := save(s.Name, snapshot, time.Now(), sync, func(data []byte) { kept = s.keep(data) })
	s.pace.note(begin, time.Now())
	if err == nil {
		s.keep(nil)
		if s.failures > 0 {
			s.Log.Info("peers are saved again", "file", s.Name, "failures", s.failures)
		}
		s.failures = 0
		s.trouble.Store(nil)
		return nil
	}
	trouble := &Trouble{Since: begin, Err: err, Elsewhere: kept}
	if before := s.trouble.Load(); before != nil {
		trouble.Since = before.Since
	}
	s.trouble.Store(trouble)
	if s.failures++; s.failures == 1 || begin.Sub(s.warned) >= warnAgain {
		s.warned = begin
		s.warn("peers are not saved", err)
	}
	return err
}

// keep keeps elsewhere what could not be saved, and reports whether it is.
func (s *Saver) keep(data []byte) bool {
	if s.Elsewhere == nil {
		return false
	}
	err := s.Elsewhere(data)
	if err != nil {
		s.Log.Debug("peers are not kept elsewhere", "error", err)
	}
	return err == nil
}

func (s *Saver) warn(what string, err error) {
	attributes := []any{"error", err}
	if hinter := (interface{ Hint() string })(nil); errors.As(err, &hinter) && hinter.Hint() != "" {
		attributes = append(attributes, "hint", hinter.Hint())
	}
	s.Log.Warn(what, attributes...)
}

// A pace says when the next save is due. The zero pace has seen none.
type pace struct {
	begin time.Time     // of the last save
	rest  time.Duration // from then until the next, at least
}

func (p *pace) note(begin, end time.Time) {
	p.begin, p.rest = begin, restFor*end.Sub(begin)
}

func (p *pace) due(now time.Time, every time.Duration, changed bool) bool {
	since := now.Sub(p.begin)
	return since >= p.rest && (changed || since >= every)
}

// longest returns how long it may be from one save to the next.
func (p *pace) longest(every time.Duration) time.Duration {
	return max(every, p.rest) + lookEvery
}
