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
	// those of senders included, and by Expire about learned peers, for a host
	// may get an address that a peer had; Explain asks it about any. Nil: no
	// address is.
	Own func(netip.AddrPort) bool
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
	senders      senders // its index needs no lock for look-ups
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
	t.senders.index, t.senders.max = newIndex(), maxSenders
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
// join. The peer is nil if the sender was refused. For addresses that may only
// send, it is a [Peer.Sender]. A known peer costs no lock and no allocation.
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
	if p := t.sender(addr); p != nil {
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

// Peers returns all peers, in the order in which they joined, but not the
// senders. The slice stays as it is and must not be changed.
func (t *Table) Peers() []*Peer { return t.all.load() }

// Counts returns how many peers are learned and how many static.
func (t *Table) Counts() (learned, static int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.learned, len(t.all.items) - t.learned
}

// Expire forgets the learned peers whose time is over, or whose address is now
// one of the relay itself, and the senders whose time is over, and returns them.
// It also ends the bans whose time is over; see [Table.ExpireBans].
func (t *Table) Expire(now time.Time) []*Peer {
	t.ExpireBans(now)
	return append(t.expirePeers(now), t.expireSenders(now)...)
}

func (t *Table) expirePeers(now time.Time) []*Peer {
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

func (t *Table) expireSenders(now time.Time) []*Peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	deadline := t.deadline(now)
	if !t.senders.mayBeOver(deadline) {
		return nil
	}
	return t.removeSenders(func(p *Peer) bool { return p.heard.Load() <= deadline })
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

// Forget takes a learned peer out of the table before its time, and reports
// whether it was there.
func (t *Table) Forget(p *Peer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.removeAll(func(other *Peer) bool { return other == p && !p.Static() })) > 0
}

// Kick takes the learned peers out for which out holds, and returns them, in the
// order in which they joined, and then the senders for which it holds. They may
// join again with their next datagram. Out must not call a method of the table.
func (t *Table) Kick(out func(*Peer) bool) []*Peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.removeAll(func(p *Peer) bool { return !p.Static() && out(p) })
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
		t.index.add(p) // last: a peer that is found by its address is in the lists, too
	}
	return p
}

// removeAll takes the peers and the senders for which gone holds out of the table.
func (t *Table) removeAll(gone func(*Peer) bool) []*Peer {
	return append(t.remove(gone), t.removeSenders(gone)...)
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

// countByRule counts the learned peers and the senders of each rule anew.
func (t *Table) countByRule() {
	for _, r := range t.rules {
		r.peers = 0
	}
	for _, p := range t.all.items {
		t.countForRule(p, +1)
	}
	for _, s := range t.senders.bySilence {
		t.countForRule(s.Peer, +1)
	}
}

// countForRule counts p for the rule that let it in, if one did.
func (t *Table) countForRule(p *Peer, change int) {
	if rule := p.Rule(); rule != NoRule {
		t.rules[rule].peers += change
	}
}

func (t *Table) countLearned(p *Peer, change int) {
	t.learned += change
	t.countForRule(p, change)
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
