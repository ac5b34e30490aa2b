package client

import (
	"math/rand/v2"
	"time"

	"udprelay/internal/proof"
)

const (
	// pace is what lies between two tries to be let in, give or take a half of
	// it at random, and doubled twice when they fail. A relay answers an
	// address a few times a second, and there may be many clients behind it.
	pace       = time.Second
	paceDouble = 2

	// secondHello is how soon, give or take a half, the first Hello is said
	// again: the answer to it may have gone to a payload that was under way.
	secondHello = 300 * time.Millisecond

	// askedFor is how long the relay's empty answer shows that it wants a
	// proof. After that it is asked again, for it may have changed its rules,
	// and an open relay must not get the texts of a proof.
	askedFor = 10 * time.Second

	// A relay says only that it did not let a client in. So the client waits
	// for that, three round trips within these bounds, after it has asked twice.
	leastSettle = 100 * time.Millisecond
	mostSettle  = time.Second

	// answerPause is in what time a relay that has answered too often has
	// another answer: a fifth of a second, and something for the way.
	answerPause = 250 * time.Millisecond

	// silentFor is how long a relay that is asked whether the client is in, and
	// that does not say no, has to be silent to mean yes.
	silentFor = 5 * time.Second

	// firstProbes is how often the first question is repeated: about 1, 3, 7
	// and 15 seconds later.
	firstProbes = 4

	// askAgain is what lies at least between two empty datagrams that something
	// that was received has made a client send, give or take a half of it at
	// random: a relay answers an address at even intervals, and a question that
	// always comes between two of them would never be answered.
	askAgain = time.Second

	// A client is shut out when the relay has refused so many proofs, or has
	// not let it in for so long. It goes on trying.
	shutOutProofs = 3
	shutOutAfter  = 10 * time.Second

	// refusedFresh is how long after a proof the relay's "prove yourself" says
	// something of that proof.
	refusedFresh = 5 * time.Second

	// What is sent first is kept for so long, for the relay may turn out not to
	// have taken it, and so much of it in bytes, with keptOverhead for each.
	keepFor      = 4 * time.Second
	keepBytes    = 256 << 10
	keptOverhead = 64
)

type state uint8

const (
	in       state = iota // as far as is known, what is sent is relayed
	waiting               // there is a connection, or will be: does the relay ask for a proof?
	doubting              // a cookie came that nobody asked for: is it still in? Payloads wait meanwhile
	asking                // it is not in, but the relay has to say so again before anything else
	greeting              // Hello has been sent, or will be at once
	proving               // the cookie is there, the proof has been sent or will be at once
)

// A joiner decides when a client says what, other than payloads, to its relay.
// It has no socket, no clock and no lock: a time is an argument.
//
// A relay may be open, and relays what it gets to everybody. So nothing but
// empty datagrams leaves before the relay has answered one with an empty one,
// which it does only to say: prove yourself. Relays do not relay empty
// datagrams. A cookie may be the text of another peer, so that it is good for a
// proof only after that.
//
// Empty datagrams do not leave between Hello and the proof, so that an answer
// to an earlier one, on a path that keeps the order, is not taken for the
// answer to the proof. Where the order was not kept, the question is asked
// again, a second later, before another proof is sent.
type joiner struct {
	// Never change.
	secret    []byte
	keepAlive time.Duration
	jitter    func(time.Duration) time.Duration

	state state
	next  time.Time // when the state has something to do; unused in state in
	step  int       // what it has done, from 0

	sentAt   time.Time // of the last datagram
	emptyAt  time.Time // of the last empty one
	soonest  time.Time // when another one may leave for what was received
	refusing bool      // nothing listens at the relay's address
	suspect  bool      // something may have happened at the relay: ask soon

	// The first empty datagram may get lost, or its answer, so that it is
	// repeated, in intervals that double, until something is heard.
	probing  bool // nothing has been heard, and it is early
	probes   int
	probedAt time.Time // when the next one is due

	asked     bool          // the relay has wanted a proof
	outSince  time.Time     // since when it is known not to be in
	since     time.Time     // when the state began
	roundTrip time.Duration // from Hello to the cookie
	cookie    string
	provedAt  time.Time // of the last proof
	refusals  int       // proofs in a row that the relay did not accept
	doubts    int       // in a row that were unfounded
	noDoubt   time.Time // until when no doubt holds payloads back
	shutOut   bool

	unconnected bool // in state waiting: there is no connection

	keepUntil time.Time // zero: payloads are not kept
	kept      [][]byte
	keptSize  int
	early     uint64 // payloads that the relay has not taken if it wants a proof, kept or not
	lost      uint64 // payloads that it has not taken, and that cannot be sent again
}

// newJoiner returns the joiner of a client that begins now.
func newJoiner(options Options, now time.Time) joiner {
	j := joiner{secret: options.Secret, keepAlive: options.KeepAlive, jitter: options.jitter, keepUntil: now.Add(keepFor)}
	if j.keepAlive <= 0 {
		j.keepAlive = DefaultKeepAlive
	}
	if j.jitter == nil {
		j.jitter = func(d time.Duration) time.Duration { return d/2 + rand.N(d) }
	}
	j.probe(now)
	return j
}

// A datagram is one to be sent.
type datagram struct {
	text    []byte
	payload bool // of the user's
}

// holds reports whether payloads have to wait.
func (j *joiner) holds() bool { return j.state != in }

// out reports whether the client is known not to be in.
func (j *joiner) out() bool { return j.state > doubting }

// enter changes the state, which has something to do at a time.
func (j *joiner) enter(s state, now, next time.Time) {
	j.state, j.step, j.since, j.next = s, 0, now, next
}

// probe begins to repeat the question whether the client is in.
func (j *joiner) probe(now time.Time) {
	j.probing, j.probes, j.probedAt = true, 0, now.Add(j.jitter(pace))
}

// backoff is the pause after so many tries before.
func (j *joiner) backoff(before int) time.Duration {
	return j.jitter(pace << min(max(before, 0), paceDouble))
}

// settle is how long after a question silence means that nobody says no.
func (j *joiner) settle() time.Duration {
	return min(max(3*j.roundTrip, leastSettle), mostSettle)
}

// heard takes a datagram of the relay's and reports whether it is for the user.
func (j *joiner) heard(payload []byte, now time.Time) bool {
	if len(payload) == 0 {
		j.toldToProve(now)
		return false
	}
	if cookie, ok := proof.Cookie(payload); ok {
		return j.heardCookie(cookie, now)
	}
	// Only who is in gets payloads. Reordered on the way, one may come late.
	switch {
	case j.state == greeting:
		j.enter(asking, now, now)
	case j.state == proving && j.step == prove:
	case j.out():
		j.enter(proving, now, now)
		j.step = proved
	case j.state == waiting:
		j.next = now
	default:
		j.state, j.probing, j.refusals = in, false, 0
		j.forget()
	}
	return true
}

// toldToProve takes the relay's empty answer.
func (j *joiner) toldToProve(now time.Time) {
	switch {
	case j.asked:
	case !j.probing:
		j.forget() // it is too late to know what the relay has taken
	case now.After(j.keepUntil):
		j.kept, j.keptSize = nil, 0
	}
	j.asked, j.probing, j.keepUntil = true, false, time.Time{}
	if j.state != greeting {
		j.roundTrip = min(now.Sub(j.emptyAt), mostSettle)
	}
	fresh := !j.provedAt.IsZero() && now.Sub(j.provedAt) < refusedFresh
	switch {
	case j.state == greeting, j.state == asking && j.step == 0, j.state == proving && j.step == 0:
		// The answer to an old question.
	case j.state == asking:
		j.enter(greeting, now, now)
	case j.state == proving || fresh:
		if j.state != proving {
			j.outSince = now
		}
		j.refusals++
		j.enter(asking, now, now.Add(j.backoff(j.refusals-1)))
	case j.state == waiting && j.refusals > 0:
		j.enter(greeting, now, now)
	default:
		j.outSince, j.refusals, j.doubts, j.noDoubt = now, 0, 0, time.Time{}
		j.enter(greeting, now, now)
	}
}

// heardCookie takes what may be a cookie and reports whether it is for the user.
func (j *joiner) heardCookie(cookie string, now time.Time) bool {
	switch {
	case j.state == greeting:
		j.cookie, j.roundTrip = cookie, max(j.roundTrip, now.Sub(j.since))
		j.enter(proving, now, now)
	case j.state != in:
		// The question is already there.
	case (j.asked || j.probing) && !now.Before(j.noDoubt):
		ask := now.Add(answerPause) // until then payloads took the answers
		if ask.Before(j.soonest) {
			j.suspect = true
			break
		}
		j.enter(doubting, now, ask)
	default:
		j.suspect = true
	}
	return !j.asked
}

// refused takes an answer of the relay's host: nothing listens there.
func (j *joiner) refused(now time.Time) {
	switch {
	case j.out():
		// A relay that comes back may have other rules.
		j.enter(asking, now, now.Add(pace))
	case j.state == doubting:
		j.state = in
	}
	j.refusing, j.suspect = true, true
}

// steps of state proving
const (
	prove = iota
	askOnce
	askTwice
	proved
)

// due returns what has to be sent by now, and when to call again.
func (j *joiner) due(now time.Time) (datagrams []datagram, again time.Time) {
	if !j.keepUntil.IsZero() && !now.Before(j.keepUntil) && !j.holds() {
		j.kept, j.keptSize, j.keepUntil = nil, 0, time.Time{}
	}
	if j.wanted() && !j.shutOut && (j.refusals >= shutOutProofs || now.Sub(j.outSince) >= shutOutAfter) {
		j.shutOut = true
		j.lost += j.early
		j.forget()
	}
	if j.holds() && !now.Before(j.next) {
		datagrams = j.act(now)
	}
	if !j.holds() && !now.Before(j.keepAliveDue()) {
		datagrams = append(datagrams, datagram{})
		j.asks(now)
	}
	if len(datagrams) > 0 {
		j.sentAt = now
	}
	again = j.next
	if !j.holds() {
		again = j.keepAliveDue()
		if !j.keepUntil.IsZero() && j.keepUntil.Before(again) {
			again = j.keepUntil
		}
	}
	if shut := j.outSince.Add(shutOutAfter); j.wanted() && !j.shutOut && shut.Before(again) {
		again = shut
	}
	return datagrams, again
}

// act does what the state has to do.
func (j *joiner) act(now time.Time) []datagram {
	ask := []datagram{{}}
	switch j.state {
	case waiting:
		if j.unconnected {
			j.next = now.Add(shutOutAfter)
			return nil
		}
		j.refusals = 0
		return j.letIn(now)
	case doubting:
		if j.step == 1 {
			j.doubts++
			j.noDoubt = now.Add(pace << min(j.doubts, paceDouble))
			j.state = in
			return nil
		}
		j.next = now.Add(j.settle())
	case asking:
		if j.step == 0 {
			j.since = now
		}
		if now.Sub(j.since) >= silentFor {
			return j.letIn(now)
		}
		j.next = now.Add(j.backoff(j.step))
		if last := j.since.Add(silentFor); last.Before(j.next) {
			j.next = last
		}
	case greeting:
		if now.Sub(j.since) >= askedFor {
			j.enter(asking, now, now)
			return j.act(now)
		}
		j.next = now.Add(j.backoff(j.step - 1))
		if j.step == 0 {
			j.next = now.Add(j.jitter(secondHello))
		}
		j.step++
		return []datagram{{text: []byte(proof.Hello)}}
	case proving:
		switch j.step {
		case prove:
			ask = []datagram{{text: proof.Join(j.cookie, j.secret)}, {}}
			j.provedAt = now
			j.next = now.Add(max(j.settle(), answerPause)) // a refused proof, too, took an answer
		case askOnce:
			j.next = now.Add(j.settle())
		default:
			return j.letIn(now)
		}
	}
	j.step++
	j.asks(now)
	return ask
}

// letIn goes on as one that is in, with the payloads that the relay did not
// take.
func (j *joiner) letIn(now time.Time) (payloads []datagram) {
	for _, payload := range j.kept {
		payloads = append(payloads, datagram{payload, true})
	}
	j.lost += j.early - uint64(len(j.kept))
	j.forget()
	j.state, j.shutOut = in, false
	j.probe(now)
	return payloads
}

// asks notes that an empty datagram leaves.
func (j *joiner) asks(now time.Time) {
	j.emptyAt, j.suspect, j.refusing = now, false, false
	j.soonest = now.Add(j.jitter(askAgain))
	if !j.probing || now.Before(j.probedAt) {
		return
	}
	j.probes++
	j.probing = j.probes < firstProbes
	j.probedAt = now.Add(j.jitter(pace << j.probes))
}

// keepAliveDue returns when an empty datagram has to leave, in state in.
func (j *joiner) keepAliveDue() time.Time {
	interval := j.keepAlive
	if j.refusing {
		interval = min(interval, refusedRetry)
	}
	due := j.sentAt.Add(interval)
	sooner := func(t time.Time) {
		if t.Before(due) {
			due = t
		}
	}
	if j.suspect {
		sooner(j.soonest)
	}
	if j.probing {
		sooner(j.probedAt)
	}
	if j.asked {
		// The relay may have forgotten a busy client whose payloads are too
		// short to be answered.
		sooner(j.emptyAt.Add(j.keepAlive))
	}
	return due
}
