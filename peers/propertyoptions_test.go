package peers_test

import (
	"net/netip"
	"slices"
	"time"

	"pgregory.net/rapid"

	"udprelay/peers"
)

// What the machine does with options and with what outlives a table.

var drawProof = rapid.SampledFrom([]peers.Join{
	peers.JoinOpen, peers.JoinOpen, peers.JoinOpen, peers.JoinOpen, peers.JoinCookie, peers.JoinSecret,
})

// drawOptions returns options for the table and tells the model of them.
func (m *machine) drawOptions(t *rapid.T) peers.Options {
	o := peers.Options{
		Expiry:                   rapid.SampledFrom([]time.Duration{10 * time.Second, 10 * time.Second, 5 * time.Second, 0}).Draw(t, "expiry"),
		Max:                      rapid.IntRange(0, 8).Draw(t, "max"),
		MaxPerAddress:            rapid.IntRange(0, 3).Draw(t, "maxPerAddress"),
		JoinsPerSecond:           m.drawRate(t, "joins per second", m.model.rate != nil),
		JoinsPerSecondPerAddress: m.drawRate(t, "joins per second per address", m.model.siteRate != 0),
	}
	for range rapid.IntRange(0, 4).Draw(t, "rules") {
		from := rapid.SampledFrom(ruleWords).Draw(t, "from")
		may := peers.May(rapid.IntRange(int(peers.MayNothing), int(peers.MayBoth)).Draw(t, "may"))
		r := rule(from, may)
		r.Join = rapid.SampledFrom([]peers.Join{peers.JoinOpen, peers.JoinOpen, peers.JoinCookie, peers.JoinSecret}).Draw(t, "join")
		o.Access = append(o.Access, r)
	}
	if rapid.Bool().Draw(t, "open") { // or most senders would be refused
		o.Access = append(o.Access, anyBoth...)
	}
	m.model.use(o)
	return o
}

// drawRate draws one that divides a second into whole nanoseconds, so that the
// model agrees to the nanosecond; TestBucket… are about others. What is limited
// stays so, and the reverse; TestJoinRatesCanBeChanged is about more.
func (m *machine) drawRate(t *rapid.T, what string, limited bool) int {
	rates := []int{1, 2, 5}
	switch {
	case m.table == nil:
		rates = []int{0, 0, 1, 2, 5}
	case !limited:
		return 0
	}
	return rapid.SampledFrom(rates).Draw(t, what)
}

func (m *model) use(o peers.Options) {
	m.expiry, m.max, m.maxPerAddress, m.access = o.Expiry, o.Max, o.MaxPerAddress, o.Access
	switch {
	case m.rate != nil:
		m.rate.change(o.JoinsPerSecond)
	case o.JoinsPerSecond != 0:
		m.rate = newModelBucket(o.JoinsPerSecond)
	}
	m.siteRate = o.JoinsPerSecondPerAddress
	for _, b := range m.siteRates {
		b.change(m.siteRate)
	}
}

func (m *machine) setOptions(t *rapid.T) {
	options := m.drawOptions(t)
	options.Own = func(netip.AddrPort) bool { return true } // is not asked
	removed := m.table.SetOptions(options)
	wantAddrs(t, "removed by SetOptions", m.model.judgeAnew(), removed)
	if got := m.table.Expiry(); got != options.Expiry {
		t.Fatalf("Expiry: want %v, got %v", options.Expiry, got)
	}
	for i := range options.Access {
		options.Access[i].Join = peers.JoinSecret + 1 // the table has a copy
	}
}

func (m *model) judgeAnew() (removed []netip.AddrPort) {
	m.access = slices.Clone(m.access)
	for _, p := range m.inOrder() {
		if p.static {
			continue
		}
		decides := slices.IndexFunc(m.access, func(r peers.Rule) bool { return p.covered(r.From) })
		if decides < 0 || m.access[decides].May == peers.MayNothing || !enough(p.proof, m.access[decides].Join) {
			delete(m.peers, p.addr)
			removed = append(removed, p.addr)
			continue
		}
		if m.sendOnly(p.place) {
			delete(m.peers, p.addr)
			continue
		}
		p.may = m.access[decides].May
	}
	refused := m.removeSenders(func(s *modelPeer) bool {
		decides := slices.IndexFunc(m.access, func(r peers.Rule) bool { return s.covered(r.From) })
		return decides < 0 || m.access[decides].May == peers.MayNothing || m.access[decides].Join != peers.JoinOpen
	})
	m.removeSenders(func(s *modelPeer) bool { return !m.sendOnly(s.place) })
	return append(removed, refused...)
}

func (m *machine) forgetSecret(*rapid.T) {
	m.table.ForgetSecret()
	for _, p := range m.model.peers {
		if p.proof == peers.JoinSecret {
			p.proof = peers.JoinCookie
		}
	}
}

func (m *machine) restore(t *rapid.T) {
	var list []peers.Remembered
	ago := rapid.SampledFrom([]time.Duration{0, 1, time.Second, 5*time.Second - 1, 5 * time.Second, 10*time.Second - 1, 10 * time.Second, time.Hour, -time.Second, 1 << 62})
	for range rapid.IntRange(0, 8).Draw(t, "remembered") {
		r := peers.Remembered{Addr: drawPlace.Draw(t, "addr"), Proof: drawProof.Draw(t, "proof")}
		if rapid.IntRange(0, 9).Draw(t, "with times") > 0 {
			r.Heard = m.now.Add(-ago.Draw(t, "heard ago"))
			r.Joined = r.Heard.Add(-ago.Draw(t, "joined before"))
		}
		list = append(list, r)
	}
	m.asked = nil
	restored := m.table.Restore(list, m.now)
	m.checkAsked(t)
	wantAddrs(t, "Restore", m.model.restore(list, m.now), restored)
}

func (m *model) restore(list []peers.Remembered, now time.Time) (restored []netip.AddrPort) {
	earlier := func(a, b time.Time) time.Time {
		if a.Before(b) {
			return a
		}
		return b
	}
	for _, r := range list {
		heard := earlier(r.Heard, now)
		joined := earlier(r.Joined, heard)
		if now.Sub(heard) >= m.expiry {
			continue
		}
		if p := m.peers[r.Addr]; p != nil {
			if p.heard.Before(heard) {
				p.heard = heard
			}
			continue
		}
		if placeOf(r.Addr).site == "" {
			continue
		}
		if may, verdict := m.judge(placeOf(r.Addr), r.Proof, now); verdict == peers.Joined && !m.sendOnly(placeOf(r.Addr)) {
			m.add(r.Addr, may, r.Proof, false, joined, heard)
			restored = append(restored, r.Addr)
		}
	}
	return restored
}
