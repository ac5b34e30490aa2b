package peers

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options are the limits and rules of a [Table]. All but Own can be changed
// later, see [Table.SetOptions].
type Options struct {
	Expiry        time.Duration // a learned peer is forgotten this long after its last datagram
	Max           int           // learned peers at most; 0: no limit
	MaxPerAddress int           // learned peers per IPv4 address or IPv6 /64; 0: no limit
	Access        []Rule        // the first that covers an address decides; none: refused

	JoinsPerSecond           int // learned peers that join in a second; 0: no limit
	JoinsPerSecondPerAddress int // the same, per IPv4 address or IPv6 /64; 0: no limit

	// Own reports whether an address is one of the relay itself, which never
	// becomes a peer. It is asked about addresses that are not in the table,
	// and by Expire about learned peers, for a host may get an address that a
	// peer had; Explain asks it about any. Nil: no address is.
	Own func(netip.AddrPort) bool
}

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

// A Table holds the peers of one relay.
type Table struct {
	// Never change.
	own   func(netip.AddrPort) bool
	epoch time.Time // times are kept as distances from here, so that steps of the wall clock do no harm
	index *index    // look-ups need no lock

	// Changed under mu, read by anyone.
	expiry       atomic.Int64 // in nanoseconds
	joined, left atomic.Uint64
	nextBanEnd   atomic.Int64 // when the next ban ends; forEver: none does

	// Guarded by mu; what is published is never changed again but by appending
	// beyond its end.
	mu           sync.Mutex
	options      Options
	rules        []*RuleTally // of options.Access; the last for the lack of a rule
	bans         bans
	bannedAt     int64        // the time at which bans held last
	addressJoins *AddressRate // nil: no limit
	all          list
	receivers    list
	lastNumber   uint64
	learned      int
	perAddress   map[addressKey]int
	joins        Bucket
	gone         map[*Peer]func() // what is to be told that a connected peer has left
}

// New returns an empty table. Times given to its methods must not lie before
// now.
func New(options Options, now time.Time) *Table {
	t := &Table{own: options.Own, epoch: now, index: newIndex(), perAddress: make(map[addressKey]int), gone: make(map[*Peer]func())}
	if t.own == nil {
		t.own = func(netip.AddrPort) bool { return false }
	}
	t.use(options)
	t.nextBanEnd.Store(forEver)
	t.all.publish(nil)
	t.receivers.publish(nil)
	return t
}

// Heard notes that a datagram came from addr, which must be unmapped, and
// returns its peer: the one that is there, or a new one if the sender may
// join. The peer is nil if the sender was refused. A known peer costs no lock
// and no allocation.
func (t *Table) Heard(addr netip.AddrPort, now time.Time) (*Peer, Verdict) {
	p, verdict, _ := t.Hear(addr, now, JoinOpen)
	return p, verdict
}

// Admit is Heard for a sender that has given a proof. It is refused like any
// other if its rule asks for more.
func (t *Table) Admit(addr netip.AddrPort, now time.Time, proof Join) (*Peer, Verdict) {
	p, verdict, _ := t.Hear(addr, now, proof)
	return p, verdict
}

// Hear is Heard, or with a proof Admit, and says also which access rule has
// decided about a sender that was no peer: nil if none was asked. The caller
// counts there what was [RefusedByRule].
func (t *Table) Hear(addr netip.AddrPort, now time.Time, proof Join) (*Peer, Verdict, *RuleTally) {
	at := int64(now.Sub(t.epoch))
	if p := t.index.find(addr); p != nil {
		p.refresh(at)
		return p, Known, nil
	}
	return t.admit(addr, at, proof)
}

// Lookup returns the peer at addr, or nil. It refreshes nothing.
func (t *Table) Lookup(addr netip.AddrPort) *Peer { return t.index.find(addr) }

// Receivers returns the peers that may receive by UDP, in the order in which they
// joined. The slice stays as it is and must not be changed.
func (t *Table) Receivers() []*Peer { return t.receivers.load() }

// Peers returns all peers, in the order in which they joined. The slice stays
// as it is and must not be changed.
func (t *Table) Peers() []*Peer { return t.all.load() }

// Counts returns how many peers are learned and how many static.
func (t *Table) Counts() (learned, static int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.learned, len(t.all.items) - t.learned
}

// Expire forgets the learned peers whose time is over, or whose address is now
// one of the relay itself, and returns them. It also ends the bans whose time is
// over; see [Table.ExpireBans].
func (t *Table) Expire(now time.Time) []*Peer {
	t.ExpireBans(now)
	deadline := t.deadline(now)
	over := func(p *Peer) bool {
		return !p.Static() && !p.Connected() && (p.heard.Load() <= deadline || t.own(p.addr))
	}
	if !slices.ContainsFunc(t.Peers(), over) { // a look without the lock, for there is seldom one
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	deadline = t.deadline(now) // the expiry may be another since
	return t.remove(over)
}

// deadline returns when those were heard last whose time is over now.
func (t *Table) deadline(now time.Time) int64 { return int64(now.Sub(t.epoch)) - t.expiry.Load() }

// Turnover returns how many learned peers there have been since the table was
// made, and how many of them are gone: expired, removed, or static now. What is
// left of the first after the second is how many there are.
func (t *Table) Turnover() (joined, left uint64) {
	left = t.left.Load() // first, or it could be more than joined
	return t.joined.Load(), left
}

// SetStatic makes addrs, which must be unmapped, the static peers, and returns
// those that are new and those that are gone. A peer that is static no more
// goes on as a learned one if it was heard within the expiry, a rule lets it in
// with the proof that it gave before it was static, if any, and the limits
// leave room. Addresses that can never be a peer are passed over; those that are
// banned are not, but may do nothing while they are.
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
		if p.heard.Load() <= deadline || verdict.Refused() {
			return true
		}
		t.setStatic(p, rule, at)
		return false
	})
	t.listReceivers()
	return added, removed
}

// Forget takes a learned peer out of the table before its time, and reports
// whether it was there.
func (t *Table) Forget(p *Peer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.remove(func(other *Peer) bool { return other == p && !p.Static() })) > 0
}

// Kick takes the learned peers out for which out holds, and returns them, in the
// order in which they joined. They may join again with their next datagram. Out
// must not call a method of the table.
func (t *Table) Kick(out func(*Peer) bool) []*Peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.remove(func(p *Peer) bool { return !p.Static() && out(p) })
}

// admit decides about a sender that the look-up did not find.
func (t *Table) admit(addr netip.AddrPort, at int64, proof Join) (*Peer, Verdict, *RuleTally) {
	if t.neverAPeer(addr) {
		return nil, NeverAPeer, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.index.find(addr); p != nil {
		p.refresh(at)
		return p, Known, nil
	}
	rule, verdict := t.judge(addr, proof, at)
	if verdict.Refused() {
		return nil, verdict, rule
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

// judge says whether addr may become a learned peer with a proof at the time
// at, and by which rule; nil: none is asked.
func (t *Table) judge(addr netip.AddrPort, proof Join, at int64) (*RuleTally, Verdict) {
	if answersAnything(addr.Port()) {
		return nil, NeverAPeer
	}
	return t.judgeHost(addr.Addr(), proof, at)
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

// insert completes p and puts it into the table. Rule has let it in; nil: it is
// static.
func (t *Table) insert(p *Peer, may May, proof Join, rule *RuleTally, heard int64) *Peer {
	t.lastNumber++
	p.number = t.lastNumber
	p.Path.Counts = new(Counts)
	p.static.Store(rule == nil)
	p.heard.Store(heard)
	if rule != nil {
		p.setRights(may, proof, false, rule.index)
		t.countLearned(p, +1)
	} else {
		banned := t.bans.covering(p.addr.Addr(), p.joined) != nil
		p.setRights(may, proof, banned, NoRule)
	}
	t.all.append(p)
	if p.receives() {
		t.receivers.append(p)
	}
	if !p.Connected() {
		t.index.add(p) // last: whoever finds it by its address finds it in the lists, too
	}
	return p
}

// remove takes the peers for which gone holds out of the table.
func (t *Table) remove(gone func(*Peer) bool) []*Peer {
	var removed []*Peer
	stay := make([]*Peer, 0, len(t.all.items))
	receivers := make([]*Peer, 0, len(t.receivers.items))
	for _, p := range t.all.items {
		if gone(p) {
			removed = append(removed, p)
			if !p.Connected() {
				t.index.remove(p)
			}
			if !p.Static() {
				t.countLearned(p, -1)
			}
			continue
		}
		stay = append(stay, p)
		if p.receives() {
			receivers = append(receivers, p)
		}
	}
	if removed != nil {
		t.all.replace(stay)
		t.receivers.replace(receivers)
	}
	for _, p := range removed {
		if gone := t.gone[p]; gone != nil {
			delete(t.gone, p)
			gone()
		}
	}
	return removed
}

// listReceivers publishes them anew, for what peers may do has changed.
func (t *Table) listReceivers() {
	t.receivers.replace(slices.DeleteFunc(slices.Clone(t.all.items), func(p *Peer) bool { return !p.receives() }))
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

// countByRule counts the learned peers of each rule anew.
func (t *Table) countByRule() {
	for _, r := range t.rules {
		r.peers = 0
	}
	for _, p := range t.all.items {
		if rule := p.Rule(); rule != NoRule {
			t.rules[rule].peers++
		}
	}
}

func (t *Table) countLearned(p *Peer, change int) {
	t.learned += change
	if rule := p.Rule(); rule != NoRule {
		t.rules[rule].peers += change
	}
	if change > 0 {
		t.joined.Add(1)
	} else {
		t.left.Add(1)
	}
	key := keyOf(p.addr.Addr())
	if t.perAddress[key] += change; t.perAddress[key] == 0 {
		delete(t.perAddress, key)
	}
}
