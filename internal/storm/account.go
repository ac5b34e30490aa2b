package storm

import (
	"cmp"
	"net/netip"
	"slices"

	"udprelay/peers"
)

// A standing says what is done about a peer.
type standing uint8

const (
	watched standing = iota
	onTrial
	isCut
)

// An account is kept for a peer with many repeats. It holds the peer itself
// no longer than a window or a trial.
type account struct {
	number   uint64
	addr     netip.AddrPort
	peer     *peers.Peer // nil: it has brought no repeat in this window, nor is it on trial
	standing standing

	repeats uint32                 // in this window
	recent  [suspectWindows]uint32 // in those before, the last one first
	streak  int                    // windows in a row that had too many

	// Of the trial.
	before uint32 // repeats a window when it began
	low    int    // windows in a row with less than a quarter of that

	// Of the probe, which is a part of the trial.
	probed   []uint64 // the payloads that are dropped, by hash; nil: there is none
	passed   bool     // it is over, and the payloads came all the same
	probeFor int      // windows that it has lasted
	missing  int      // windows in a row in which none of them came
	came     bool     // one of them did, in this window

	// Of the cut.
	since   int64  // when it began
	unquiet int64  // when a payload of others was last dropped
	dropped uint64 // datagrams
	cuts    int    // how many, up to now, that were not forgotten

	// What is remembered.
	clearedUntil int64
	clearedFor   uint32 // repeats a window at its trial
	guiltyUntil  int64
	doubt        bool // a relapse needs a trial
}

// tooMany reports whether so many repeats in a window, which ended at the time
// now, make the peer suspect.
func (a *account) tooMany(repeats uint32, now int64) bool {
	return repeats >= suspectRepeats && (now >= a.clearedUntil || repeats > growth*a.clearedFor)
}

// perWindow returns the mean of the recent windows.
func (a *account) perWindow() uint32 {
	sum := uint32(0)
	for _, repeats := range a.recent {
		sum += repeats
	}
	return sum / suspectWindows
}

// quiet returns how long the peer must be quiet to be released.
func (a *account) quiet() int64 {
	quiet := int64(firstQuiet)
	for i := 1; i < a.cuts && quiet < longestCut; i++ {
		quiet *= 2
	}
	return min(quiet, longestCut)
}

// idle reports whether there is nothing to remember of the peer.
func (a *account) idle(now int64) bool {
	return a.standing == watched && a.streak == 0 && a.repeats < suspectRepeats && now >= a.clearedUntil && now >= a.guiltyUntil
}

// drops reports whether a repeat of that hash is dropped for a probe of its
// peer. The first ones that come are what the probe is made with.
func (a *account) drops(hash uint64) bool {
	if slices.Contains(a.probed, hash) {
		a.came = true
		return true
	}
	if a.probeFor > 0 || len(a.probed) == cap(a.probed) {
		return false
	}
	a.probed = append(a.probed, hash)
	return true
}

// passWindow notes that a window of the probe is over, and with the last one
// ends it, unless it has failed.
func (a *account) passWindow() {
	a.probeFor++
	a.missing++
	if a.came {
		a.missing = 0
	}
	a.came = false
	if a.probeFor >= probeWindows && !a.failsProbe() {
		a.probed, a.passed = nil, true
	}
}

// failsProbe reports whether the payloads that were dropped have come no more:
// then they went round, and who sends on its own would have sent them again.
func (a *account) failsProbe() bool {
	return a.probeFor >= probeWindows && a.missing >= missingAtEnd && len(a.probed) > 0
}

// find returns the account of the peer with that number, or nil.
func (w *Watch) find(number uint64) *account {
	if w.last != nil && w.last.number == number {
		return w.last
	}
	if len(w.accounts) == 0 {
		return nil
	}
	at, found := w.place(number)
	if !found {
		return nil
	}
	w.last = w.accounts[at]
	return w.last
}

func (w *Watch) place(number uint64) (at int, found bool) {
	return slices.BinarySearchFunc(w.accounts, number, func(a *account, number uint64) int { return cmp.Compare(a.number, number) })
}

// count counts a repeat of origin, whose account is a or nil. There is an
// account only for a peer that shares so many repeats in this window with at
// most a few others.
func (w *Watch) count(a *account, origin *peers.Peer) {
	if a == nil {
		shared := &w.shared[origin.Number()%uint64(len(w.shared))]
		*shared++
		w.sharing = true
		if *shared < suspectRepeats {
			return
		}
		if a = w.open(origin); a == nil {
			return
		}
		a.repeats = *shared - 1
		*shared = 0
	}
	a.repeats++
	if a.peer == nil {
		a.peer = origin
	}
}

// open makes an account for the peer, if need be in the place of one that has
// nothing but memories. It returns nil if there is no place in this window.
func (w *Watch) open(p *peers.Peer) *account {
	if w.full {
		return nil
	}
	if len(w.accounts) >= maxAccounts {
		at := slices.IndexFunc(w.accounts, func(a *account) bool {
			return a.standing == watched && a.streak == 0 && a.repeats < suspectRepeats
		})
		if at < 0 {
			w.full = true
			return nil
		}
		w.last = nil
		w.accounts = slices.Delete(w.accounts, at, at+1)
	}
	a := &account{number: p.Number(), addr: p.Addr()}
	at, _ := w.place(a.number)
	w.accounts = slices.Insert(w.accounts, at, a)
	return a
}

// closeIdle closes the accounts that have nothing to remember.
func (w *Watch) closeIdle() {
	w.last = nil
	w.accounts = slices.DeleteFunc(w.accounts, func(a *account) bool { return a.idle(w.now) })
}
