package storm

import "math/bits"

// A recurringTrial decides about peers that bring many payloads again and
// again, each after a while, as loops do whose round trip is long.
//
// Its sample is taken from one round. One payload in four, by chance, is
// withheld from everyone from then on. What is under way may still come for the
// time of a round trip, which is known when others come again from the origin
// that brought them before. A peer that brings withheld payloads later produces
// them. A peer that brings so many of the others that it must have brought some
// of these by chance, too, and has not, returns what it is given.
//
// In a ring other relays may have a trial at the same time, and withhold some
// of the others. So a verdict that is less certain counts if a second trial
// confirms it.
type recurringTrial struct {
	on       bool
	began    int64
	nonce    uint64
	stride   uint64 // one payload in so many may be in the sample, or all relays of a ring would take the same
	payloads [recurringSample]uint64
	at       [recurringSample]int64  // when each was taken
	origins  [recurringSample]uint64 // by number; 0: a link
	count    int
	withheld uint32 // a bit for each that is withheld
	timed    uint32 // a bit for each that is relayed and has come again from its origin
	period   int64  // the longest time that took; 0: none has yet
}

const (
	recurringSample = 24
	manyResting     = 12.0         // payloads are enough for a trial
	manyRests       = 3.0          // so many come per window
	mostCopies      = 100          // of each, or they come too often to tell when they rest
	leastRest       = int64(100e6) // in which a payload does not come
	longestTrip     = int64(6e9)
	twiceByChance   = 1e-2 // as byChance, if a second trial confirms it
)

// RecurringCounts are what a suspect has brought of the sample.
type recurringCounts struct {
	brought uint32 // a bit for each payload
	since   int64  // since when
}

func (t *recurringTrial) begin(w *Watch) {
	*t = recurringTrial{on: true, began: w.now, nonce: w.draw(), stride: 1 + uint64(w.resting)/(8*recurringSample)}
}

// take adds a payload to the sample, if there is room, and reports whether it
// is withheld.
func (t *recurringTrial) take(hash, origin uint64, now int64) (withhold bool) {
	if t.count == recurringSample || t.period > 0 || mix(hash, ^t.nonce)%t.stride > 0 {
		return false
	}
	i := t.count
	t.payloads[i], t.at[i], t.origins[i] = hash, now, origin
	t.count++
	if withheldOf(i, t.nonce) {
		t.withheld |= 1 << i
		return true
	}
	return false
}

// note notes a payload that came before, and reports whether it is withheld. A
// is the account of its origin, or nil.
func (t *recurringTrial) note(hash, origin uint64, a *account, now int64) (withhold bool) {
	for i := range t.count {
		if t.payloads[i] != hash {
			continue
		}
		bit, passed := uint32(1)<<i, now-t.at[i]
		withhold = t.withheld&bit != 0
		if !withhold && t.timed&bit == 0 && origin == t.origins[i] && passed >= leastRest {
			t.timed |= bit
			t.period = max(t.period, passed)
		}
		if a != nil {
			if withhold && passed < t.underWay() {
				a.recurring = recurringCounts{since: now}
			} else {
				a.recurring.brought |= bit
			}
		}
		return withhold
	}
	return false
}

// underWay returns how long a payload may still come that was relayed before.
func (t *recurringTrial) underWay() int64 {
	if t.period == 0 {
		return longestTrip
	}
	return t.period*5/4 + leastRest
}

// judge decides what can be decided.
func (t *recurringTrial) judge(w *Watch) {
	over, taken := w.now-t.began > longestWait, int64(0)
	if t.count > 0 {
		taken = t.at[t.count-1]
		over = w.now-taken > longestTrip
		if t.period > 0 {
			over = w.now-taken > 2*t.underWay() || t.count < leastSample
		}
	}
	left := 0
	for _, a := range w.accounts {
		if a.trial != recurring {
			continue
		}
		chance := t.chance(&a.recurring, w.now)
		settled := w.now-max(taken, a.recurring.since) > t.period*9/8 // nothing more is to be expected
		produced := bits.OnesCount32(a.recurring.brought & t.withheld)
		switch {
		case produced >= ownProduction, over && produced > 0:
			w.clear(a)
		case chance <= byChance, chance <= twiceByChance && a.strikes > 0:
			a.lag = t.period
			w.cut(a)
		case settled && chance <= twiceByChance:
			w.confirm(a)
		case over, settled && chance < 0.5:
			w.postpone(a)
			if !over {
				a.tried = none // it is worth another try
			}
		default:
			left++
		}
	}
	t.on = left > 0
}

// chance returns the chance that the peer has brought none of what is withheld,
// and so many of the others, if it produces them: 1 if nothing can be said yet.
func (t *recurringTrial) chance(c *recurringCounts, now int64) float64 {
	if t.period == 0 || now-c.since < t.period || c.brought&t.withheld != 0 {
		return 1
	}
	due := uint32(0) // what had the time to come again
	for i, at := range t.at[:t.count] {
		if now-at >= t.period {
			due |= 1 << i
		}
	}
	return byAccident(bits.OnesCount32(due), bits.OnesCount32(due&c.brought), bits.OnesCount32(due&t.withheld))
}
