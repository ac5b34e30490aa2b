package peers

import (
	"slices"
	"time"
)

// use makes options those that hold from now on, but for Own.
func (t *Table) use(options Options) {
	options.Access = slices.Clone(options.Access)
	switch perSecond := options.JoinsPerSecondPerAddress; {
	case perSecond <= 0:
		t.addressJoins = nil
	case t.addressJoins == nil:
		t.addressJoins = NewAddressRate(perSecond)
	default:
		t.addressJoins.perSecond = perSecond // who has joined too fast stays known
	}
	t.options = options
	t.rules = newRules(options.Access)
	t.expiry.Store(int64(options.Expiry))
}

// SetOptions makes options hold from now on. Own stays as [New] was told.
//
// Each learned peer and each sender is judged anew. Those that no rule lets in
// any more, and those that joined with less proof than their rule asks for now,
// leave the table at once and are returned; what the others may do is what their
// rule says now. A peer whose rule makes it a sender now, or the reverse, leaves
// as well, but is let in again with its next datagram and not returned. Limits
// that are lower than before remove nobody: new peers are refused until there is
// room. Nor does a shorter expiry, before the next [Table.Expire]. Static peers and
// bans stay as they are. What [Table.Rules] counts begins anew.
func (t *Table) SetOptions(options Options) (removed []*Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.use(options)
	refused := func(p *Peer, r *RuleTally) bool { return r.rule.May == MayNothing || r.rule.Join > p.Proof() }
	removed = t.removeAll(func(p *Peer) bool {
		if p.Static() {
			return false
		}
		r := t.ruleFor(p.addr.Addr())
		if refused(p, r) || !p.Connected() && p.Sender() != r.rule.sendOnly() {
			p.setRights(p.May(), p.Proof(), false, NoRule) // of the new rules none counts it
			return true
		}
		p.setRights(r.rule.May, p.Proof(), false, r.index)
		return false
	})
	t.countByRule()
	t.listReceivers()
	return slices.DeleteFunc(removed, func(p *Peer) bool { return !refused(p, t.ruleFor(p.addr.Addr())) })
}

// ForgetSecret is for when the secret changes: what peers have proved with the
// old one counts no more than a cookie from now on. Those whose rule asks for
// the secret leave at the next [Table.SetOptions] and can join with the new one.
func (t *Table) ForgetSecret() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.all.items {
		if p.Proof() == JoinSecret {
			p.setProof(JoinCookie)
		}
	}
}

// Expiry returns how long after its last datagram a learned peer is forgotten.
func (t *Table) Expiry() time.Duration { return time.Duration(t.expiry.Load()) }
