package client

import "time"

// reachTimes are the intervals of a reach.
type reachTimes struct {
	// A client that gets only errors looks its relay up again after
	// renewAfter, and then after twice as long each time, up to mostRenew. The
	// interval does not grow where nothing listens: that costs no place at a
	// relay.
	renewAfter, mostRenew time.Duration

	// An outage is over when no error has come for overAfter, or for
	// overHeard if a datagram has come since. Linux takes three seconds to
	// find out that a neighbor does not answer.
	overAfter, overHeard time.Duration

	// leastSilence is how long silence has to last at least to count.
	leastSilence time.Duration
}

var usualTimes = reachTimes{10 * time.Second, time.Minute, 10 * time.Second, 3500 * time.Millisecond, 30 * time.Second}

const (
	// Silence counts only where at least regular datagrams have come, and
	// only when it lasts for silentKeepAlives keep-alives and silentPauses times
	// the usual pause between two datagrams. Each time that a new port does not
	// end it, it has to last twice as long.
	regular          = 8
	silentKeepAlives = 3
	silentPauses     = 8
	mostDoublings    = 20
)

// Reach is what a client knows about the way to its relay. It is the zero value
// for a relay that is reached by a connection, see Client.Lost.
type Reach struct {
	Problem error  // the last error of the system or the network; nil: there was none
	At      string // Client.Relay when it came; later the client may have looked the relay up again
	Failing bool   // Problem has come lately
	Silent  bool   // datagrams came regularly before, and none for so long that the client has joined again
}

// A reach decides when a client of UDP has to look its relay up again and take
// another port. It has no socket, no clock and no lock: a time is an argument.
//
// UDP has no answers, and in a room where nobody speaks silence is normal. A new
// port is a new peer: it takes a place at the relay until the old one expires.
// So silence alone makes a client take another port only where datagrams came
// regularly before, and ever less often.
type reach struct {
	Reach

	// Never change.
	times     reachTimes
	keepAlive time.Duration

	since    time.Time     // since when nothing came but errors
	failedAt time.Time     // of the last error
	heardAt  time.Time     // of the last datagram
	count    int           // of datagrams, up to regular
	pause    time.Duration // the longest between two datagrams lately
	tries    int
	triedAt  time.Time
}

// heard notes that a datagram came.
func (r *reach) heard(now time.Time) {
	if r.count > 0 {
		r.pause = max(now.Sub(r.heardAt), r.pause-r.pause/8)
	}
	r.count = min(r.count+1, regular)
	r.heardAt, r.since, r.tries, r.Silent = now, now, 0, false
}

// failed notes an error of the system or the network.
func (r *reach) failed(err error, now time.Time) {
	if !r.Failing {
		r.since, r.tries = now, 0
	}
	r.Failing, r.Problem, r.failedAt = true, err, now
}

// due reports whether the client has to look its relay up by now, and when to
// call again; a zero time: only after heard or failed. If it need not take
// another port as long as the address is the same, samePort is true: an answer
// has come back through any NAT, and says that the host is there.
func (r *reach) due(now time.Time) (look, samePort bool, again time.Time) {
	if r.Failing {
		over := r.failedAt.Add(r.times.overAfter)
		if r.heardAt.After(r.failedAt) {
			over = r.failedAt.Add(r.times.overHeard)
		}
		if now.Before(over) {
			samePort = isRefused(r.Problem)
			pause := r.times.renewAfter
			if !samePort {
				pause = min(pause<<min(r.tries, mostDoublings), r.times.mostRenew)
			}
			look, again = r.try(r.since, pause, now)
			if over.Before(again) {
				again = over
			}
			return look, samePort, again
		}
		r.Failing, r.tries = false, 0
	}
	if r.count < regular {
		return false, false, time.Time{}
	}
	limit := max(silentKeepAlives*r.keepAlive, silentPauses*r.pause, r.times.leastSilence) << min(r.tries, mostDoublings)
	since := r.heardAt
	if r.failedAt.After(since) {
		since = r.failedAt
	}
	look, again = r.try(since, limit, now)
	r.Silent = r.Silent || look
	return look, false, again
}

// try reports whether it is time to look, so long after since and after the last
// try, and when it will be.
func (r *reach) try(since time.Time, after time.Duration, now time.Time) (look bool, again time.Time) {
	if r.tries > 0 && r.triedAt.After(since) {
		since = r.triedAt
	}
	if again = since.Add(after); now.Before(again) {
		return false, again
	}
	r.tries++
	r.triedAt = now
	return true, now.Add(after)
}
