package peers_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"udprelay/peers"
)

// A machine drives a table and its model side by side.
type machine struct {
	table     *peers.Table
	model     *model
	now       time.Time
	asked     []netip.AddrPort // what Own was asked about
	highest   uint64           // number given so far
	snapshots []snapshot
	met       []*peers.Peer // each peer that Heard or Admit returned, also those that are gone
	verdicts  map[peers.Verdict]int
	explained peers.Admission // what Explain said of the next sender

	joined, left uint64 // as Turnover said last
}

// A snapshot is a slice that the table gave away, and what it held then.
type snapshot struct{ given, held []*peers.Peer }

func TestTableDoesWhatTheModelDoes(t *testing.T) {
	verdicts := map[peers.Verdict]int{}
	for range 10 { // 1000 machines, unless -rapid.checks says otherwise
		rapid.Check(t, func(t *rapid.T) {
			m := newMachine(t, verdicts)
			t.Repeat(map[string]func(*rapid.T){
				"":             m.check,
				"hear":         m.hear,
				"expire":       m.expire,
				"setStatic":    m.setStatic,
				"setOptions":   m.setOptions,
				"forgetSecret": m.forgetSecret,
				"restore":      m.restore,
				"forget":       m.forget,
				"kick":         m.kick,
				"ban":          m.ban,
				"unban":        m.unban,
				"restoreBans":  m.restoreBans,
				"pass":         m.pass,
			})
		})
	}
	t.Logf("verdicts: %v", verdicts)
	for v := peers.Known; v <= peers.NeverAPeer; v++ {
		if verdicts[v] == 0 && !t.Failed() {
			t.Errorf("want every verdict to be met, got no %q", v)
		}
	}
}

func newMachine(t *rapid.T, verdicts map[peers.Verdict]int) *machine {
	m := &machine{now: start, verdicts: verdicts, model: &model{
		peers:     map[netip.AddrPort]*modelPeer{},
		bans:      map[string]modelBan{},
		applied:   start,
		siteRates: map[string]*modelBucket{},

		senders:    map[netip.Addr]*modelPeer{},
		maxSenders: rapid.IntRange(1, 4).Draw(t, "maxSenders"),
	}}
	options := m.drawOptions(t)
	options.Own = func(addr netip.AddrPort) bool {
		m.asked = append(m.asked, addr)
		return addr == ownAddr
	}
	for m.table == nil || !m.table.JoinRateTellsApart(sites...) { // one in 200 does not
		m.table = peers.New(options, start)
	}
	m.table.KeepFewSenders(m.model.maxSenders)
	return m
}

var drawPlace = rapid.Map(rapid.SampledFrom(places), func(pl place) netip.AddrPort { return pl.addr })

// sites are the addresses of the places that may join.
var sites = func() (list []netip.Addr) {
	for _, pl := range places {
		if pl.site != "" {
			list = append(list, pl.addr.Addr())
		}
	}
	return list
}()

func (m *machine) hear(t *rapid.T) {
	for _, addr := range rapid.SliceOfN(drawPlace, 1, 6).Draw(t, "from") {
		m.asked = nil
		m.checkExplained(t, addr)
		what, do := "Heard", m.table.Heard
		proof := drawProof.Draw(t, "proof")
		if proof != peers.JoinOpen {
			what, do = "Admit", proved(m.table, proof)
		}
		p, got := do(addr, m.now)
		m.checkAsked(t)
		want := m.model.hear(addr, proof, m.now)
		if got != want {
			t.Fatalf("%s(%v): want %q, got %q", what, addr, want, got)
		}
		if proof == peers.JoinOpen && addr.Port() != 0 && (got != m.explained.Verdict || got == peers.Joined && p.May() != m.explained.May) {
			t.Fatalf("Heard(%v): want %q as Explain said, got %q: %+v", addr, m.explained.Verdict, got, m.explained.Steps)
		}
		if p != m.table.Origin(addr) {
			t.Fatalf("%s(%v): want the peer that Origin finds, %p, got %p", what, addr, m.table.Origin(addr), p)
		}
		if p != nil && !slices.Contains(m.met, p) {
			m.met = append(m.met, p)
		}
		m.verdicts[got]++
	}
}

func (m *machine) expire(t *rapid.T) {
	now := m.now.Add(-rapid.SampledFrom([]time.Duration{0, 0, time.Second}).Draw(t, "late"))
	if now.Before(start) {
		now = start
	}
	wantAddrs(t, "Expire", m.model.expire(now), m.table.Expire(now))
}

func (m *machine) setStatic(t *rapid.T) {
	addrs := rapid.SliceOfN(drawPlace, 0, 6).Draw(t, "static")
	m.asked = nil
	added, removed := m.table.SetStatic(addrs, m.now)
	m.checkAsked(t)
	wantAdded, wantRemoved := m.model.setStatic(addrs, m.now)
	wantAddrs(t, "added by SetStatic", wantAdded, added)
	wantAddrs(t, "removed by SetStatic", wantRemoved, removed)
}

func (m *machine) forget(t *rapid.T) {
	if len(m.met) == 0 {
		t.Skip("nobody was ever met")
	}
	p := rapid.SampledFrom(m.met).Draw(t, "met")
	if want, got := m.model.forget(p.Addr(), p), m.table.Forget(p); got != want {
		t.Fatalf("Forget(%v number %d): want %v, got %v", p.Addr(), p.Number(), want, got)
	}
}

func (m *machine) pass(t *rapid.T) {
	m.now = m.now.Add(rapid.SampledFrom([]time.Duration{
		0, 1, 200 * time.Millisecond, 500 * time.Millisecond, time.Second - 1, time.Second, 5 * time.Second, 10*time.Second - 1, 10 * time.Second,
	}).Draw(t, "time"))
}

// checkAsked must run before the model learns what the table did.
func (m *machine) checkAsked(t *rapid.T) {
	for _, addr := range m.asked {
		if m.model.peers[addr] != nil {
			t.Fatalf("want Own to be asked only about addresses that are not in the table, got %v", addr)
		}
	}
}

// check compares all that can be seen of the table with the model.
func (m *machine) check(t *rapid.T) {
	var all, receivers []netip.AddrPort
	static := 0
	senders := map[netip.AddrPort]*peers.Peer{}
	for _, s := range m.table.Senders() {
		senders[s.Addr()] = s
	}
	everyone := slices.Concat(m.model.inOrder(), m.model.sendersInOrder())
	slices.SortFunc(everyone, func(a, b *modelPeer) int { return a.order - b.order })
	for _, want := range everyone {
		p := m.table.Lookup(want.addr)
		if want.addr.Port() == 0 {
			p = senders[want.addr]
		}
		if p == nil {
			t.Fatalf("Lookup(%v), or Senders: want a peer, got none", want.addr)
		}
		if want.present == nil {
			if p.Number() <= m.highest {
				t.Fatalf("want %v to have a number above %d, got %d", want.addr, m.highest, p.Number())
			}
			want.present, m.highest = p, p.Number()
		}
		if p != want.present {
			t.Fatalf("Lookup(%v): want the same peer as ever, %p, got %p", want.addr, want.present, p)
		}
		if want, got := want.String(), describe(m.table, p); want != got {
			t.Fatalf("want %s,\n got %s", want, got)
		}
		if p.Sender() {
			continue
		}
		all = append(all, want.addr)
		if may := want.mayNow(); may == peers.MayReceive || may == peers.MayBoth {
			receivers = append(receivers, want.addr)
		}
		if want.static {
			static++
		}
	}
	for _, pl := range places {
		if p := m.table.Lookup(pl.addr); p != nil && m.model.peers[pl.addr] == nil {
			t.Fatalf("Lookup(%v): want none, got %s", pl.addr, describe(m.table, p))
		}
	}
	wantAddrs(t, "Peers", all, m.table.Peers())
	wantAddrs(t, "Receivers", receivers, m.table.Receivers())
	if gotLearned, gotStatic := m.table.Counts(); gotLearned != len(all)-static || gotStatic != static {
		t.Fatalf("Counts: want %d and %d, got %d and %d", len(all)-static, static, gotLearned, gotStatic)
	}
	if joined, left := m.table.Turnover(); joined < m.joined || left < m.left || int(joined-left) != len(all)-static {
		t.Fatalf("Turnover: want at least %d and %d, and %d between them; got %d and %d", m.joined, m.left, len(all)-static, joined, left)
	} else {
		m.joined, m.left = joined, left
	}
	m.checkBans(t)
	m.checkSenders(t)
	for _, s := range m.snapshots {
		if !slices.Equal(s.given, s.held) {
			t.Fatalf("want a slice that was given away to stay %v, got %v", addrsOf(s.held), s.given)
		}
	}
	for _, given := range [][]*peers.Peer{m.table.Peers(), m.table.Receivers()} {
		m.snapshots = append(m.snapshots, snapshot{given, slices.Clone(given)})
	}
	wantConsistent(t, m.table)
}

func (p *modelPeer) String() string {
	may := p.mayNow()
	return fmt.Sprintf("%v may %v (send %v, receive %v), static %v, banned %v, proof %v, joined %v, heard %v %v", p.addr, may,
		may == peers.MaySend || may == peers.MayBoth, may == peers.MayReceive || may == peers.MayBoth,
		p.static, p.banned, p.proof, p.joined.Sub(start), p.heard.Sub(start), !p.heard.IsZero())
}

func describe(table *peers.Table, p *peers.Peer) string {
	heard, ever := table.LastHeard(p)
	return fmt.Sprintf("%v may %v (send %v, receive %v), static %v, banned %v, proof %v, joined %v, heard %v %v", p.Addr(), p.May(),
		p.MaySend(), p.MayReceive(), p.Static(), p.Banned(), p.Proof(), table.Joined(p).Sub(start), heard.Sub(start), ever)
}

func wantAddrs(t *rapid.T, what string, want []netip.AddrPort, got []*peers.Peer) {
	t.Helper()
	if !slices.Equal(want, addrsOf(got)) {
		t.Fatalf("%s: want %v, got %v", what, want, addrsOf(got))
	}
}
