package storm

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"udprelay/peers"
)

const (
	window = int64(100e6)

	suspectRate    = 4.0 // repeats per window: some 50 per second, for a while
	suspectWindows = 3   // of the last ten must have some
	openRate       = 2   // repeats in a window, for an account
	againTicks     = 4   // in which a payload must have come, some 50 ms, to be one that comes again

	// Where there are so many new payloads per window, a peer that brings less
	// than a part in leastReturned of them does not return what it gets, unless
	// its repeats outnumber them by mostRepeats.
	someNew       = 2.0
	manyNew       = 5.0 // are enough for a sampled trial
	leastReturned = 8
	mostRepeats   = 10

	// A payload passes again after so long, or more if the loop takes longer,
	// though the peer that brings it is cut: of another origin, of its own.
	othersAgain = int64(2e9)
	ownAgain    = int64(500e6)

	firstQuiet = int64(2e9)
	longestCut = int64(60e9)
	memory     = int64(600e9)
	growth     = 2 // of the repeats of a peer that was cleared, to suspect it again

	leastPause = int64(5e6)   // in which many datagrams may have come
	mostPause  = int64(50e6)  // that counts as one, see Watch.active
	judgeEvery = int64(2e6)   // in a trial
	firstPause = int64(250e6) // after a trial that could not decide; then four times as long each time, up to 16 s
	fastRate   = 200.0        // repeats per window do so much harm if it is a loop that a pause is 1 s at most

	maxAccounts = 1024
)

// A Verdict says what to do with a datagram.
type Verdict uint8

const (
	Pass     Verdict = iota
	Returned         // drop it: its origin is cut, and returns what it was given
	Withheld         // drop it: it is in the sample of a trial
)

// A Kind says what an [Event] is about.
type Kind uint8

const (
	Suspected Kind = iota // a trial is to find out whether the peer returns what it is given
	Cut                   // what it returns is dropped
	Cleared               // it produces what it repeats
	Released              // it is not cut any more
	Talking               // it and Other answer each other, see Talk
)

// String returns the kind in a word.
func (k Kind) String() string {
	return [...]string{"suspected", "cut", "cleared", "released", "talking"}[k]
}

// An Event is a change for one peer.
type Event struct {
	Kind   Kind
	Number uint64 // of the peer
	Addr   netip.AddrPort
	Other  netip.AddrPort // Talking

	Rate    uint64        // repeats per second; Talking: datagrams per second of each of the two
	Dropped uint64        // Released: datagrams
	For     time.Duration // Released: how long it was cut
}

type trialKind uint8

const (
	none trialKind = iota
	sampled
	circling
	trialKinds
)

// A Watch looks at the datagrams that a relay receives. Any goroutine may call
// its methods; but from Begin to End others wait.
type Watch struct {
	asks atomic.Bool // see AsksEmptied

	mu     sync.Mutex // guards what follows
	now    int64
	mark   uint8 // now, as the table marks other origins
	active int64 // time in which something came: pauses count as mostPause

	emptied bool // nothing waits to be received after this batch

	// After this batch all has been noted that has come. This program may have stood
	// still meanwhile.
	complete bool
	paused   int64 // when a pause last ended
	noted    int64 // when a datagram last came

	seen seen

	windowEnd int64 // 0: there was no window yet

	repeats, news sketch // in this window, of peers without an account
	counted       bool   // they have counted something
	clean         uint32 // payloads in this window that nobody had brought, from origins without repeats
	cleanRate     float64
	cleanBusy     uint16 // as of an account

	linkRepeats    uint32 // in this window
	linkRepeatRate float64

	accounts []*account // in ascending order of number
	free     []*account // those that no peer has
	last     *account   // the one that was found last, or nil
	full     bool       // no account can be opened in this window
	cuts     int        // accounts that are cut
	random   *rand.Rand

	judged   int64 // when, in active time, what trials have shown was last looked at
	sampled  sampledTrial
	circling circlingTrial
	talks    talks

	events []Event
}

// New returns a watch that has seen nothing.
func New() *Watch { return newWatch(rand.Uint64()) }

func newWatch(seed uint64) *Watch {
	w := &Watch{random: rand.New(rand.NewPCG(seed, 0)), accounts: make([]*account, 0, maxAccounts), free: make([]*account, maxAccounts)}
	pool := make([]account, maxAccounts) // takes memory only where it is used
	for i := range pool {
		w.free[maxAccounts-1-i] = &pool[i]
	}
	return w
}

func (w *Watch) draw() uint64 { return w.random.Uint64() }

// Begin begins a batch at the time now, in nanoseconds from any moment. The
// caller calls Note for each datagram, in order, and then End. Emptied says
// that nothing more waited to be received after the batch: what others have
// sent before is in it, or in batches before it.
func (w *Watch) Begin(now int64, emptied bool) {
	w.mu.Lock()
	w.advance(now, emptied)
}

// AsksEmptied reports whether it makes a difference at the moment what the next
// call of Begin is told by emptied: to find that out may cost a system call.
func (w *Watch) AsksEmptied() bool { return w.asks.Load() }

// Note notes a datagram whose payload has that hash, and says what to do with
// it. The hash should depend on a secret (see hash/maphash), or it could be
// known which payloads look alike. Origin is nil if a link brought it.
func (w *Watch) Note(hash uint64, origin *peers.Peer) Verdict {
	w.noted = w.now
	var number uint64
	if origin != nil {
		number = origin.Number()
	}
	s, known := w.seen.find(hash, w.now)
	if !known {
		s.first = uint32(number)
		clean := w.noteNew(origin)
		if clean {
			s.ticks |= fromClean
		}
		if w.sampled.on && clean && w.sampled.take(hash, number, w.now) {
			return Withheld
		}
		s.passed = unitAt(w.now)
		return Pass
	}
	own := s.first == uint32(number)
	repeat := !own
	if own {
		repeat = s.mixed(w.mark)
	} else {
		s.other = w.mark
	}
	var a *account
	if origin != nil && len(w.accounts) > 0 {
		a = w.find(number)
	}
	if origin == nil {
		w.linkRepeats++
	} else if repeat {
		a = w.count(a, origin, s.again(own), s.ticks&fromClean != 0)
	}
	if a != nil && hash != w.circling.picked {
		w.circling.other(a, w.active)
	}
	if w.sampled.on && w.sampled.note(hash, a, w.now) {
		return Withheld
	}
	if a != nil && a.standing == isCut {
		if a.appeal.held > 0 && a.appeal.payload == hash && !s.passedWithin(w.now-a.appeal.held, w.now) {
			w.acquit(hash)
		} else if a.returns(s, own, w.now) {
			a.dropped++
			if repeat {
				a.unquiet = w.now
			}
			return Returned
		}
	}
	if repeat && w.circling.on && s.again(own) && w.circling.note(hash, a, w) {
		return Withheld
	}
	s.passed = unitAt(w.now)
	return Pass
}

// noteNew notes a payload that has not come before. It reports
// whether its origin brings no repeats.
func (w *Watch) noteNew(origin *peers.Peer) (clean bool) {
	if origin == nil {
		return w.linkRepeatRate < 1
	}
	var a *account
	if len(w.accounts) > 0 {
		a = w.find(origin.Number())
	}
	if a == nil {
		w.counted = true
		if w.news.count(origin) >= talking {
			a = w.open(origin, 0)
		}
	}
	if a != nil {
		a.fresh++
		w.circling.other(a, w.active)
	}
	if clean = a.clean(); clean {
		w.clean++
	}
	return clean
}

// count counts a repeat of origin, whose account is a or nil, and returns the
// account, if there is one now: there is for a peer that shares so many repeats
// in this window with at most a few others.
func (w *Watch) count(a *account, origin *peers.Peer, again, returned bool) *account {
	if a == nil {
		n := w.repeats.count(origin)
		w.counted = true
		if n < openRate {
			return nil
		}
		if a = w.open(origin, n); a == nil {
			return nil
		}
		a.repeats, a.again = n-1, n-1
	}
	a.repeats++
	switch {
	case again:
		a.again++
	case returned:
		a.returned++
	}
	return a
}

// End ends the batch and returns what has happened since the last call of End
// or Tick.
func (w *Watch) End() []Event {
	if w.emptied && w.circling.on {
		w.circling.flush(w)
	}
	silent := w.complete && w.now-w.noted >= 2*window // also just after a Tick, which has not seen that
	if (w.sampled.on || w.circling.on) && (silent || w.active-w.judged >= judgeEvery) {
		w.judged = w.active
		if w.sampled.on {
			w.sampled.judge(w)
		}
		if w.circling.on {
			w.circling.judge(w, w.complete)
		}
	}
	events := w.events
	w.events = nil
	w.mu.Unlock()
	return events
}

// Tick does what is due also if nothing comes, and returns what has happened.
// It should be called several times per second.
func (w *Watch) Tick(now int64) []Event {
	w.Begin(now, false)
	return w.End()
}

// advance goes on to the time now and closes the windows that have ended.
func (w *Watch) advance(now int64, emptied bool) {
	if w.windowEnd == 0 {
		w.now, w.windowEnd = now, now+window
	}
	now = max(now, w.now) // batches of several goroutines may overtake each other
	w.active += min(now-w.now, mostPause)
	if now-w.now > leastPause {
		w.paused = now
	}
	w.now = now
	w.emptied = emptied
	w.complete = emptied || now-w.paused >= missingTime
	w.mark = markAt(w.now)
	if w.circling.on {
		w.circling.step(w)
		w.circling.judge(w, false)
		if asks := w.circling.asksEmptied(); asks != w.asks.Load() {
			w.asks.Store(asks)
		}
	}
	if w.now < w.windowEnd {
		return
	}
	missed := (w.now - w.windowEnd) / window
	w.windowEnd += (missed + 1) * window
	if w.counted {
		clear(w.repeats[:])
		clear(w.news[:])
		w.counted = false
	}
	w.full = false
	average(&w.cleanRate, w.clean, missed)
	w.cleanBusy = busy(w.cleanBusy, w.clean, missed)
	average(&w.linkRepeatRate, w.linkRepeats, missed)
	w.clean, w.linkRepeats = 0, 0
	w.talks.closeWindow(w, missed)
	for _, a := range w.accounts {
		a.closeWindow(missed)
	}
	w.tryAll()
	w.releaseAll()
	w.closeIdle()
}

// tryAll begins the trials for peers that bring too many repeats. All others
// that bring repeats take part in a trial that begins, so that it serves for
// them, too.
func (w *Watch) tryAll() {
	var begin [trialKinds]bool
	for _, a := range w.accounts {
		if a.suspicious(w.now) {
			begin[w.trialFor(a)] = true
		}
	}
	if begin[sampled] {
		if !w.sampled.on {
			w.sampled.begin(w)
		}
		w.enroll(sampled) // also later: what each peer brings of the sample is noted of all
	}
	if begin[circling] && !w.circling.on {
		w.circling.begin(w)
		w.enroll(circling)
	}
}

func (w *Watch) enroll(kind trialKind) {
	for _, a := range w.accounts {
		if a.standing == watched && w.now >= a.notBefore && a.overdue(w.now) && a.repeatRate >= 1 && w.trialFor(a) == kind {
			w.try(a, kind)
		}
	}
}

// trialFor returns the kind of trial that can decide about a peer that brings
// repeats, or none if it is clear without one: because it does not return the
// new payloads of others, or because it brings each payload once, as one of
// several receivers of the same source.
func (w *Watch) trialFor(a *account) trialKind {
	if w.cleanRate >= someNew && sustained(w.cleanBusy) {
		returns := a.returnedRate >= w.cleanRate/leastReturned && sustained(a.returnedBusy)
		if returns && w.cleanRate >= manyNew {
			return sampled
		}
		if !returns && a.repeatRate <= w.cleanRate*mostRepeats {
			return none
		}
	}
	if a.againRate >= a.repeatRate/4 {
		return circling
	}
	return none
}

func (w *Watch) try(a *account, kind trialKind) {
	a.standing, a.trial, a.lag = suspect, kind, 0
	a.circling = circlingCounts{}
	w.tell(Event{Kind: Suspected, Rate: perSecond(a.repeatRate)}, a)
}

// cut begins to drop what the peer returns.
func (w *Watch) cut(a *account) {
	if w.now >= a.guiltyUntil {
		a.cuts = 0
	}
	w.cuts++
	a.cuts++
	a.standing, a.trial, a.strikes, a.tries, a.clearedUntil = isCut, none, 0, 0, 0
	a.since, a.unquiet, a.dropped = w.now, w.now, 0
	w.tell(Event{Kind: Cut, Rate: perSecond(a.repeatRate)}, a)
}

// clear does not suspect the peer for long.
func (w *Watch) clear(a *account) {
	a.standing, a.trial, a.strikes, a.tries, a.cuts = watched, none, 0, 0, 0
	a.clearedUntil, a.clearedRate, a.guiltyUntil = w.now+memory, max(a.repeatRate, float64(a.peak)), 0
	w.tell(Event{Kind: Cleared, Rate: perSecond(a.repeatRate)}, a)
}

// postpone has a peer, about which a trial could not decide, tried again later.
// Two trials in a row must convict it, unless it brings so many repeats that
// each trial may fail to decide.
func (w *Watch) postpone(a *account) {
	a.standing, a.trial = watched, none
	if a.repeatRate < suspectRate/2 { // it took part because of others
		return
	}
	growth := min(2*a.tries, 6)
	if a.repeatRate >= fastRate {
		growth = min(growth, 2)
	} else {
		a.strikes = 0
	}
	a.notBefore = w.now + firstPause<<growth
	a.tries++
}

// acquit clears the peers that were convicted because the payload came no more.
func (w *Watch) acquit(payload uint64) {
	for _, a := range w.accounts {
		if a.standing == isCut && a.appeal.held > 0 && a.appeal.payload == payload {
			w.release(a)
			w.clear(a)
		}
	}
}

// releaseAll ends the cuts whose time is over.
func (w *Watch) releaseAll() {
	if w.cuts == 0 {
		return
	}
	for _, a := range w.accounts {
		if a.standing == isCut && (w.now-a.unquiet >= a.quiet() || w.now-a.since >= longestCut) {
			if a.dropped > 0 {
				a.guiltyUntil = w.now + memory
			}
			a.peak = 0 // a loop is no measure of what the peer produces
			w.release(a)
		}
	}
}

func (w *Watch) release(a *account) {
	w.cuts--
	a.standing, a.appeal = watched, appeal{}
	w.tell(Event{Kind: Released, Dropped: a.dropped, For: time.Duration(w.now - a.since)}, a)
}

// tell adds an event. There are at most a few of each account between two
// calls that return them.
func (w *Watch) tell(e Event, a *account) {
	e.Number, e.Addr = a.number, a.addr
	w.events = append(w.events, e)
}

func perSecond(perWindow float64) uint64 {
	return uint64(perWindow * float64(time.Second) / float64(window))
}

// CutUntil returns until when the peer with that number is cut at most.
func (w *Watch) CutUntil(number uint64) (until int64, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a := w.find(number); a != nil && a.standing == isCut {
		return a.since + longestCut, true
	}
	return 0, false
}
