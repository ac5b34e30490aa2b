package peers

import (
	"net/netip"
	"time"
)

// SetStatic makes addrs, which must be unmapped, the static peers, and returns
// those that are new and those that are gone. A peer that is static no more
// goes on as a learned one if it was heard within the expiry, a rule lets it in
// with the proof that it gave before it was static, if any, and the limits
// leave room; if it may only send, its next datagram makes it a sender. Addresses
// that can never be a peer are passed over; those that are banned are not, but may
// do nothing while they are.
func (t *Table) SetStatic(addrs []netip.AddrPort, now time.Time) (added, removed []*Peer) {
	at, deadline := int64(now.Sub(t.epoch)), t.deadline(now)
	want := make(map[netip.AddrPort]bool, len(addrs))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bannedAt = max(t.bannedAt, at)
	for _, addr := range addrs {
		if want[addr] {
			continue
		}
		p := t.index.find(addr)
		if p == nil && t.neverAPeer(addr) {
			continue
		}
		want[addr] = true
		switch {
		case p == nil:
			p = t.insert(&Peer{addr: addr, joined: at}, MayBoth, JoinOpen, nil, never)
			added = append(added, p)
		case !p.Static():
			t.setStatic(p, nil, at)
			added = append(added, p)
		}
	}
	removed = t.remove(func(p *Peer) bool {
		if !p.Static() || want[p.addr] {
			return false
		}
		rule, verdict := t.judge(p.addr, p.Proof(), at)
		if p.heard.Load() <= deadline || verdict.Refused() || rule.rule.sendOnly() {
			return true
		}
		t.setStatic(p, rule, at)
		return false
	})
	t.listReceivers()
	return added, removed
}

// setStatic makes p a learned peer by a rule, or with nil a static one.
func (t *Table) setStatic(p *Peer, rule *RuleTally, at int64) {
	if rule != nil {
		p.static.Store(false)
		p.setRights(rule.rule.May, p.Proof(), false, rule.index)
		t.countLearned(p, +1)
		return
	}
	t.countLearned(p, -1)
	p.static.Store(true)
	p.setRights(MayBoth, p.Proof(), t.bans.covering(p.addr.Addr(), at) != nil, NoRule)
}
