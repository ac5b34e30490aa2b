package capture

import (
	"math"
	"time"
)

// backStep is how far back in time a packet may be of those before it, as the
// packets of several interfaces or cores are. One further back was recorded
// after the clock had been set, and time goes on from it.
const backStep = time.Second

// A schedule says when each datagram is due, counted from the first and not
// from the one before, so that delays do not add up.
type schedule struct {
	speed  float64       // 2: twice as fast; 0: all at once
	maxGap time.Duration // the longest pause in the recording; 0: as it is

	begun    bool
	start    time.Time     // when the first was due
	latest   time.Time     // of the times in the file
	position time.Duration // in the recording, gaps as they are played
}

// pass is told that the file begins again: its first datagram follows the last
// one at once.
func (s *schedule) pass() { s.latest = time.Time{} }

// hold has all that follows be due so much later.
func (s *schedule) hold(d time.Duration) { s.start = s.start.Add(d) }

// due returns when a datagram that was recorded at is to leave. Now is when the
// first one does.
func (s *schedule) due(at, now time.Time) time.Time {
	if !s.begun {
		s.begun, s.start = true, now
	}
	gap := at.Sub(s.latest)
	switch {
	case s.latest.IsZero():
		s.latest = at
	case gap > 0:
		if s.maxGap > 0 {
			gap = min(gap, s.maxGap)
		}
		s.latest = at
		s.position += min(gap, math.MaxInt64-s.position)
	case gap < -backStep:
		s.latest = at
	}
	if s.speed == 0 {
		return s.start
	}
	after := float64(s.position) / s.speed
	return s.start.Add(time.Duration(min(after, float64(math.MaxInt64/2))))
}
