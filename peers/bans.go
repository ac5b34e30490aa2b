package peers

import (
	"cmp"
	"errors"
	"math"
	"net/netip"
	"slices"
	"time"
	"unicode/utf8"
)

const (
	// MaxBans is how many bans a table has at most.
	MaxBans = 1000

	// MaxReason is how many bytes of a ban's reason are kept.
	MaxReason = 256
)

var (
	// ErrTooManyBans is returned when there are [MaxBans].
	ErrTooManyBans = errors.New("there are too many bans: take some away, or ban larger prefixes")

	// ErrBadPrefix is returned for a prefix that stands for no addresses.
	ErrBadPrefix = errors.New("the prefix is not valid")
)

// A Ban keeps addresses out, whatever the access rules say.
type Ban struct {
	From   netip.Prefix // masked; IPv4-mapped ones are IPv4
	Since  time.Time
	Until  time.Time // zero: for ever
	Reason string
}

// String says until when and why.
func (b *Ban) String() string {
	text := b.From.String() + " is banned"
	if !b.Until.IsZero() {
		text += " until " + b.Until.UTC().Format(time.RFC3339)
	}
	if b.Reason != "" {
		text += ": " + b.Reason
	}
	return text
}

// A ban is one of the table.
type ban struct {
	Ban
	end int64 // as the table counts times; forEver: never
}

// forEver is the end of a ban that does not end.
const forEver = math.MaxInt64

// Bans are those of a table, which guards them with its lock.
type bans struct {
	byPrefix map[netip.Prefix]*ban
	lengths  [2][]prefixLength // of IPv4 and of IPv6
}

// A prefixLength is one that bans have, and how many.
type prefixLength struct{ bits, count int }

// covering returns, of the bans that cover addr at the time at, the one that
// ends last, or nil.
func (b *bans) covering(addr netip.Addr, at int64) (last *ban) {
	if len(b.byPrefix) == 0 {
		return nil
	}
	addr = addr.WithZone("")
	for _, length := range b.lengths[family(addr)] {
		prefix, _ := addr.Prefix(length.bits)
		if found := b.byPrefix[prefix]; found != nil && at < found.end && (last == nil || found.end > last.end) {
			last = found
		}
	}
	return last
}

func family(addr netip.Addr) int {
	if addr.Is4() {
		return 0
	}
	return 1
}

func (b *bans) put(new *ban) {
	if b.byPrefix[new.From] == nil {
		b.count(new.From, +1)
	}
	if b.byPrefix == nil {
		b.byPrefix = make(map[netip.Prefix]*ban)
	}
	b.byPrefix[new.From] = new
}

func (b *bans) take(from netip.Prefix) {
	delete(b.byPrefix, from)
	b.count(from, -1)
}

// count notes that there is one more or less with the length of the prefix.
func (b *bans) count(prefix netip.Prefix, change int) {
	lengths := &b.lengths[family(prefix.Addr())]
	at, found := slices.BinarySearchFunc(*lengths, prefix.Bits(), func(l prefixLength, bits int) int { return cmp.Compare(l.bits, bits) })
	if !found {
		*lengths = slices.Insert(*lengths, at, prefixLength{bits: prefix.Bits()})
	}
	if (*lengths)[at].count += change; (*lengths)[at].count == 0 {
		*lengths = slices.Delete(*lengths, at, at+1)
	}
}

// unmapPrefix returns the prefix masked, and an IPv4-mapped one as IPv4.
func unmapPrefix(prefix netip.Prefix) (netip.Prefix, error) {
	if !prefix.IsValid() || prefix.Addr().Is4In6() && prefix.Bits() < 96 {
		return prefix, ErrBadPrefix
	}
	if prefix.Addr().Is4In6() {
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// Ban keeps the addresses of a prefix out from now on, before any access rule
// is asked, until a time; the zero Time: for ever. A ban of the same prefix is
// replaced. Learned peers and senders inside leave the table at once and are
// returned. Static peers inside stay in the table, and may do nothing while the
// ban lasts.
//
// If until is not after now, a ban of that prefix ends. The error is
// [ErrTooManyBans], [ErrBadPrefix] or nil. Of the reason [MaxReason] bytes are
// kept.
func (t *Table) Ban(prefix netip.Prefix, until time.Time, reason string, now time.Time) (removed []*Peer, err error) {
	if prefix, err = unmapPrefix(prefix); err != nil {
		return nil, err
	}
	if !until.IsZero() && !until.After(now) {
		t.Unban(prefix)
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.ban(Ban{prefix, now, until, reason}, now); err != nil {
		return nil, err
	}
	return t.applyBans(int64(now.Sub(t.epoch)), prefix), nil
}

// RestoreBans bans what another table has, see [Table.Bans], and returns the
// learned peers that leave. Bans whose time is over, that are not valid, or for
// which there is no room are passed over; those of a prefix that is banned
// already stay as they are.
func (t *Table) RestoreBans(list []Ban, now time.Time) (removed []*Peer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var added []netip.Prefix
	for _, b := range list {
		from, err := unmapPrefix(b.From)
		if err != nil || !b.Until.IsZero() && !b.Until.After(now) || t.bans.byPrefix[from] != nil {
			continue
		}
		if t.ban(b, now) != nil {
			break
		}
		added = append(added, from)
	}
	return t.applyBans(int64(now.Sub(t.epoch)), added...)
}

// ban puts b, whose time is not over, among the bans.
func (t *Table) ban(b Ban, now time.Time) error {
	from, err := unmapPrefix(b.From)
	if err != nil {
		return err
	}
	if len(t.bans.byPrefix) >= MaxBans && t.bans.byPrefix[from] == nil {
		return ErrTooManyBans
	}
	b.From = from
	if len(b.Reason) > MaxReason {
		b.Reason = b.Reason[:MaxReason]
		for !utf8.ValidString(b.Reason) && len(b.Reason) > MaxReason-utf8.UTFMax {
			b.Reason = b.Reason[:len(b.Reason)-1]
		}
	}
	end := int64(forEver)
	if !b.Until.IsZero() {
		// By how long it lasts, for the clock may have been set since the
		// table was made.
		if at, lasts := int64(now.Sub(t.epoch)), int64(b.Until.Sub(now)); lasts < forEver-at {
			end = at + lasts
		}
	}
	t.bans.put(&ban{b, end})
	return nil
}

// Unban ends the ban of a prefix, and reports whether there was one. Others that
// cover some of its addresses go on.
func (t *Table) Unban(prefix netip.Prefix) bool {
	prefix, err := unmapPrefix(prefix)
	if err != nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.bans.byPrefix[prefix] == nil {
		return false
	}
	t.bans.take(prefix)
	t.applyBans(t.bannedAt)
	return true
}

// Bans returns those whose time is not over, in the order of their prefixes.
func (t *Table) Bans(now time.Time) (list []Ban) {
	at := int64(now.Sub(t.epoch))
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.bans.byPrefix {
		if at < b.end {
			list = append(list, b.Ban)
		}
	}
	slices.SortFunc(list, func(a, b Ban) int {
		return cmp.Or(a.From.Addr().Compare(b.From.Addr()), cmp.Compare(a.From.Bits(), b.From.Bits()))
	})
	return list
}

// BanOf returns, of the bans that cover addr now, the one that ends last.
func (t *Table) BanOf(addr netip.Addr, now time.Time) (b Ban, banned bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if found := t.bans.covering(addr, int64(now.Sub(t.epoch))); found != nil {
		return found.Ban, true
	}
	return Ban{}, false
}

// ExpireBans ends the bans whose time is over, which means for static peers that
// they take part again; for all others a ban ends by itself.
func (t *Table) ExpireBans(now time.Time) {
	at := int64(now.Sub(t.epoch))
	if at < t.nextBanEnd.Load() { // a look without the lock
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.applyBans(at)
}

// applyBans ends the bans whose time is over at the time at, which is never
// before that of a call before, and makes the others hold for the peers in the
// table. It returns the learned peers that it has removed. Those can only be in
// the prefixes that were added: a ban keeps them out for as long as it holds.
func (t *Table) applyBans(at int64, added ...netip.Prefix) (removed []*Peer) {
	at = max(at, t.bannedAt)
	t.bannedAt = at
	next := int64(forEver)
	for from, b := range t.bans.byPrefix {
		if at >= b.end {
			t.bans.take(from)
			continue
		}
		next = min(next, b.end)
	}
	t.nextBanEnd.Store(next)
	added = slices.DeleteFunc(added, func(from netip.Prefix) bool { return t.bans.byPrefix[from] == nil })
	changed := false
	removed = t.removeAll(func(p *Peer) bool {
		addr := p.addr.Addr()
		if !p.Static() {
			// No look-up for each length of a prefix, for there may be very
			// many peers, and new ones wait for the lock.
			addr = addr.WithZone("")
			return slices.ContainsFunc(added, func(from netip.Prefix) bool { return from.Contains(addr) })
		}
		if banned := t.bans.covering(addr, at) != nil; p.Banned() != banned {
			p.setBanned(banned)
			changed = true
		}
		return false
	})
	if changed {
		t.listReceivers()
	}
	return removed
}
