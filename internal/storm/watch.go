package storm

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"udprelay/peers"
)

const (
	window = int64(100 * time.Millisecond)

	repeatFrom     = 8  // times that a payload must have come
	suspectRepeats = 50 // in a window
	suspectWindows = 3  // in a row
	mostPatience   = 2  // windows more, by chance

	shortestTrial = 3 * window // since the last suspect has joined it
	longestTrial  = 20 * window
	lastJoin      = 10 * window // after the beginning of the trial
	lowToEnd      = 2           // windows below a quarter of each, to end the trial
	lowAtEnd      = 5           // windows below a quarter of one, at the end, to cut it

	probePayloads = 16 // that are dropped in a probe
	probeWindows  = 6  // that it lasts at least
	missingAtEnd  = 2  // windows without those payloads, at the end, to cut the peer

	firstQuiet = int64(2 * time.Second)
	longestCut = int64(60 * time.Second)
	remember   = int64(10 * time.Minute)
	growth     = 4 // of the repeats of a peer that was cleared, to suspect it again

	maxAccounts = 1024
)

// A Kind says what an [Event] is about.
type Kind uint8

const (
	Held     Kind = iota // the peer is on trial: nothing is sent to it
	Cut                  // what it brings again is dropped
	Cleared              // it sends on its own
	Released             // it is not cut any more
)

// String returns the kind in a word or two.
func (k Kind) String() string { return [...]string{"held", "cut", "cleared", "released"}[k] }

// An Event is a change for one peer.
type Event struct {
	Kind   Kind
	Number uint64 // of the peer
	Addr   netip.AddrPort

	Repeats uint64        // Held, Cut, Cleared: a second, before it was held or cut
	Dropped uint64        // datagrams: Cleared: during the trial; Released: during the cut
	For     time.Duration // Released: how long it was cut
}

// A Watch looks at the datagrams that a relay receives. Any goroutine may call
// its methods; but from Begin to End others wait.
type Watch struct {
	held atomic.Pointer[[]*peers.Peer]

	mu   sync.Mutex // guards what follows
	now  int64
	unit uint32 // now, as the table counts it
	mark uint8  // now, as the table marks other origins

	seen seen

	windowEnd int64 // 0: there was no window yet

	shared   [4096]uint32 // repeats in this window of peers without an account
	sharing  bool         // there are any
	accounts []*account   // in ascending order of number
	last     *account     // the one that was found last, or nil
	full     bool         // no account can be opened in this window
	cuts     int          // accounts that are cut
	random   uint64       // what patience is drawn from
	patience int          // windows that make a suspect, beyond suspectWindows

	trial struct {
		on        bool
		began     int64
		joined    int64 // when the last suspect joined
		notBefore int64 // when it may end
		postponed bool
	}

	events []Event
}

// New returns a watch that has seen nothing.
func New() *Watch { return newWatch(rand.Uint64()) }

func newWatch(seed uint64) *Watch {
	w := &Watch{random: seed}
	w.drawPatience()
	return w
}

// drawPatience decides how long the next suspect is waited for beyond the
// need. Two relays that hold each other at the same time are both silent, and
// convict each other; so they must not begin at the same time each time.
func (w *Watch) drawPatience() {
	w.random = w.random*6364136223846793005 + 1442695040888963407
	w.patience = int(w.random >> 33 % (mostPatience + 1))
}

// Begin begins a batch at the time now, in nanoseconds from any moment. The
// caller calls Note for each datagram, in order, and then End.
func (w *Watch) Begin(now int64) {
	w.mu.Lock()
	w.advance(now)
}

// Note notes a datagram whose payload has that hash, and reports whether to
// drop it. The hash should depend on a secret (see hash/maphash), or who knows
// it can make two payloads look like one. Origin is nil if a link brought it.
func (w *Watch) Note(hash uint64, origin *peers.Peer) (drop bool) {
	var number uint64
	if origin != nil {
		number = origin.Number()
	}
	s, known := w.seen.find(hash, w.unit)
	if !known {
		s.first, s.count = uint32(number), 1
		return false
	}
	if s.count < 255 {
		s.count++
	}
	own := s.first == uint32(number)
	mixed := !own
	if own {
		mixed = s.mixed(w.mark)
	} else {
		s.other = w.mark
	}
	repeat := mixed && s.count >= repeatFrom
	if origin != nil && (repeat || w.cuts > 0) {
		a := w.find(number)
		if repeat {
			w.count(a, origin)
			if a != nil && a.standing == onTrial && a.probed != nil && a.drops(hash) {
				a.dropped++
				return true
			}
		}
		if a != nil && a.standing == isCut && (!own || w.unit-s.passed < passesAgain) {
			a.dropped++
			if mixed {
				a.unquiet = w.now
			}
			return true
		}
	}
	s.passed = w.unit
	return false
}

// End ends the batch and returns what has happened since the last call of End
// or Tick.
func (w *Watch) End() []Event {
	events := w.events
	w.events = nil
	w.mu.Unlock()
	return events
}

// Tick does what is due also if nothing comes, and returns what has happened.
// It is to be called every second at least, better more often: a trial after
// which all is silent ends with the second call.
func (w *Watch) Tick(now int64) []Event {
	w.Begin(now)
	return w.End()
}

// Held returns the peers to which nothing is to be sent at the moment, in
// ascending order of number: nil nearly always. The slice stays as it is.
func (w *Watch) Held() []*peers.Peer {
	if held := w.held.Load(); held != nil {
		return *held
	}
	return nil
}

// advance closes the windows that have ended.
func (w *Watch) advance(now int64) {
	if w.windowEnd == 0 && w.now == 0 {
		w.now, w.windowEnd = now, now+window
	}
	w.now = max(now, w.now) // batches of several goroutines may overtake each other
	w.unit, w.mark = uint32(uint64(w.now)>>unitBits), markAt(w.now)
	if w.now < w.windowEnd {
		return
	}
	if w.sharing {
		clear(w.shared[:])
		w.sharing = false
	}
	w.full = false
	w.closeWindow(w.windowEnd)
	missed := (w.now - w.windowEnd) / window
	if missed > 0 {
		w.miss(missed)
	}
	w.windowEnd += (missed + 1) * window
	w.judge()
	w.release()
	w.closeIdle()
}

// closeWindow takes stock of the window that ended at the time end.
func (w *Watch) closeWindow(end int64) {
	for _, a := range w.accounts {
		repeats := a.repeats
		a.repeats = 0
		copy(a.recent[1:], a.recent[:])
		a.recent[0] = repeats
		switch a.standing {
		case onTrial:
			a.low++
			if repeats*4 >= a.before {
				a.low = 0
			}
			if a.probed != nil {
				a.passWindow()
			}
			continue
		case watched:
			a.streak++
			if !a.tooMany(repeats, end) {
				a.streak = 0
			}
			switch {
			case a.streak > 0 && end < a.guiltyUntil && !a.doubt:
				w.cut(a, repeats)
			case a.streak >= suspectWindows+w.patience || w.trial.on && a.streak >= suspectWindows:
				w.try(a)
			}
		}
		if a.standing != onTrial {
			a.peer = nil
		}
	}
	if w.trial.on && end >= w.trial.began+shortestTrial {
		w.probe()
	}
	w.publishHeld()
}

// probe begins to drop some payloads of the suspect with most repeats, of those
// that go on as before though nothing is sent to them: where datagrams go round
// one way only, the peer that brings them is not the one that they are sent to.
// One at a time, so that little of honest senders is lost.
func (w *Watch) probe() {
	var most *account
	for _, a := range w.accounts {
		if a.standing != onTrial {
			continue
		}
		if a.probed != nil {
			return
		}
		if a.low == 0 && !a.passed && (most == nil || a.recent[0] > most.recent[0]) {
			most = a
		}
	}
	if most != nil {
		most.probed = make([]uint64, 0, probePayloads)
		most.probeFor, most.missing, most.came = 0, 0, false
	}
}

// miss takes note that there was no call in so many windows: either nothing
// came, or this program stood still. So a trial is not judged before there
// was time to receive what waits; but once only, for else a trial of peers
// that fell silent would not end.
func (w *Watch) miss(windows int64) {
	for _, a := range w.accounts {
		a.streak = 0
		a.recent = [suspectWindows]uint32{}
		if a.standing == onTrial {
			a.low = int(min(int64(a.low)+windows, lowAtEnd))
		}
	}
	if w.trial.on && windows >= 2 && !w.trial.postponed {
		w.trial.postponed = true
		w.trial.notBefore = w.now + 2*window
	}
}

// try puts the peer on trial, unless the trial that there is is near its end.
func (w *Watch) try(a *account) {
	t := &w.trial
	if t.on && w.now > t.began+lastJoin {
		return
	}
	if !t.on {
		t.on, t.began, t.notBefore, t.postponed = true, w.now, 0, false
	}
	t.joined = w.now
	a.standing, a.before, a.low, a.dropped = onTrial, a.perWindow(), 0, 0
	a.probed, a.passed = nil, false
	w.tell(Event{Kind: Held, Repeats: perSecond(a.before)}, a)
}

// judge ends the trial if it is time.
func (w *Watch) judge() {
	t := &w.trial
	if !t.on || w.now < t.notBefore {
		return
	}
	for _, a := range w.accounts {
		if a.standing == onTrial && a.failsProbe() {
			a.peer, a.streak, a.probed = nil, 0, nil
			w.cut(a, a.before)
		}
	}
	w.publishHeld()
	if w.now < t.joined+shortestTrial {
		return
	}
	needs := lowAtEnd
	if w.now < t.began+longestTrial {
		needs = lowToEnd
		for _, a := range w.accounts {
			if a.standing == onTrial && a.low < lowToEnd {
				return
			}
		}
	}
	for _, a := range w.accounts {
		if a.standing != onTrial {
			continue
		}
		a.peer, a.streak, a.probed, a.standing = nil, 0, nil, watched
		if a.low >= needs {
			w.cut(a, a.before)
			continue
		}
		// Before the trial a storm may have left it little room.
		a.clearedUntil, a.clearedFor = w.now+remember, max(a.before, slices.Max(a.recent[:]))
		a.guiltyUntil, a.cuts = 0, 0
		w.tell(Event{Kind: Cleared, Repeats: perSecond(a.before), Dropped: a.dropped}, a)
	}
	t.on = false
	w.drawPatience()
	w.publishHeld()
}

// cut begins to drop what the peer brings again.
func (w *Watch) cut(a *account, repeats uint32) {
	if w.now >= a.guiltyUntil {
		a.cuts = 0
	}
	w.cuts++
	a.cuts++
	a.standing, a.streak, a.clearedUntil = isCut, 0, 0
	a.since, a.unquiet, a.dropped = w.now, w.now, 0
	w.tell(Event{Kind: Cut, Repeats: perSecond(repeats)}, a)
}

// release ends the cuts whose time is over.
func (w *Watch) release() {
	if w.cuts == 0 {
		return
	}
	for _, a := range w.accounts {
		if a.standing != isCut || w.now-a.unquiet < a.quiet() && w.now-a.since < longestCut {
			continue
		}
		w.cuts--
		a.standing = watched
		a.doubt = a.dropped == 0 || a.recent[0] >= suspectRepeats
		if a.dropped > 0 {
			a.guiltyUntil = w.now + remember
		}
		w.tell(Event{Kind: Released, Dropped: a.dropped, For: time.Duration(w.now - a.since)}, a)
	}
}

// tell adds an event. There are at most a few of each account between two
// calls that return them.
func (w *Watch) tell(e Event, a *account) {
	e.Number, e.Addr = a.number, a.addr
	w.events = append(w.events, e)
}

// publishHeld makes the list of Held anew if it has changed.
func (w *Watch) publishHeld() {
	before := len(w.Held())
	count := 0
	for _, a := range w.accounts {
		if a.standing == onTrial {
			count++
		}
	}
	if count == before { // a trial ends as a whole, and until then nobody leaves it
		return
	}
	if count == 0 {
		w.held.Store(nil)
		return
	}
	held := make([]*peers.Peer, 0, count)
	for _, a := range w.accounts {
		if a.standing == onTrial {
			held = append(held, a.peer)
		}
	}
	w.held.Store(&held)
}

func perSecond(perWindow uint32) uint64 {
	return uint64(perWindow) * uint64(time.Second) / uint64(window)
}
