package storm

import "slices"

// A circlingTrial decides about peers that bring the same payloads again and
// again, of which few or none are new.
//
// It picks one of these payloads at random and counts for a while how often
// each suspect brings it, and how often all others. Then that payload is
// withheld from everyone. From a peer that returns what it is given it comes no
// more, when what was under way has come, while the others come as before. A
// peer that goes on to bring it produces it.
//
// A peer might stop that payload just then for a reason of its own, such as a
// state that changes, or because another relay has a trial at the same time. So
// some of the other payloads are controls: most of them must go on to come. And
// a second trial must confirm the verdict.
//
// If there is but one payload, all of it is withheld, so that this part takes
// some hundredths of a second only, and there are no controls. Then the peer
// must not bring more of anything else instead. There is no second trial if the
// payload comes from nobody any more, but a peer is acquitted if it is the one
// that brings it again, which it was not given.
//
// The times of a trial are those in which something comes: while nothing does,
// because this program or the senders stand still, nothing can be missed.
type circlingTrial struct {
	on    bool
	nonce uint64

	phase    phase
	since    int64 // when the phase began
	random   int64 // part of the time that is counted: two relays should not begin at the same time
	counted  int64 // how long it was counted
	held     int64 // when the payload was first withheld
	heldAt   int64 // the same by the clock
	measured int64 // from when on it is counted what still comes

	controls [8]control // other payloads, which are relayed all the time
	used     int        // of these

	passed int64 // when a suspect last brought another payload than the one that is picked

	picked  uint64 // the payload, by hash
	seen    uint64 // repeats that it was picked from
	came    int64  // when it last came
	gap     int64  // the longest time between two
	its     uint64 // repeats of the suspects that are of it, before it was withheld
	all     uint64 // repeats of the suspects, in the same time
	most    uint64 // of the suspect that brought it most often
	others  uint64 // what else the suspects have brought since it is withheld
	survive bool   // it came, from any origin, in the time measured
	emptied bool   // nothing has waited to be received, for a moment, since it is withheld
	flushed bool   // the same since what was under way may have come
}

// A control is a payload that suspects bring.
type control struct {
	hash   uint64
	before uint64 // how often, before the other was withheld
	after  uint64 // and since then
	came   int64  // when, last

	lastBefore int64 // when, last, before the other was withheld
}

type phase uint8

const (
	picking   phase = iota // a payload
	counting               // how often each suspect brings it
	ready                  // it is withheld when it comes next
	withheld               // what is under way may come
	measuring              // what still comes
)

const (
	pickTime   = int64(50e6)
	pickFrom   = 32 // repeats are enough to pick one
	countTime  = int64(100e6)
	randomTime = int64(300e6)
	countLimit = int64(1500e6)

	leastBefore  = 2 // times that a suspect must have brought the payload
	enoughBefore = 4 // times that one should have
	leastCount   = 6 // times that it must be missing, to cut a peer

	fewControls = 4 // are not enough to tell that a suspect brings something else instead

	justBefore = int64(30e6) // the payload was withheld, others came that take its place
	atOnceTime = int64(2e6)  // and twice the longest time between two, after which it is missed at once

	measureTime = int64(10e6) // to clear a peer, at least
	missingTime = int64(30e6) // to cut one, at least
	tooLong     = 4           // times as long, if the controls are missing, too

	// What is withheld is no more than so much time of all repeats.
	mostWithheld = int64(90e6)
	longestHold  = int64(6e9)
	mostAlone    = int64(70e6) // while the suspects bring nothing else
	mostLate     = 2           // times as long, if this program has stood still

	// While there is more to receive than this program can, it may take so long until
	// what waits has come. Then there is a pause of so many times as long.
	mostQueued   = int64(1e9)
	crowdedPause = 20
)

// CirclingCounts are repeats that a suspect has brought: of the payload that is
// picked, and of all others, before it was withheld and in the time measured.
type circlingCounts struct {
	before, othersBefore, after, othersAfter uint64

	last   int64  // when it last brought the payload since that is withheld; 0: not at all
	others uint64 // what it has brought since then
}

// expected returns how often the suspect should have brought the payload in a
// time in which it has brought so many others.
func (c *circlingCounts) expected(time int64, others uint64, counted int64) float64 {
	n := float64(c.before) * float64(time) / float64(counted)
	if c.othersBefore >= leastCount {
		n = min(n, float64(c.before)*float64(others)/float64(c.othersBefore))
	}
	return n
}

// other notes that a suspect brings another payload than the one that is picked.
func (t *circlingTrial) other(a *account, now int64) {
	if t.on && a.trial == circling && t.phase > picking {
		a.circling.count(t.phase, false, now)
		t.passed = now
		if t.phase >= withheld {
			t.others++
		}
	}
}

func (t *circlingTrial) begin(w *Watch) {
	*t = circlingTrial{on: true, nonce: w.draw(), since: w.active, random: int64(w.draw() % uint64(randomTime))}
}

// note notes a payload that comes again, and reports whether it is withheld. A
// is the account of its origin, or nil.
func (t *circlingTrial) note(hash uint64, a *account, w *Watch) (withhold bool) {
	suspected := a != nil && a.trial == circling
	if t.phase == picking {
		if suspected {
			t.seen++
			if mix(t.seen, t.nonce)%t.seen == 0 {
				t.picked = hash
			}
		}
		return false
	}
	picked := hash == t.picked
	if picked {
		if t.phase <= ready {
			t.gap = max(t.gap, w.active-t.came)
		}
		t.came = w.active
		if t.phase == ready {
			t.phase, t.held, t.heldAt = withheld, w.active, w.now
			t.counted = w.active - t.since
			t.measured = w.active + t.flight()
		}
		t.survive = t.survive || t.phase == measuring
	}
	if suspected {
		if picked {
			a.circling.count(t.phase, true, w.active)
		} else {
			t.control(hash, w.active)
		}
		if t.phase <= ready {
			t.all++
			if picked {
				t.its++
				t.most = max(t.most, a.circling.before)
			}
		}
	}
	return picked && t.phase >= withheld
}

// control counts a payload that may be a control.
func (t *circlingTrial) control(hash uint64, now int64) {
	i := slices.IndexFunc(t.controls[:t.used], func(o control) bool { return o.hash == hash })
	if i < 0 {
		if t.phase != counting || t.used == len(t.controls) {
			return
		}
		i = t.used
		t.used++
		t.controls[i].hash = hash
	}
	o := &t.controls[i]
	o.came = now
	if t.phase <= ready {
		o.before++
		o.lastBefore = now
	} else {
		o.after++
	}
}

// missed reports whether the payload is missing because it was withheld: most of
// the controls still come, all in all as often as before or nearly, and nothing
// comes instead. If the suspect stops it for a reason of its own, it brings
// something else instead, or stops others, too.
func (t *circlingTrial) missed(c *circlingCounts, now, missing int64) bool {
	if t.crowded(c, missing) {
		return true
	}
	all, came := 0, 0
	var before, after uint64
	for _, o := range t.controls[:t.used] {
		if o.before*4 < t.its {
			continue
		}
		all++
		before, after = before+o.before, after+o.after
		if o.came > now-missing/2 {
			came++
		}
	}
	part := float64(missing) / float64(t.counted)
	if all < fewControls && float64(c.others) > (float64(c.othersBefore)+float64(c.before)/2)*part {
		return false
	}
	return came*4 >= all*3 && goesOn(after, before, now-t.held, t.counted)
}

// crowded reports whether there is as much as this program can relay all the
// time, so that others take the place of the payload that is missing, and did so
// at once. In a loop these came just before, too, and all of them come more
// often. If a suspect stops the payload for a reason of its own, it brings others
// instead that did not.
func (t *circlingTrial) crowded(c *circlingCounts, missing int64) bool {
	var before, after uint64
	for _, o := range t.controls[:t.used] {
		if o.lastBefore > t.held-justBefore {
			before, after = before+o.before, after+o.after
		}
	}
	fast := float64(t.all)*float64(window) >= fastRate*float64(t.counted)
	atOnce := t.came-t.held <= 2*t.gap+atOnceTime
	grow := before > 0 && 4*after*(t.all-t.its) >= 3*before*t.others
	return (!t.emptied || fast && atOnce) && grow && goesOn(c.others, c.before+c.othersBefore, missing, t.counted)
}

// goesOn reports whether what came so often before has come as often in the time
// since, or nearly.
func goesOn(after, before uint64, since, counted int64) bool {
	return float64(after)*3*float64(counted) >= float64(before)*2*float64(since)
}

func (c *circlingCounts) count(p phase, picked bool, now int64) {
	switch {
	case p <= ready && picked:
		c.before++
	case p <= ready:
		c.othersBefore++
	case picked:
		c.last, c.others = now, 0
		if p == measuring {
			c.after++
		}
	default:
		c.others++
		if p == measuring {
			c.othersAfter++
		}
	}
}

// alone reports whether the payload is most of what the suspects bring.
func (t *circlingTrial) alone() bool { return t.its*2 > t.all }

// hold returns how long the payload is withheld at most: the more it is of what
// comes, the shorter.
func (t *circlingTrial) hold() int64 {
	return min(longestHold, int64(float64(mostWithheld)*float64(max(t.all, 1))/float64(max(t.its, 1))))
}

// flight returns how long what is under way may take, which is not counted.
func (t *circlingTrial) flight() int64 {
	if t.alone() {
		return t.hold() / 5
	}
	return t.hold() / 3
}

// flush takes note that nothing more waits to be received. If the payload should
// not come any more, it is counted from now on whether it does.
func (t *circlingTrial) flush(w *Watch) {
	t.emptied = t.emptied || t.phase >= withheld
	if t.phase != measuring || t.flushed {
		return
	}
	t.flushed, t.measured, t.survive = true, max(t.measured, w.active), false
	for _, a := range w.accounts {
		a.circling.after, a.circling.othersAfter = 0, 0
	}
}

// asksEmptied reports whether it makes a difference that what waited has been
// received.
func (t *circlingTrial) asksEmptied() bool { return t.on && t.phase >= withheld }

// step goes on to the next phase if it is time.
func (t *circlingTrial) step(w *Watch) {
	switch lasted := w.active - t.since; {
	case t.phase == picking && (t.seen >= pickFrom || lasted >= pickTime && t.seen > 0):
		t.phase, t.since, t.came = counting, w.active, w.active
	case t.phase == counting && lasted >= countTime+t.random && t.most >= enoughBefore:
		t.phase = ready
	case t.phase == counting && lasted >= countLimit && t.most >= leastBefore:
		t.phase = ready
	case t.phase <= counting && lasted >= countLimit, t.phase == ready && lasted >= 2*countLimit:
		t.end(w)
	case t.phase == withheld && w.active >= t.measured:
		t.phase = measuring
	}
}

// judge decides what can be decided: which peers are cleared and, if all has been
// noted that has come, also which are convicted. Of a peer that brings other
// repeats, too, these show how much of what it sends has been noted.
func (t *circlingTrial) judge(w *Watch, complete bool) {
	if t.phase < withheld {
		return
	}
	span, left := w.active-t.measured, false
	for _, a := range w.accounts {
		c := &a.circling
		if a.trial != circling || c.before < leastBefore {
			continue
		}
		expected := 0.0
		if t.phase == measuring {
			expected = c.expected(span, c.othersAfter, t.counted)
		}
		missing := w.active - max(c.last, t.held)
		certain := 0.0 // 1 is enough
		if complete && t.flushed || c.othersBefore >= leastCount {
			certain = min(float64(missing)/float64(max(missingTime, 2*t.gap)), c.expected(missing, c.others, t.counted)/leastCount)
		}
		switch {
		case t.flushed && span >= measureTime && expected >= 0.5 && float64(c.after) >= max(1, expected/2):
			w.clear(a)
		case certain >= 1 && t.missed(c, w.active, missing):
			t.convict(w, a, missing)
		case certain >= tooLong && !t.alone(): // others stopped, too: nothing is shown by going on
		default:
			left = left || a.repeatRate >= suspectRate // it does not wait for others that take part
		}
	}
	if !left || t.over(w.active, complete) {
		t.end(w)
	}
}

// over reports whether the payload has been withheld for long enough. What waits
// to be received may be nothing but that payload: this must come to an end first.
func (t *circlingTrial) over(now int64, complete bool) bool {
	lasted, span, hold := now-t.held, now-t.measured, t.hold()
	over := lasted >= hold || t.came-max(t.held, t.passed) >= mostAlone
	switch {
	case t.flushed:
		return over && complete && span >= missingTime || span >= mostLate*hold
	case t.alone():
		return lasted >= mostQueued || over && now-t.came >= 2*missingTime
	}
	return over
}

// convict cuts the peer, or has a second trial confirm it.
func (t *circlingTrial) convict(w *Watch, a *account, missing int64) {
	if (!t.alone() || t.survive || t.crowded(&a.circling, missing)) && a.strikes == 0 {
		a.strikes++
		a.trial, a.standing = none, watched
		return
	}
	a.lag = t.gap
	w.cut(a)
	if t.alone() && t.emptied {
		a.appeal = appeal{t.picked, t.heldAt}
	}
}

func (t *circlingTrial) end(w *Watch) {
	t.on = false
	for _, a := range w.accounts {
		if a.trial == circling {
			w.postpone(a)
			if t.phase >= withheld && !t.emptied { // it may have taken long
				a.notBefore = max(a.notBefore, w.now+crowdedPause*(t.came-t.held)*int64(t.its)/int64(t.all))
			}
		}
	}
}
