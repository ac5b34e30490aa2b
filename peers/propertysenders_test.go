package peers_test

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"pgregory.net/rapid"

	"udprelay/peers"
)

// What the model does with senders. Each is a modelPeer with port 0.

// sendOnly reports whether the rule that decides about pl makes it a sender.
func (m *model) sendOnly(pl place) bool {
	decides := slices.IndexFunc(m.access, func(r peers.Rule) bool { return pl.covered(r.From) })
	return decides >= 0 && m.access[decides].May == peers.MaySend && m.access[decides].Join == peers.JoinOpen
}

// sender returns the sender that a datagram from addr belongs to, or nil.
func (m *model) sender(addr netip.AddrPort) *modelPeer {
	if placeOf(addr).site == "" || slices.Contains(answering, addr) {
		return nil
	}
	return m.senders[addr.Addr()]
}

// addSender adds one, for which the one that is silent the longest makes room.
func (m *model) addSender(addr netip.AddrPort, now time.Time) {
	if len(m.senders) == m.maxSenders {
		longest := slices.MinFunc(m.sendersInOrder(), func(a, b *modelPeer) int { return a.heard.Compare(b.heard) })
		delete(m.senders, longest.addr.Addr())
	}
	m.joins++
	pl := placeOf(addr)
	pl.addr = netip.AddrPortFrom(addr.Addr(), 0)
	m.senders[addr.Addr()] = &modelPeer{place: pl, order: m.joins, may: peers.MaySend, joined: now, heard: now}
}

func (m *model) sendersInOrder() []*modelPeer {
	return slices.SortedFunc(maps.Values(m.senders), func(a, b *modelPeer) int { return a.order - b.order })
}

// removeSenders removes the senders for which gone holds, and returns them in order.
func (m *model) removeSenders(gone func(*modelPeer) bool) (removed []netip.AddrPort) {
	for _, s := range m.sendersInOrder() {
		if gone(s) {
			delete(m.senders, s.addr.Addr())
			removed = append(removed, s.addr)
		}
	}
	return removed
}

func (m *machine) checkSenders(t *rapid.T) {
	var want []netip.AddrPort
	for _, s := range m.model.sendersInOrder() {
		want = append(want, s.addr)
	}
	wantAddrs(t, "Senders", want, m.table.Senders())
	for _, pl := range places {
		p := m.model.peers[pl.addr]
		if p == nil {
			p = m.model.sender(pl.addr)
		}
		switch got := m.table.Origin(pl.addr); {
		case got == nil && p != nil:
			t.Fatalf("Origin(%v): want %v, got none", pl.addr, p)
		case got != nil && (p == nil || p.present != got):
			t.Fatalf("Origin(%v): want %v, got %s", pl.addr, p, describe(m.table, got))
		}
	}
}
