package fairqueue

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// An origin that sends far more than its share makes work even if all of the
// excess is dropped here, because it has to be received first. So most of the
// excess is kept out before that: of an origin that loses datagrams, only a part
// is let in, chosen at random, that is about what can be sent of it.

const (
	// growth is by how much more is let in, from one time to the next, of an
	// origin of which nothing waits any more.
	growth = 1.5

	// leastPass is the smallest part that is let in.
	leastPass = 1.0 / 4096

	// smoothing is how much the last interval counts for what an origin sends:
	// of one of which little is let in, a single interval says little.
	smoothing = 0.25

	// mostLimits is how many origins are limited at a time.
	mostLimits = 32
)

// A Limit says which part of an origin's datagrams is to be let in.
type Limit struct {
	From netip.AddrPort
	Pass float64 // above 0 and below 1
}

// AdjustEvery is how often Adjust is to be called, or somewhat less often.
const AdjustEvery = 50 * time.Millisecond

// Adjust returns the limits for the time until the next call, from what has
// happened since the last one, so long ago. It is to be called also when the queue
// is empty, until there are no limits any more. If others than those that the
// limits have kept out were lost before they could be pushed, it is an overflow.
// The limits are valid until the next call.
func (q *Queue[O]) Adjust(since time.Duration, overflow bool) []Limit {
	seconds := max(since, time.Millisecond).Seconds()
	level := 0.0
	if overflow {
		level = q.level(q.pushed() / 2)
	}
	q.limits = q.limits[:0]
	for _, f := range q.flows {
		offered, sent := float64(f.pushed)/f.pass/seconds, float64(f.sent)/seconds
		if f.pass < 1 {
			offered = (1-smoothing)*f.offered + smoothing*offered
			sent = (1-smoothing)*f.rate + smoothing*sent
		}
		f.offered, f.rate = offered, sent
		if offered > 0 && f.count > 0 && (f.pass < 1 || f.lost > 0) {
			// As much as is sent, and more or less so that as much waits as can be
			// sent within AdjustEvery.
			f.pass = max(sent/4, sent+(sent-float64(f.count)/AdjustEvery.Seconds())/2) / offered
		} else {
			f.pass *= growth
		}
		if overflow && float64(f.pushed) > level {
			f.pass = min(f.pass, level/seconds/offered)
		}
		f.pass = min(1, max(f.pass, leastPass))
		if f.pushed, f.sent, f.lost = 0, 0, 0; f.pass < 1 {
			q.limits = append(q.limits, Limit{f.from, f.pass})
		} else if !f.listed {
			q.release(f)
		}
	}
	slices.SortFunc(q.limits, func(a, b Limit) int { return cmp.Compare(q.flows[b.From].offered, q.flows[a.From].offered) })
	for _, l := range q.limits[min(mostLimits, len(q.limits)):] {
		q.flows[l.From].pass = 1
	}
	q.limits = q.limits[:min(mostLimits, len(q.limits))]
	return q.limits
}

// pushed returns how many datagrams were pushed since the last Adjust.
func (q *Queue[O]) pushed() (total float64) {
	for _, f := range q.flows {
		total += float64(f.pushed)
	}
	return total
}

// level returns how many datagrams each origin may have pushed at most for all
// together to be no more than total.
func (q *Queue[O]) level(total float64) (level float64) {
	for rounds := 0; rounds < 8; rounds++ {
		// Those below the level are let in whole; the rest divide what is left.
		left, above := total, 0
		for _, f := range q.flows {
			if f.pushed > 0 && float64(f.pushed) <= level {
				left -= float64(f.pushed)
			} else if f.pushed > 0 {
				above++
			}
		}
		next := left / float64(max(1, above))
		if above == 0 || next <= level {
			break
		}
		level = next
	}
	return level
}

// Charge divides datagrams that the limits have kept out among the origins with
// limits, by how many of each that is likely to be. It is to be called before
// Adjust, and calls kept for each. It returns how many it could not divide,
// which is all or nothing.
func (q *Queue[O]) Charge(datagrams int, kept func(origin O, datagrams int)) (left int) {
	weight := func(f *flow[O]) float64 { return f.offered * (1 - f.pass) }
	total := 0.0
	for _, l := range q.limits {
		total += weight(q.flows[l.From])
	}
	if total == 0 {
		return datagrams
	}
	for _, l := range q.limits {
		f := q.flows[l.From]
		w := weight(f)
		part := int(float64(datagrams)*w/total + 0.5)
		total -= w
		datagrams -= part
		if part > 0 {
			kept(f.origin, part)
		}
	}
	return 0
}

// release forgets a flow that is empty and not listed.
func (q *Queue[O]) release(f *flow[O]) {
	delete(q.flows, f.from)
	if q.last == f {
		q.last = nil
	}
	*f = flow[O]{next: q.spare}
	q.spare = f
}
