package peers

import "net/netip"

// A Verdict says what became of a sender.
type Verdict uint8

const (
	Known         Verdict = iota // it was a peer already
	Joined                       // it is a peer from now on
	NeedsCookie                  // it may join with a cookie, see [Table.Admit]
	NeedsSecret                  // it may join with a cookie and the secret
	RefusedByRule                // no access rule lets it in
	Banned                       // it is banned, see [Table.Ban]
	TableFull                    // Options.Max is reached
	AddressFull                  // Options.MaxPerAddress is reached
	JoinsTooFast                 // Options.JoinsPerSecond or JoinsPerSecondPerAddress is reached
	NeverAPeer                   // the address can not be a peer: multicast, broadcast, unspecified, port 0, a service that answers anything, the relay itself
)

// Refused reports whether the sender is no peer.
func (v Verdict) Refused() bool { return v > Joined }

// String returns the verdict in a few words.
func (v Verdict) String() string {
	return [...]string{"known", "joined", "needs a cookie", "needs a cookie and the secret", "refused by rule", "banned", "table full",
		"too many peers at its address", "joins too fast", "never a peer"}[v]
}

// admit decides about a sender that the look-up did not find.
func (t *Table) admit(addr netip.AddrPort, at int64, proof Join) (*Peer, Verdict, *RuleTally) {
	if t.neverAPeer(addr) {
		return nil, NeverAPeer, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.Origin(addr); p != nil {
		p.refresh(at)
		return p, Known, nil
	}
	rule, verdict := t.judge(addr, proof, at)
	if verdict.Refused() {
		return nil, verdict, rule
	}
	if rule.rule.sendOnly() {
		return t.addSender(addr.Addr(), rule, at), Joined, rule
	}
	if !t.takeJoin(addr.Addr(), at) {
		return nil, JoinsTooFast, rule
	}
	return t.insert(&Peer{addr: addr, joined: at}, rule.rule.May, proof, rule, at), Joined, rule
}

// takeJoin reports whether another peer may join at the time at. The address is
// asked first: one that joins too fast takes nothing from the others.
func (t *Table) takeJoin(addr netip.Addr, at int64) bool {
	return (t.addressJoins == nil || t.addressJoins.Take(addr, at)) &&
		(t.options.JoinsPerSecond <= 0 || t.joins.Take(t.options.JoinsPerSecond, 1, at))
}

// judge says whether addr may become a learned peer, or a sender, with a proof at
// the time at, and by which rule; nil: none is asked.
func (t *Table) judge(addr netip.AddrPort, proof Join, at int64) (*RuleTally, Verdict) {
	if answersAnything(addr.Port()) {
		return nil, NeverAPeer
	}
	rule, verdict := t.judgeHost(addr.Addr(), proof, at)
	if rule != nil && rule.rule.sendOnly() {
		return rule, Joined // it takes no place, so that it does not matter whether one is left
	}
	return rule, verdict
}

// judgeHost is judge, whatever the port.
func (t *Table) judgeHost(addr netip.Addr, proof Join, at int64) (*RuleTally, Verdict) {
	if t.bans.covering(addr, at) != nil {
		return nil, Banned
	}
	r := t.ruleFor(addr)
	switch {
	case r.rule.May == MayNothing:
		return r, RefusedByRule
	case t.options.Max > 0 && t.learned >= t.options.Max:
		return r, TableFull
	case t.options.MaxPerAddress > 0 && t.perAddress[keyOf(addr)] >= t.options.MaxPerAddress:
		return r, AddressFull
	case r.rule.Join > proof && r.rule.Join == JoinCookie:
		return r, NeedsCookie
	case r.rule.Join > proof:
		return r, NeedsSecret
	}
	return r, Joined
}

// answersAnything reports whether a well-known service at port answers
// whatever it gets, so that a datagram that says it comes from there begins a
// loop: echo (RFC 862), daytime (867), quote of the day (865), chargen (864).
func answersAnything(port uint16) bool {
	return port == 7 || port == 13 || port == 17 || port == 19
}

func (t *Table) neverAPeer(addr netip.AddrPort) bool { return t.whyNeverAPeer(addr) != "" }

// whyNeverAPeer says why addr can not be a peer, or nothing if it can.
func (t *Table) whyNeverAPeer(addr netip.AddrPort) string {
	ip := addr.Addr().WithZone("") // IsUnspecified is false with a zone
	switch {
	case !addr.IsValid():
		return "it is no address"
	case addr.Port() == 0:
		return "port 0 is nobody's"
	case ip.IsUnspecified():
		return "the address is unspecified"
	case ip.IsMulticast():
		return "the address is a multicast group"
	case ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the address is broadcast"
	case t.own(addr):
		return "it leads to the relay itself, or to everyone on one of its networks"
	}
	return ""
}
