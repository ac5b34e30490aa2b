package storm

import "math/bits"

// A sampledTrial decides about peers that bring what was new shortly before:
// they return it, or they have it from elsewhere.
//
// Some of the payloads that are new while the trial lasts, and that come from
// origins without repeats, are its sample: what suspects or other relays bring
// may reach a suspect by another way. Each of them is in one of two groups, by
// chance: one in four is withheld from everyone, the others are relayed. A peer
// that brings payloads which nobody was given has them from elsewhere. If it
// brings so many of the others that it must have brought some of these by
// chance, too, and has not, it returns what it is given.
type sampledTrial struct {
	on       bool
	began    int64
	nonce    uint64
	payloads [sampleSize]uint64 // by hash
	at       [sampleSize]int64  // when each came
	origins  [sampleSize]uint64 // by number; 0: a link
	count    int
	withheld uint64 // a bit for each that is withheld
	valid    uint64 // a bit for each that counts
	returned bool   // a suspect has brought one that was relayed
}

const (
	sampleSize    = 64 // a bit for each fits in a word
	firstSample   = 32 // is all, unless a suspect brings some of it
	sampleAtOnce  = 4  // payloads, of which one is withheld, in sampleEvery
	sampleEvery   = int64(60e6)
	longestWait   = int64(7e9)
	emptyWait     = int64(500e6)
	leastSample   = 16
	byChance      = 1e-4 // a verdict is wrong at most so often
	ownProduction = 2    // withheld payloads that a peer brings, to be cleared
)

func (t *sampledTrial) begin(w *Watch) {
	*t = sampledTrial{on: true, began: w.now, nonce: w.draw()}
	for _, a := range w.accounts {
		a.brought = 0
	}
}

// take adds a new payload to the sample, if there is room, and reports
// whether it is withheld. Origin is the number of its origin; 0: a link.
func (t *sampledTrial) take(hash, origin uint64, now int64) (withhold bool) {
	if t.count == sampleSize || bits.OnesCount64(t.valid) >= firstSample && !t.returned || t.count >= sampleAtOnce*int(1+(now-t.began)/sampleEvery) {
		return false
	}
	bit := uint64(1) << t.count
	t.payloads[t.count], t.at[t.count], t.origins[t.count] = hash, now, origin
	t.count++
	if group := uint64(t.count-1) / sampleAtOnce; mix(group, t.nonce)%sampleAtOnce == uint64(t.count-1)%sampleAtOnce {
		t.withheld |= bit
		return true
	}
	return false
}

// note notes a payload that came before, and reports whether it is withheld.
func (t *sampledTrial) note(hash uint64, a *account, now int64) (withhold bool) {
	for i := range t.count {
		if t.payloads[i] != hash {
			continue
		}
		withhold = t.withheld&(1<<i) != 0
		if a != nil && t.origins[i] != a.number && a.brought&(1<<i) == 0 {
			if a.brought |= 1 << i; !withhold && a.standing == suspect {
				t.returned = true
				a.lag = max(a.lag, now-t.at[i])
			}
		}
		return withhold
	}
	return false
}

// leaveOut takes payloads out of the sample whose origin has begun to bring
// repeats.
func (t *sampledTrial) leaveOut(w *Watch) {
	t.valid = 0
	for i, origin := range t.origins[:t.count] {
		if origin == 0 && w.linkRepeatRate < 1 || origin > 0 && w.find(origin).clean() {
			t.valid |= 1 << i
		}
	}
}

// produces reports whether the peer has brought enough that it was not given.
func (t *sampledTrial) produces(a *account, enough int) bool {
	return bits.OnesCount64(a.brought&t.withheld&t.valid) >= enough
}

// returns reports whether the peer brings what it is given and, beyond chance,
// none of what it is not.
func (t *sampledTrial) returns(a *account, now int64) bool {
	others := t.valid // payloads of others, which it has had the time to return
	for i, origin := range t.origins[:t.count] {
		if origin == a.number || now-t.at[i] < a.lag {
			others &^= 1 << i
		}
	}
	if a.brought&t.withheld&others != 0 {
		return false
	}
	all, brought := bits.OnesCount64(others), bits.OnesCount64(others&a.brought)
	// The chance that those it has not brought have all the withheld ones among
	// them (hypergeometric distribution).
	chance := 1.0
	for i := range bits.OnesCount64(others & t.withheld) {
		chance *= max(0, float64(all-brought-i)/float64(all-i))
	}
	return chance <= byChance
}

// judge decides what can be decided.
func (t *sampledTrial) judge(w *Watch) {
	t.leaveOut(w)
	over := w.now-t.began > longestWait || t.count < leastSample && w.now-t.began > emptyWait
	left := 0
	for _, a := range w.accounts {
		if a.trial != sampled {
			continue
		}
		switch {
		case t.produces(a, ownProduction), over && t.produces(a, 1):
			w.clear(a)
		case t.returns(a, w.now):
			w.cut(a)
		case over:
			w.postpone(a)
		default:
			left++
		}
	}
	t.on = left > 0
}

// mix returns a hash of the hash and a key (the finalizer of MurmurHash3).
func mix(hash, key uint64) uint64 {
	x := hash ^ key
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
