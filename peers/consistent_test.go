package peers

import (
	"fmt"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
)

// JoinRateTellsApart reports whether no two of addrs share a bucket of the
// join rate per address, so that what becomes of one says nothing of another.
func (t *Table) JoinRateTellsApart(addrs ...netip.Addr) bool {
	if t.addressJoins == nil {
		return true
	}
	owner := map[uint64]addressKey{}
	for _, addr := range addrs {
		key := keyOf(addr)
		bucket := maphash.Bytes(t.addressJoins.seed, key[:]) % addressBuckets
		if other, taken := owner[bucket]; taken && other != key {
			return false
		}
		owner[bucket] = key
	}
	return true
}

// Disagreement returns where the parts of the table contradict each other, or
// nil. Nothing may change the table meanwhile.
func (t *Table) Disagreement() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := t.Peers()
	if !slices.Equal(all, t.all.items) || !slices.Equal(t.Receivers(), t.receivers.items) {
		return fmt.Errorf("what is published is not what the table keeps")
	}
	learned, connected, perAddress, perRule := 0, 0, map[addressKey]int{}, make([]int, len(t.rules))
	var receivers []*Peer
	var last uint64
	for _, p := range all {
		if p.number <= last || p.number > t.lastNumber {
			return fmt.Errorf("number %d of %v comes after %d and at most %d was given", p.number, p.addr, last, t.lastNumber)
		}
		last = p.number
		if p.Connected() {
			connected++
			if t.gone[p] == nil {
				return fmt.Errorf("%v is connected, and would not be told that it is gone", p.addr)
			}
		} else if found := t.index.find(p.addr); found != p {
			return fmt.Errorf("the index finds %p at %v, the list has %p", found, p.addr, p)
		}
		if !p.Static() {
			learned++
			perAddress[keyOf(p.addr.Addr())]++
			perRule[p.Rule()]++
			if p.Banned() || p.Rule() != t.ruleFor(p.addr.Addr()).index {
				return fmt.Errorf("%v is learned by rule %d, banned %v", p.addr, p.Rule(), p.Banned())
			}
		} else if p.Rule() != NoRule {
			return fmt.Errorf("%v is static and has rule %d", p.addr, p.Rule())
		}
		if p.MayReceive() && !p.Connected() {
			receivers = append(receivers, p)
		}
	}
	if err := t.senders.disagreement(t, perRule); err != nil {
		return err
	}
	switch {
	case !slices.Equal(receivers, t.Receivers()):
		return fmt.Errorf("%d of the peers may receive, %d are receivers", len(receivers), len(t.Receivers()))
	case learned != t.learned:
		return fmt.Errorf("%d peers are learned, %d are counted", learned, t.learned)
	case !maps.Equal(perAddress, t.perAddress):
		return fmt.Errorf("peers per address are %v, counted are %v", perAddress, t.perAddress)
	case !slices.EqualFunc(perRule, t.rules, func(n int, r *RuleTally) bool { return n == r.peers }):
		return fmt.Errorf("peers per rule are %v, the tallies have %+v", perRule, t.rules)
	case t.index.live != len(all)-connected:
		return fmt.Errorf("the index has %d peers, the list %d by UDP", t.index.live, len(all)-connected)
	case len(t.gone) != connected:
		return fmt.Errorf("%d peers are connected, %d are kept to be told", connected, len(t.gone))
	}
	if err := t.bans.disagreement(); err != nil {
		return err
	}
	return t.index.disagreement()
}

// KeepFewSenders has the table keep no more than most senders.
func (t *Table) KeepFewSenders(most int) { t.senders.max = most }

// disagreement returns where the senders contradict each other, or nil. It adds
// to perRule how many there are by rule.
func (s *senders) disagreement(t *Table, perRule []int) error {
	if len(s.bySilence) > s.max || len(s.bySilence) != s.index.live {
		return fmt.Errorf("%d senders are kept and %d are in the index, of %d at most", len(s.bySilence), s.index.live, s.max)
	}
	for i, entry := range s.bySilence {
		p := entry.Peer
		switch rule := t.ruleFor(p.addr.Addr()); {
		case !p.Sender() || p.Static() || p.Connected() || p.May() != MaySend || p.Proof() != JoinOpen:
			return fmt.Errorf("%v is a sender, port 0 %v, static %v, connected %v, may %v, proof %v", p.addr, p.Sender(), p.Static(), p.Connected(), p.May(), p.Proof())
		case !rule.rule.sendOnly() || p.Rule() != rule.index:
			return fmt.Errorf("%v is a sender by rule %d, which %v decides", p.addr, p.Rule(), rule)
		case s.index.find(p.addr) != p:
			return fmt.Errorf("the index finds %p at %v, the heap has %p", s.index.find(p.addr), p.addr, p)
		case entry.at > p.heard.Load():
			return fmt.Errorf("%v was heard at %d, the heap has %d", p.addr, p.heard.Load(), entry.at)
		case i > 0 && entry.before(s.bySilence[(i-1)/2]):
			return fmt.Errorf("%v is below one that was heard after it", p.addr)
		}
		perRule[p.Rule()]++
	}
	return s.index.disagreement()
}

// disagreement returns where the counts of prefix lengths are wrong, or nil.
func (b *bans) disagreement() error {
	var counts [2]map[int]int
	for i := range counts {
		counts[i] = map[int]int{}
	}
	for from, ban := range b.byPrefix {
		if from != ban.From || from != from.Masked() || from.Addr().Is4In6() {
			return fmt.Errorf("the ban of %v is kept under %v", ban.From, from)
		}
		counts[family(from.Addr())][from.Bits()]++
	}
	for i, lengths := range b.lengths {
		if len(lengths) != len(counts[i]) {
			return fmt.Errorf("lengths are %v, counted are %v", counts[i], lengths)
		}
		for _, l := range lengths {
			if counts[i][l.bits] != l.count {
				return fmt.Errorf("lengths are %v, counted are %v", counts[i], lengths)
			}
		}
	}
	return nil
}

// disagreement returns where the counts of the index are wrong, or nil.
func (x *index) disagreement() error {
	live, used := 0, 0
	slots := *x.slots.Load()
	for i := range slots {
		switch slots[i].Load() {
		case nil:
			continue
		case gravestone:
		default:
			live++
		}
		used++
	}
	switch {
	case live != x.live || used != x.used:
		return fmt.Errorf("the slots hold %d peers and %d are used, counted are %d and %d", live, used, x.live, x.used)
	case used*4 > len(slots)*3:
		return fmt.Errorf("%d of %d slots are used, more than three quarters", used, len(slots))
	}
	return nil
}
