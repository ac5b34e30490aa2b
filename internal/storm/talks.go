package storm

import (
	"cmp"
	"net/netip"
	"slices"
)

// A Talk is two peers that answer each other: both send many payloads that
// nobody has sent before, and whenever one sends more, or less, so does the
// other. That may be a loop that changes what goes round, such as a counter in
// it, or a conversation. Nothing tells the two apart, so nothing is done about
// it.
type Talk struct {
	A, B      netip.AddrPort // in ascending order
	PerSecond uint64         // datagrams of each
}

const (
	talking  = 100 // new payloads per window: those of a peer that may take part in a talk
	talkSpan = 32  // windows that are compared
	talkStep = 8   // after how many windows they are compared again

	// In a talk the windows of two peers differ by no more than a part in
	// talkAlike of all, and talkUnderWay each, because a window may end between
	// datagrams and their answers. And they differ by no more than a part in
	// talkVaries of what one window differs from the next: senders with the same
	// steady rate differ as little, but do not vary.
	talkAlike    = 50
	talkUnderWay = 16
	talkVaries   = 4

	mostTalkers = 32
	mostTalks   = 64
	talkAgain   = memory // an event for the same two peers
)

// talks are those that were found when it was last looked.
type talks struct {
	talkers [mostTalkers]*account // used by look

	windows int // in the history, since the watch began
	found   []Talk
	told    []toldTalk
}

type toldTalk struct {
	Talk
	at int64
}

// closeWindow takes stock of a window that has ended. One that took longer is left
// out: in that, steady senders differ from other windows, too, and by as much.
func (t *talks) closeWindow(w *Watch, missed int64) {
	if missed == 0 {
		slot := t.windows % talkSpan
		for _, a := range w.accounts {
			a.history[slot] = a.fresh
		}
		t.windows++
	}
	if t.windows >= talkSpan && (missed > 0 || t.windows%talkStep == 0) {
		t.look(w)
	}
}

// look compares the peers that send most.
func (t *talks) look(w *Watch) {
	t.found = t.found[:0]
	talkers := t.talkers[:0]
	for _, a := range w.accounts {
		if a.freshRate < talking || w.now-a.opened < talkSpan*window {
			continue
		}
		if len(talkers) < mostTalkers {
			talkers = append(talkers, a)
		} else if least := slices.MinFunc(talkers, byFresh); least.freshRate < a.freshRate {
			talkers[slices.Index(talkers, least)] = a
		}
	}
	for i, a := range talkers {
		for _, b := range talkers[:i] {
			if len(t.found) < mostTalks && t.alike(a, b) {
				t.add(w, a, b)
			}
		}
	}
	clear(talkers)
}

func byFresh(a, b *account) int { return cmp.Compare(a.freshRate, b.freshRate) }

// alike reports whether the windows of the two are alike, and vary.
func (t *talks) alike(a, b *account) bool {
	var sum, differs, varies int64
	for i := range talkSpan {
		at := (t.windows + i) % talkSpan // the oldest first
		x, y := int64(a.history[at]), int64(b.history[at])
		sum += x + y
		differs += abs(x - y)
		if i > 0 {
			before := (at + talkSpan - 1) % talkSpan
			varies += abs(x - int64(a.history[before]))
		}
	}
	return (differs-talkUnderWay*talkSpan)*talkAlike <= sum && differs*talkVaries <= varies
}

func abs(x int64) int64 { return max(x, -x) }

// add adds a talk, and tells of it if it has not been told lately.
func (t *talks) add(w *Watch, a, b *account) {
	if b.addr.Compare(a.addr) < 0 {
		a, b = b, a
	}
	talk := Talk{a.addr, b.addr, perSecond(a.freshRate)}
	t.found = append(t.found, talk)
	t.told = slices.DeleteFunc(t.told, func(told toldTalk) bool { return w.now-told.at >= talkAgain })
	if len(t.told) >= mostTalks || slices.ContainsFunc(t.told, func(told toldTalk) bool { return told.A == talk.A && told.B == talk.B }) {
		return
	}
	t.told = append(t.told, toldTalk{talk, w.now})
	w.tell(Event{Kind: Talking, Other: b.addr, Rate: talk.PerSecond}, a)
}

// Talks returns the talks that are going on, those of most datagrams first.
func (w *Watch) Talks() []Talk {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := slices.Clone(w.talks.found)
	slices.SortStableFunc(list, func(a, b Talk) int { return cmp.Compare(b.PerSecond, a.PerSecond) })
	return list
}
