package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"udprelay/internal/state"
	"udprelay/internal/systemd"
	"udprelay/relay"
)

const (
	// statusEvery is how often the service manager gets a new status line.
	statusEvery = 10 * time.Second

	// changesEvery is how often it is logged that peers have come and gone.
	changesEvery = time.Minute

	// closeLog is how long the end waits for log lines to be written.
	closeLog = 2 * time.Second

	// startWithin is how long the relay has for its first turn.
	startWithin = 10 * time.Second
)

// tellManager tells the service manager that the relay runs, that its loop goes
// on, and what it does, until ctx is cancelled.
func (d *daemon) tellManager(ctx context.Context) {
	if err := d.turn(ctx, startWithin); err != nil {
		if ctx.Err() == nil {
			d.log.Error("the relay does not begin", "error", err)
		}
		return
	}
	status := newStatus(d.relay, d.saver)
	d.ready.Store(true)
	d.complain(systemd.Ready(status.line(time.Now())))

	statuses := time.NewTicker(statusEvery)
	defer statuses.Stop()
	interval, err := systemd.WatchdogInterval()
	if err != nil {
		d.log.Warn("no watchdog", "error", err)
	}
	var alive <-chan time.Time
	if interval > 0 {
		// Three times within the interval, and each has as long to succeed.
		feeding := time.NewTicker(interval / 3)
		defer feeding.Stop()
		alive = feeding.C
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-alive:
			d.feedWatchdog(ctx, interval)
		case now := <-statuses.C:
			d.complain(systemd.Status(status.line(now)))
		}
	}
}

// feedWatchdog tells the service manager that the relay is alive, if its loop
// makes a turn within a third of the interval. If it does not, the service
// manager restarts the daemon when the interval is over.
func (d *daemon) feedWatchdog(ctx context.Context, interval time.Duration) {
	if err := d.turn(ctx, interval/3); err == nil {
		d.complain(systemd.Alive())
	} else if ctx.Err() == nil {
		d.log.Error("the relay makes no turn; the watchdog is not fed", "for", interval/3)
	}
}

// turn waits until the loop of the relay has made a turn.
func (d *daemon) turn(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return d.relay.Turn(ctx)
}

func (d *daemon) complain(err error) { complain(d.log, err) }

// A status says what a relay does.
type status struct {
	relay *relay.Relay
	saver *state.Saver // nil: nothing is saved
	last  relay.Stats
	when  time.Time
}

func newStatus(r *relay.Relay, saver *state.Saver) *status {
	return &status{relay: r, saver: saver, last: r.Stats(), when: time.Now()}
}

// line returns what the relay has done since the last line.
func (s *status) line(now time.Time) string {
	stats := s.relay.Stats()
	seconds := max(now.Sub(s.when).Seconds(), 1)
	rate := func(now, before uint64) uint64 { return uint64(float64(now-before)/seconds + 0.5) }
	learned, static := s.relay.Peers().Counts()
	line := fmt.Sprintf("%v: %s, in a second %d datagrams received, %d delivered, %d dropped", s.relay.Addr(), counts(learned, static),
		rate(stats.Received, s.last.Received), rate(stats.Delivered, s.last.Delivered), rate(dropped(stats), dropped(s.last)))
	s.last, s.when = stats, now
	if s.saver != nil {
		if trouble := s.saver.Trouble(); trouble != nil {
			line = "NOT SAVED: " + trouble.Err.Error() + "; " + line
		}
	}
	return line
}

// counts writes how many peers there are.
func counts(learned, static int) string {
	text := fmt.Sprintf("%d peers", learned+static)
	if learned+static == 1 {
		text = "1 peer"
	}
	if static > 0 {
		text += fmt.Sprintf(" (%d static)", static)
	}
	return text
}

// sayChanges logs once a minute which peers have come and gone, if any, until
// ctx is cancelled.
func (d *daemon) sayChanges(ctx context.Context) {
	changes := &changes{relay: d.relay, log: d.log}
	again := time.NewTicker(changesEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			changes.say()
		}
	}
}

// Changes are the peers that came and went.
type changes struct {
	relay        *relay.Relay
	log          *slog.Logger
	joined, left uint64 // what was said so far
}

func (c *changes) say() {
	joined, left := c.relay.Peers().Turnover()
	if joined == c.joined && left == c.left {
		return
	}
	learned, static := c.relay.Peers().Counts()
	c.log.Info("peers changed", "joined", joined-c.joined, "left", left-c.left, "learned", learned, "static", static)
	c.joined, c.left = joined, left
}
