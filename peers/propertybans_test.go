package peers_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"udprelay/peers"
)

// What the machine does with bans.

// A modelBan is one of a word of banWords.
type modelBan struct {
	since, until time.Time // until zero: for ever
	reason       string
}

// banWords are those of ruleWords that are one prefix.
var banWords = ruleWords[3:]

func prefixOf(word string) netip.Prefix {
	cover, err := peers.ParseFrom(word)
	if err != nil || len(cover) != 1 {
		panic(fmt.Sprint(word, " is no prefix: ", err))
	}
	return cover[0]
}

// mayNow is what the peer may do, bans considered.
func (p *modelPeer) mayNow() peers.May {
	if p.banned {
		return peers.MayNothing
	}
	return p.may
}

func (m *model) isBanned(pl place, now time.Time) bool {
	for word, b := range m.bans {
		if pl.covered(word) && (b.until.IsZero() || b.until.After(now)) {
			return true
		}
	}
	return false
}

func (m *model) appliedAt(now time.Time) {
	if now.After(m.applied) {
		m.applied = now
	}
}

// applyBans makes them hold for those who are there: learned peers that the added
// ones cover go.
func (m *model) applyBans(now time.Time, added ...string) (removed []netip.AddrPort) {
	m.appliedAt(now)
	covered := func(pl place) bool {
		return slices.ContainsFunc(added, func(word string) bool {
			_, holds := m.bans[word]
			return holds && pl.covered(word)
		})
	}
	for word, b := range m.bans {
		if !b.until.IsZero() && !b.until.After(m.applied) {
			delete(m.bans, word)
		}
	}
	for _, p := range m.inOrder() {
		switch {
		case p.static:
			p.banned = m.isBanned(p.place, m.applied)
		case covered(p.place):
			delete(m.peers, p.addr)
			removed = append(removed, p.addr)
		}
	}
	return append(removed, m.removeSenders(func(s *modelPeer) bool { return covered(s.place) })...)
}

// expireBans looks only whether one is over.
func (m *model) expireBans(now time.Time) {
	for _, b := range m.bans {
		if !b.until.IsZero() && !b.until.After(now) {
			m.applyBans(now)
			return
		}
	}
}

func (m *model) ban(word string, b modelBan, now time.Time) (removed []netip.AddrPort) {
	if !b.until.IsZero() && !b.until.After(now) {
		m.unban(word)
		return nil
	}
	m.bans[word] = b
	return m.applyBans(now, word)
}

func (m *model) unban(word string) bool {
	_, there := m.bans[word]
	if there {
		delete(m.bans, word)
		m.applyBans(m.applied)
	}
	return there
}

var drawWord = rapid.SampledFrom(banWords)

// drawUntil draws when a ban ends; zero: never.
func (m *machine) drawUntil(t *rapid.T) time.Time {
	lasts := rapid.SampledFrom([]time.Duration{-1, 0, 1, time.Second, 5 * time.Second, 5 * time.Second, 20 * time.Second, 1<<63 - 1}).Draw(t, "lasts")
	if lasts == -1 {
		return time.Time{}
	}
	return m.now.Add(lasts)
}

func (m *machine) ban(t *rapid.T) {
	word := drawWord.Draw(t, "ban")
	b := modelBan{m.now, m.drawUntil(t), rapid.SampledFrom([]string{"", "why"}).Draw(t, "reason")}
	removed, err := m.table.Ban(prefixOf(word), b.until, b.reason, m.now)
	if err != nil {
		t.Fatalf("Ban(%s): %v", word, err)
	}
	wantAddrs(t, "removed by Ban", m.model.ban(word, b, m.now), removed)
}

func (m *machine) unban(t *rapid.T) {
	word := drawWord.Draw(t, "unban")
	if want, got := m.model.unban(word), m.table.Unban(prefixOf(word)); got != want {
		t.Fatalf("Unban(%s): want %v, got %v", word, want, got)
	}
}

func (m *machine) restoreBans(t *rapid.T) {
	var list []peers.Ban
	var added []string
	for range rapid.IntRange(0, 3).Draw(t, "bans") {
		word := drawWord.Draw(t, "word")
		b := modelBan{m.now.Add(-time.Hour), m.drawUntil(t), "restored"}
		list = append(list, peers.Ban{From: prefixOf(word), Since: b.since, Until: b.until, Reason: b.reason})
		if _, there := m.model.bans[word]; !there && (b.until.IsZero() || b.until.After(m.now)) {
			m.model.bans[word] = b
			added = append(added, word)
		}
	}
	removed := m.table.RestoreBans(list, m.now)
	wantAddrs(t, "removed by RestoreBans", m.model.applyBans(m.now, added...), removed)
}

func (m *machine) kick(t *rapid.T) {
	addr := drawPlace.Draw(t, "kicked")
	if rapid.Bool().Draw(t, "the sender") {
		addr = netip.AddrPortFrom(addr.Addr(), 0)
	}
	p := m.model.peers[addr]
	want := p != nil && !p.static
	if want {
		delete(m.model.peers, addr)
	}
	want = want || len(m.model.removeSenders(func(s *modelPeer) bool { return s.addr == addr })) > 0
	removed := m.table.Kick(func(p *peers.Peer) bool { return p.Addr() == addr })
	if got := len(removed) == 1 && removed[0].Addr() == addr; got != want || len(removed) > 1 {
		t.Fatalf("kick %v: want %v, got %v", addr, want, removed)
	}
}

func (m *machine) checkBans(t *rapid.T) {
	var want []string
	for word, b := range m.model.bans {
		if b.until.IsZero() || b.until.After(m.now) {
			want = append(want, fmt.Sprint(prefixOf(word), b.since.Sub(start), b.until.Sub(start), b.reason))
		}
	}
	var got []string
	list := m.table.Bans(m.now)
	for _, b := range list {
		got = append(got, fmt.Sprint(b.From, b.Since.Sub(start), b.Until.Sub(start), b.Reason))
	}
	if !slices.IsSortedFunc(list, func(a, b peers.Ban) int { return a.From.Addr().Compare(b.From.Addr()) }) {
		t.Fatalf("Bans: want them in order, got %v", got)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("Bans: want %v, got %v", want, got)
	}
	for _, pl := range places {
		if _, got := m.table.BanOf(pl.addr.Addr(), m.now); got != m.model.isBanned(pl, m.now) {
			t.Fatalf("BanOf(%v): want %v, got %v", pl.addr.Addr(), !got, got)
		}
	}
}

// checkExplained asks what will become of a sender and then lets the table hear
// it: it must be what was said. The next step of the machine does that without
// a question before, and must meet the same.
func (m *machine) checkExplained(t *rapid.T, addr netip.AddrPort) {
	asked := m.asked
	a := m.table.Explain(addr, m.now)
	m.asked = asked
	decides := 0
	for _, s := range a.Steps {
		if s.Name == "" || s.Result == "" {
			t.Fatalf("Explain(%v): want steps with a name and a result, got %+v", addr, a.Steps)
		}
		if s.Decides {
			decides++
		}
	}
	if want := map[bool]int{true: 0, false: 1}[a.Verdict == peers.Joined]; decides != want {
		t.Fatalf("Explain(%v): want %d steps that decide %q, got %+v", addr, want, a.Verdict, a.Steps)
	}
	if (a.Why == "") != !a.Verdict.Refused() || strings.Contains(a.Why, "%!") {
		t.Fatalf("Explain(%v): want a reason why it is refused and none else; got %q for %q", addr, a.Why, a.Verdict)
	}
	m.explained = a
}
