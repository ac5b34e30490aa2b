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

	// stock is for how long an origin with a limit has enough waiting, so that it
	// gets all of its share.
	stock = 4 * AdjustEvery

	// leastPass is the smallest part that is let in.
	leastPass = 1.0 / 4096

	// smoothing is how much the last interval counts for what an origin sends:
	// of one of which little is let in, a single interval says little.
	smoothing = 0.25

	// mostLimits is how many origins are limited at a time.
	mostLimits = 32
)

// A Limit says which part of an origin's datagrams is to be let in: with port 0,
// of all from its address.
type Limit struct {
	From netip.AddrPort
	Pass float64 // above 0 and below 1
}

// AdjustEvery is how often Adjust is to be called, or somewhat less often.
const AdjustEvery = 50 * time.Millisecond

// Outside is the place where datagrams wait until they can be pushed.
type Outside struct {
	Used     float64 // which part of its room is in use, 0 to 1
	Overflow bool    // datagrams were lost there, not counting those that the limits have kept out
}

// Adjust returns the limits for the time until the next call, from what has
// happened since the last one, so long ago. It is to be called also when the queue
// is empty, until there are no limits any more. The limits are valid until the
// next call.
func (q *Queue[O]) Adjust(since time.Duration, outside Outside) []Limit {
	seconds := max(since, time.Millisecond).Seconds()
	pushed, waiting := q.averages()
	// More waits than there is room for outside: without a queue it were lost.
	full := float64(q.used)/float64(len(q.cells)-1)+outside.Used >= 1
	q.limits = q.limits[:0]
	for _, f := range q.flows {
		offered, sent := float64(f.pushed+f.keptOut)/seconds, float64(f.sent)/seconds
		limited := f.pass < 1
		if limited {
			offered = (1-smoothing)*f.offered + smoothing*offered
			sent = (1-smoothing)*f.rate + smoothing*sent
		}
		f.offered, f.rate = offered, sent
		excess := f.lost > 0 || full && float64(f.count) > waiting/2
		if offered > 0 && f.count > 0 && (limited || excess) {
			// As much as is sent, and more or less so that as much waits as is sent
			// within stock.
			f.pass = max(sent/4, sent+(sent-float64(f.count)/stock.Seconds())/2) / offered
		} else {
			f.pass *= growth
		}
		if outside.Overflow && float64(f.pushed) > far*pushed {
			f.pass = min(f.pass, pushed/2/seconds/offered)
		}
		if f.pass = min(1, max(f.pass, leastPass)); !limited {
			f.unpassed = offered * seconds * (1 - f.pass)
		}
		if f.pushed, f.keptOut, f.sent, f.lost = 0, 0, 0, 0; f.pass < 1 {
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

// far is how many times as much as the average an origin has to push to be held
// responsible for an overflow.
const far = 1.5

// averages returns how many datagrams origins have pushed on average, and how
// many wait, not counting origins without any.
func (q *Queue[O]) averages() (pushed, waiting float64) {
	pushing, having := 0, 0
	for _, f := range q.flows {
		if f.pushed > 0 {
			pushed += float64(f.pushed)
			pushing++
		}
		if f.count > 0 {
			waiting += float64(f.count)
			having++
		}
	}
	return pushed / float64(max(1, pushing)), waiting / float64(max(1, having))
}

// Charge divides datagrams that the limits have kept out among the origins with
// limits, by how many of each that is likely to be, and calls kept for each. It is
// to be called before Adjust. It returns how many it could not divide, which is
// all or nothing.
func (q *Queue[O]) Charge(datagrams int, kept func(origin O, datagrams int)) (left int) {
	total := 0.0
	for _, l := range q.limits {
		f := q.flows[l.From]
		f.unpassed = (1-smoothing)*f.unpassed + smoothing*float64(f.pushed)*(1/f.pass-1)
		total += f.unpassed
	}
	if total == 0 {
		return datagrams
	}
	for _, l := range q.limits {
		f := q.flows[l.From]
		part := int(float64(datagrams)*f.unpassed/total + 0.5)
		total -= f.unpassed
		datagrams -= part
		if f.keptOut = part; part > 0 {
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
