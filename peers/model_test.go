package peers_test

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"udprelay/peers"
)

// A place is an address that the state machine may draw. What is true of it is
// written down, so that the model does not compute it the way the table does.
type place struct {
	addr netip.AddrPort
	site string // what MaxPerAddress counts it under; "": it can never be a peer
	from string // the words of ruleWords that cover it
}

var places = []place{
	{addr("192.0.2.1:1"), "192.0.2.1", "any 192.0.2.0/24 192.0.2.1"},
	{addr("192.0.2.1:2"), "192.0.2.1", "any 192.0.2.0/24 192.0.2.1"},
	{addr("192.0.2.1:3"), "192.0.2.1", "any 192.0.2.0/24 192.0.2.1"},
	{addr("192.0.2.2:1"), "192.0.2.2", "any 192.0.2.0/24"},
	{addr("10.0.0.1:1"), "10.0.0.1", "any private"},
	{addr("[2001:db8::1]:1"), "2001:db8:0:0", "any 2001:db8::/32 2001:db8::/64"},
	{addr("[2001:db8::1]:2"), "2001:db8:0:0", "any 2001:db8::/32 2001:db8::/64"},
	{addr("[2001:db8:0:0:ffff::2]:1"), "2001:db8:0:0", "any 2001:db8::/32 2001:db8::/64"},
	{addr("[2001:db8:0:1::1]:1"), "2001:db8:0:1", "any 2001:db8::/32"},
	{addr("[fd00::1]:1"), "fd00:0:0:0", "any private"},
	{addr("[fe80::1]:1"), "fe80::1", "any link-local fe80::1"},
	{addr("[fe80::1%eth0]:1"), "fe80::1", "any link-local fe80::1"},
	{addr("[fe80::1%eth1]:1"), "fe80::1", "any link-local fe80::1"},
	{addr("[fe80::2%eth0]:1"), "fe80::2", "any link-local"},

	{answering[0], "192.0.2.1", "any 192.0.2.0/24 192.0.2.1"},
	{answering[1], "192.0.2.2", "any 192.0.2.0/24"},
	{answering[2], "2001:db8:0:0", "any 2001:db8::/32 2001:db8::/64"},
	{answering[3], "10.0.0.1", "any private"},

	{addr: ownAddr, from: "any 192.0.2.0/24"},
	{addr: addr("192.0.2.1:0"), from: "any 192.0.2.0/24 192.0.2.1"},
	{addr: addr("239.0.0.1:1"), from: "any"},
	{addr: addr("255.255.255.255:1"), from: "any"},
	{addr: addr("[ff02::1%eth0]:1"), from: "any"},
	{addr: addr("[::%eth0]:1"), from: "any"},
}

// answering are the places of services that answer anything: they may be
// static and are never learned.
var answering = addrs("192.0.2.1:7", "192.0.2.2:13", "[2001:db8::1]:17", "10.0.0.1:19")

var ownAddr = addr("192.0.2.9:9000")

var ruleWords = []string{
	"any", "private", "link-local", "192.0.2.0/24", "192.0.2.1", "2001:db8::/32", "2001:db8::/64", "fe80::1",
}

func placeOf(addr netip.AddrPort) place {
	return places[slices.IndexFunc(places, func(pl place) bool { return pl.addr == addr })]
}

func (pl place) covered(from string) bool { return slices.Contains(strings.Fields(pl.from), from) }

// A model does what a table should do, the slow way.
type model struct {
	expiry             time.Duration
	max, maxPerAddress int
	access             []peers.Rule
	peers              map[netip.AddrPort]*modelPeer
	joins              int

	senders    map[netip.Addr]*modelPeer
	maxSenders int

	bans    map[string]modelBan // by word
	applied time.Time           // when bans were last applied to static peers

	rate      *modelBucket // nil: no limit
	siteRate  int          // 0: no limit
	siteRates map[string]*modelBucket
}

// A modelBucket counts what may still pass, as one would with a pencil: it
// holds at most what may pass in a second, and is refilled bit by bit.
type modelBucket struct {
	perSecond int64
	left      int64 // billionths of what Take counts in; below 0: to be paid for
	filled    time.Time
}

func newModelBucket(perSecond int) *modelBucket {
	return &modelBucket{int64(perSecond), int64(perSecond) * 1e9, start}
}

// change leaves as much of a second's worth as there was.
func (b *modelBucket) change(perSecond int) {
	b.left = b.left / b.perSecond * int64(perSecond)
	b.perSecond = int64(perSecond)
}

func (b *modelBucket) take(n int, now time.Time) bool {
	b.left = min(b.perSecond*1e9, b.left+b.perSecond*int64(now.Sub(b.filled)))
	b.filled = now
	if b.left <= 0 {
		return false
	}
	b.left -= int64(n) * 1e9
	return true
}

// mayJoinNow asks the rate of the site first, and that of all only then.
func (m *model) mayJoinNow(site string, now time.Time) bool {
	if m.siteRate != 0 {
		if m.siteRates[site] == nil {
			m.siteRates[site] = newModelBucket(m.siteRate)
		}
		if !m.siteRates[site].take(1, now) {
			return false
		}
	}
	return m.rate == nil || m.rate.take(1, now)
}

type modelPeer struct {
	place
	order   int // in which it joined
	may     peers.May
	static  bool
	banned  bool
	proof   peers.Join
	joined  time.Time
	heard   time.Time // zero: never
	present *peers.Peer
}

// inOrder returns the peers in the order in which they joined.
func (m *model) inOrder() []*modelPeer {
	return slices.SortedFunc(maps.Values(m.peers), func(a, b *modelPeer) int { return a.order - b.order })
}

func (m *model) learned(site string) (count int) {
	for _, p := range m.peers {
		if !p.static && (site == "" || p.site == site) {
			count++
		}
	}
	return count
}

func (m *model) add(addr netip.AddrPort, may peers.May, proof peers.Join, static bool, now, heard time.Time) {
	m.joins++
	m.peers[addr] = &modelPeer{place: placeOf(addr), order: m.joins, may: may, static: static, proof: proof, joined: now, heard: heard}
}

func (m *model) hear(addr netip.AddrPort, proof peers.Join, now time.Time) peers.Verdict {
	if p := m.peers[addr]; p != nil {
		p.heard = now
		return peers.Known
	}
	if placeOf(addr).site == "" {
		return peers.NeverAPeer
	}
	if s := m.sender(addr); s != nil {
		s.heard = now
		return peers.Known
	}
	may, verdict := m.judge(placeOf(addr), proof, now)
	if verdict != peers.Joined {
		return verdict
	}
	if m.sendOnly(placeOf(addr)) {
		m.addSender(addr, now)
		return peers.Joined
	}
	if !m.mayJoinNow(placeOf(addr).site, now) {
		return peers.JoinsTooFast
	}
	m.add(addr, may, proof, false, now, now)
	return peers.Joined
}

// forget is for a peer that may have left, and others may have come since.
func (m *model) forget(addr netip.AddrPort, p *peers.Peer) bool {
	if p.Sender() {
		return len(m.removeSenders(func(s *modelPeer) bool { return s.present == p })) > 0
	}
	if known := m.peers[addr]; known == nil || known.static || known.present != p {
		return false
	}
	delete(m.peers, addr)
	return true
}

func (m *model) judge(pl place, proof peers.Join, now time.Time) (peers.May, peers.Verdict) {
	if slices.Contains(answering, pl.addr) {
		return peers.MayNothing, peers.NeverAPeer
	}
	if m.isBanned(pl, now) {
		return peers.MayNothing, peers.Banned
	}
	decides := slices.IndexFunc(m.access, func(r peers.Rule) bool { return pl.covered(r.From) })
	if decides < 0 || m.access[decides].May == peers.MayNothing {
		return peers.MayNothing, peers.RefusedByRule
	}
	if m.sendOnly(pl) {
		return peers.MaySend, peers.Joined
	}
	if m.max != 0 && m.learned("") >= m.max {
		return peers.MayNothing, peers.TableFull
	}
	if m.maxPerAddress != 0 && m.learned(pl.site) >= m.maxPerAddress {
		return peers.MayNothing, peers.AddressFull
	}
	switch rule := m.access[decides]; {
	case enough(proof, rule.Join):
		return rule.May, peers.Joined
	case rule.Join == peers.JoinCookie:
		return rule.May, peers.NeedsCookie
	default:
		return rule.May, peers.NeedsSecret
	}
}

// enough reports whether who has given a proof may join where a rule asks.
func enough(proof, asked peers.Join) bool {
	switch asked {
	case peers.JoinSecret:
		return proof == peers.JoinSecret
	case peers.JoinCookie:
		return proof == peers.JoinSecret || proof == peers.JoinCookie
	}
	return true
}

func (p *modelPeer) over(expiry time.Duration, now time.Time) bool {
	return p.heard.IsZero() || now.Sub(p.heard) >= expiry
}

func (m *model) expire(now time.Time) (expired []netip.AddrPort) {
	m.expireBans(now)
	for _, p := range m.inOrder() {
		if !p.static && p.over(m.expiry, now) {
			delete(m.peers, p.addr)
			expired = append(expired, p.addr)
		}
	}
	return append(expired, m.removeSenders(func(s *modelPeer) bool { return s.over(m.expiry, now) })...)
}

func (m *model) setStatic(addrs []netip.AddrPort, now time.Time) (added, removed []netip.AddrPort) {
	m.appliedAt(now)
	for _, addr := range addrs {
		p := m.peers[addr]
		switch {
		case p != nil && p.static || placeOf(addr).site == "":
			continue
		case p != nil:
			p.static, p.may, p.banned = true, peers.MayBoth, m.isBanned(p.place, now)
		default:
			m.add(addr, peers.MayBoth, peers.JoinOpen, true, now, time.Time{})
			m.peers[addr].banned = m.isBanned(placeOf(addr), now)
		}
		added = append(added, addr)
	}
	for _, p := range m.inOrder() {
		if !p.static || slices.Contains(addrs, p.addr) {
			continue
		}
		if may, verdict := m.judge(p.place, p.proof, now); verdict == peers.Joined && !p.over(m.expiry, now) && !m.sendOnly(p.place) {
			p.static, p.banned, p.may = false, false, may
			continue
		}
		delete(m.peers, p.addr)
		removed = append(removed, p.addr)
	}
	return added, removed
}
