package peers

import (
	"cmp"
	"net/netip"
	"slices"
	"sync/atomic"
)

// Programs such as logger, statsd clients and many exporters send each datagram
// from a new port. If their access rule says that they may only send, and asks for
// no proof, nothing is ever sent to them, so the port does not matter and they need
// no place among the peers: the table keeps one sender for each IP address, and
// finds it by port 0, which no peer can have. None of the limits on peers apply to
// senders. They are not saved for a restart: their next datagram brings them back.

// maxSenders bounds the senders that are kept. When there are more, the one that
// has been silent the longest makes room. Its next datagram makes it a new sender,
// with counts and rates that start again.
const maxSenders = 4096

// sendOnly reports whether the addresses that the rule covers are senders.
func (r *Rule) sendOnly() bool { return r.May == MaySend && r.Join == JoinOpen }

// Sender reports whether p stands for an IP address that may only send, from any
// port; its Addr has port 0. It is not one of [Table.Peers].
func (p *Peer) Sender() bool { return p.addr.Port() == 0 }

// senders are those of a table, which guards all but look-ups with its lock.
type senders struct {
	index *index
	count atomic.Int32 // so that a table without senders need not look one up
	max   int

	// bySilence is a heap with the sender on top that was silent the longest when
	// the heap last looked. The datapath refreshes senders without the lock, so
	// the heap looks again before it relies on that.
	bySilence []heardSender
}

type heardSender struct {
	*Peer
	at int64 // when it was heard, as far as the heap knows; it can only be later
}

// at returns the sender at addr, or nil.
func (s *senders) at(addr netip.Addr) *Peer {
	if s.count.Load() == 0 {
		return nil
	}
	return s.index.find(netip.AddrPortFrom(addr, 0))
}

// before reports whether a has been silent for longer than b. If they were heard at
// the same time, the one that joined first counts as silent for longer.
func (a heardSender) before(b heardSender) bool {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.number, b.number)) < 0
}

// down moves the sender at i of the heap down to where it belongs.
func (s *senders) down(i int) {
	h := s.bySilence
	for {
		first := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
			if h[child].before(h[first]) {
				first = child
			}
		}
		if first == i {
			return
		}
		h[i], h[first] = h[first], h[i]
		i = first
	}
}

// longestSilent returns the sender that has been silent for longest.
func (s *senders) longestSilent() *Peer {
	for {
		top := &s.bySilence[0]
		heard := top.heard.Load()
		if heard <= top.at {
			return top.Peer
		}
		top.at = heard // it was heard since the heap last looked
		s.down(0)
	}
}

// add adds p, the one that was heard last, and returns the sender that made room for
// it, or nil.
func (s *senders) add(p *Peer, at int64) (removed *Peer) {
	entry := heardSender{p, at}
	if len(s.bySilence) < s.max {
		s.bySilence = append(s.bySilence, entry) // at the bottom, where it belongs
	} else {
		removed = s.longestSilent()
		s.index.remove(removed)
		s.bySilence[0] = entry
		s.down(0)
	}
	s.index.add(p)
	s.count.Store(int32(len(s.bySilence)))
	return removed
}

// remove takes out the senders for which gone holds, and returns them in the order
// in which they came.
func (s *senders) remove(gone func(*Peer) bool) (removed []*Peer) {
	stay := s.bySilence[:0]
	for _, entry := range s.bySilence {
		if gone(entry.Peer) {
			s.index.remove(entry.Peer)
			removed = append(removed, entry.Peer)
			continue
		}
		stay = append(stay, heardSender{entry.Peer, entry.heard.Load()})
	}
	clear(s.bySilence[len(stay):])
	s.bySilence = stay
	s.count.Store(int32(len(stay)))
	for i := len(stay)/2 - 1; i >= 0; i-- {
		s.down(i)
	}
	sortByNumber(removed)
	return removed
}

// mayBeOver reports whether there may be a sender that was not heard after deadline.
func (s *senders) mayBeOver(deadline int64) bool {
	return len(s.bySilence) > 0 && s.bySilence[0].at <= deadline
}

func sortByNumber(list []*Peer) {
	slices.SortFunc(list, func(a, b *Peer) int { return cmp.Compare(a.number, b.number) })
}

// Senders returns the senders, in the order in which they came.
func (t *Table) Senders() []*Peer {
	t.mu.Lock()
	list := make([]*Peer, len(t.senders.bySilence))
	for i, entry := range t.senders.bySilence {
		list[i] = entry.Peer
	}
	t.mu.Unlock()
	sortByNumber(list)
	return list
}

// Origin returns the peer or sender that a datagram from addr belongs to, or nil.
// It refreshes nothing.
func (t *Table) Origin(addr netip.AddrPort) *Peer {
	if p := t.index.find(addr); p != nil {
		return p
	}
	return t.sender(addr)
}

// sender returns the sender that a datagram from addr, where no peer is, belongs
// to, or nil. What depends on the port is checked for each datagram, the rest only
// when the sender is added.
func (t *Table) sender(addr netip.AddrPort) *Peer {
	p := t.senders.at(addr.Addr())
	if p == nil || addr.Port() == 0 || answersAnything(addr.Port()) || t.own(addr) {
		return nil
	}
	return p
}

// addSender adds a sender that was heard now and is let in by rule.
func (t *Table) addSender(addr netip.Addr, rule *RuleTally, at int64) *Peer {
	t.lastNumber++
	p := &Peer{addr: netip.AddrPortFrom(addr, 0), number: t.lastNumber, joined: at}
	p.Path.Counts = new(Counts)
	p.heard.Store(at)
	p.setRights(MaySend, JoinOpen, false, rule.index)
	t.countForRule(p, +1)
	if removed := t.senders.add(p, at); removed != nil {
		t.countForRule(removed, -1)
	}
	return p
}

// removeSenders takes the senders for which gone holds out of the table.
func (t *Table) removeSenders(gone func(*Peer) bool) []*Peer {
	removed := t.senders.remove(gone)
	for _, p := range removed {
		t.countForRule(p, -1)
	}
	return removed
}
