package peers

import (
	"net/netip"
	"time"
)

// A Remembered is what outlives a table of a learned peer.
type Remembered struct {
	Addr          netip.AddrPort // unmapped
	Joined, Heard time.Time
	Proof         Join // as Peer.Proof says
}

// Restore makes peers of another table learned peers of this one, with what is
// left of their expiry at the time now, and returns them. As a datagram of
// theirs would, it refuses those that can never be a peer, that are banned, that
// no rule lets in with the proof they gave, or that the limits leave no room for;
// join rates do not count. Those whose time is over are passed over, and so are
// those that may only send: their next datagram makes them senders. A peer that is
// in the table stays as it is; if it was heard later than the table knows, that is
// noted.
//
// Times of the list that lie after now count as now.
func (t *Table) Restore(list []Remembered, now time.Time) (restored []*Peer) {
	at, deadline := int64(now.Sub(t.epoch)), t.deadline(now)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range list {
		// By their age, for the clock may have been set since the table was
		// made. An age of 292 years is the most that there is.
		heard := at - int64(max(now.Sub(r.Heard), 0))
		joined := min(at-int64(max(now.Sub(r.Joined), 0)), heard)
		if heard <= deadline {
			continue
		}
		if p := t.index.find(r.Addr); p != nil {
			p.heardNotBefore(heard)
			continue
		}
		if t.neverAPeer(r.Addr) {
			continue
		}
		proof := min(r.Proof, JoinSecret)
		if rule, verdict := t.judge(r.Addr, proof, at); !verdict.Refused() && !rule.rule.sendOnly() {
			restored = append(restored, t.insert(&Peer{addr: r.Addr, joined: joined}, rule.rule.May, proof, rule, heard))
		}
	}
	return restored
}

// heardNotBefore notes that a datagram of p came at the time at, beside the
// goroutine that may refresh it.
func (p *Peer) heardNotBefore(at int64) {
	for {
		heard := p.heard.Load()
		if heard >= at || p.heard.CompareAndSwap(heard, at) {
			return
		}
	}
}
