package storm

import (
	"cmp"
	"math"
	"math/bits"
	"net/netip"
	"slices"

	"udprelay/peers"
)

// A standing says what the watch does about a peer.
type standing uint8

const (
	watched standing = iota
	suspect          // a trial is deciding about it
	isCut            // what it returns is dropped
)

// An account is what the watch knows of a peer that brings many repeats, or
// many new payloads. Rates are per window.
type account struct {
	number   uint64
	addr     netip.AddrPort
	opened   int64
	standing standing

	// In this window.
	repeats  uint32 // payloads that others have brought, too
	returned uint32 // of these, payloads that came first, a short time ago, from an origin without repeats
	again    uint32 // of these, payloads that have come for some time, or from this peer before
	fresh    uint32 // payloads that nobody had brought

	// Up to the last window.
	repeatRate, returnedRate, againRate, freshRate float64

	peak         uint32 // the most repeats in a window
	busy         uint16 // a bit for each of the last windows: it had repeats
	returnedBusy uint16 // the same of returned

	history [talkSpan]uint32 // new payloads of the last windows, see talks

	trial     trialKind
	brought   uint64 // a bit for each payload of the sample
	circling  circlingCounts
	notBefore int64 // there is no trial before that
	tries     int   // trials in a row that could not decide
	strikes   int   // trials lost since the peer was last cut or cleared; the second one counts

	// Of the cut.
	since   int64 // when it began
	appeal  appeal
	unquiet int64  // when a payload of others was last dropped
	lag     int64  // how long the peer takes to return what it was given, as far as the trial has shown
	dropped uint64 // datagrams
	cuts    int    // in a row, each within memory of the one before

	// What is remembered.
	clearedUntil int64
	clearedRate  float64
	guiltyUntil  int64
}

// An appeal acquits a peer that was convicted because a payload came no more,
// if the peer itself brings it again, when nobody was given it meanwhile.
type appeal struct {
	payload uint64 // by hash
	held    int64  // since when nobody was given it; 0: there is no appeal
}

// clean reports whether the peer with that account, or nil, brings no repeats.
func (a *account) clean() bool { return a == nil || a.repeatRate < 1 && a.standing == watched }

// closeWindow takes stock of a window, and of the missed ones after it in which
// nothing came.
func (a *account) closeWindow(missed int64) {
	a.peak = max(a.peak, a.repeats)
	a.busy = busy(a.busy, a.repeats, missed)
	a.returnedBusy = busy(a.returnedBusy, a.returned, missed)
	average(&a.repeatRate, a.repeats, missed)
	average(&a.returnedRate, a.returned, missed)
	average(&a.againRate, a.again, missed)
	average(&a.freshRate, a.fresh, missed)
	a.repeats, a.returned, a.again, a.fresh = 0, 0, 0, 0
}

// busy adds a window, and the missed ones, to a bit for each of the last ones.
func busy(mask uint16, count uint32, missed int64) uint16 {
	mask <<= 1
	if count > 0 {
		mask |= 1
	}
	return mask << min(missed, 16)
}

// sustained reports whether several of the last ten windows had some.
func sustained(mask uint16) bool { return bits.OnesCount16(mask&(1<<10-1)) >= suspectWindows }

// average moves a mean over some ten windows on by one, and by the missed ones.
func average(mean *float64, count uint32, missed int64) {
	const weight = 0.2
	*mean += (float64(count) - *mean) * weight
	if missed > 0 {
		*mean *= math.Pow(1-weight, float64(min(missed, 1000)))
	}
}

// suspicious reports whether the peer brings so many repeats that a trial is
// to find out why.
func (a *account) suspicious(now int64) bool {
	return a.standing == watched && now >= a.notBefore &&
		a.repeatRate >= suspectRate && sustained(a.busy) && a.overdue(now)
}

// overdue reports whether the peer was not cleared lately, or brings far more
// now.
func (a *account) overdue(now int64) bool {
	return now >= a.clearedUntil || a.repeatRate > growth*a.clearedRate
}

// quiet returns how long the peer must be quiet to be released.
func (a *account) quiet() int64 { return min(firstQuiet<<min(a.cuts-1, 8), longestCut) }

// returns reports whether a payload that the peer brings, and which has come
// before, is one that it was given.
func (a *account) returns(s *slot, own bool, now int64) bool {
	if own { // it went round and came back
		return s.passedWithin(max(ownAgain, a.lag*3/2), now)
	}
	return s.passedWithin(max(othersAgain, a.lag*2), now)
}

// idle reports whether there is nothing to remember of the peer.
func (a *account) idle(now int64) bool {
	return a.standing == watched && a.repeatRate < 0.3 && a.freshRate < talking/2 && a.repeats == 0 && now >= a.clearedUntil && now >= a.guiltyUntil
}

// find returns the account of the peer with that number, or nil.
func (w *Watch) find(number uint64) *account {
	if w.last != nil && w.last.number == number {
		return w.last
	}
	if at, found := w.place(number); found {
		w.last = w.accounts[at]
		return w.last
	}
	return nil
}

func (w *Watch) place(number uint64) (at int, found bool) {
	return slices.BinarySearchFunc(w.accounts, number, func(a *account, number uint64) int { return cmp.Compare(a.number, number) })
}

// A sketch counts for peers without an account: together with those whose
// number leaves the same remainder.
type sketch [4096]uint32

// count counts for the peer and returns the count.
func (s *sketch) count(p *peers.Peer) uint32 {
	n := &s[p.Number()%uint64(len(s))]
	*n++
	return *n
}

// open makes an account for the peer, if need be in the place of the one with
// the fewest repeats. It returns nil if others have more.
func (w *Watch) open(p *peers.Peer, repeats uint32) *account {
	if w.full {
		return nil
	}
	if len(w.accounts) >= maxAccounts {
		if repeats == 0 {
			return nil
		}
		least := slices.MinFunc(w.accounts, func(a, b *account) int { return cmp.Compare(a.weight(), b.weight()) })
		if least.weight() >= float64(repeats) {
			w.full = true
			return nil
		}
		at, _ := w.place(least.number)
		w.accounts = slices.Delete(w.accounts, at, at+1)
		w.free = append(w.free, least)
		w.last = nil
	}
	a := w.free[len(w.free)-1]
	w.free = w.free[:len(w.free)-1]
	*a = account{number: p.Number(), addr: p.Addr(), opened: w.now}
	at, _ := w.place(a.number)
	w.accounts = slices.Insert(w.accounts, at, a)
	return a
}

// weight is what an account is kept for.
func (a *account) weight() float64 {
	if a.standing != watched {
		return math.Inf(1)
	}
	return max(a.repeatRate, float64(a.repeats))
}

// closeIdle closes the accounts that have nothing to remember.
func (w *Watch) closeIdle() {
	w.last = nil
	w.accounts = slices.DeleteFunc(w.accounts, func(a *account) bool {
		idle := a.idle(w.now)
		if idle {
			w.free = append(w.free, a)
		}
		return idle
	})
}
