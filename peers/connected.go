package peers

import (
	"net/netip"
	"time"
)

// A Transport is how datagrams travel between the relay and a peer.
type Transport uint8

const (
	UDP             Transport = iota
	TCP                       // in frames (RFC 4571)
	TLS                       // the same, encrypted (RFC 8446)
	WebSocket                 // in messages (RFC 6455)
	SecureWebSocket           // the same, encrypted

	transports
)

// String returns the transport as the scheme of an address names it.
func (t Transport) String() string {
	return [transports]string{"udp", "tcp", "tls", "ws", "wss"}[t]
}

// Connect makes a peer of the one at the other end of a connection that is
// there: it is judged, counted and limited as a learned peer. Nothing is asked
// about its port, nor whether its address is the relay's own, for a connection
// leads nowhere but to its other end. A connection proves the address, so proof
// is [JoinCookie] at least. Addr must be unmapped.
//
// A connected peer lasts as long as its connection, whether or not it says
// something, and leaves by [Table.Forget]; it may be taken out of the table
// before, as any learned peer. Gone is called once when it leaves, with the
// table's lock held: it must not wait, nor call a method of the table.
//
// It is one of [Table.Peers] but not of [Table.Receivers], and is not found by
// its address, at which there may be a peer by UDP as well. [Table.Restore] does
// not bring it back.
func (t *Table) Connect(addr netip.AddrPort, transport Transport, now time.Time, proof Join, gone func()) (*Peer, Verdict, *RuleTally) {
	at := int64(now.Sub(t.epoch))
	proof = max(proof, JoinCookie)
	t.mu.Lock()
	defer t.mu.Unlock()
	rule, verdict := t.judgeHost(addr.Addr(), proof, at)
	if verdict.Refused() {
		return nil, verdict, rule
	}
	if !t.takeJoin(addr.Addr(), at) {
		return nil, JoinsTooFast, rule
	}
	p := &Peer{addr: addr, joined: at}
	p.Path.Transport = transport
	t.gone[p] = gone
	return t.insert(p, rule.rule.May, proof, rule, at), Joined, rule
}

// MayConnect says what Connect would say now to one at addr that has proved all
// that its rule asks for, but for the rates of joins. It changes nothing.
func (t *Table) MayConnect(addr netip.Addr, now time.Time) Verdict {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, verdict := t.judgeHost(addr, JoinSecret, int64(now.Sub(t.epoch)))
	return verdict
}

// Refresh notes that a datagram of a connected peer came.
func (t *Table) Refresh(p *Peer, now time.Time) { p.refresh(int64(now.Sub(t.epoch))) }

// connected returns a connected peer at addr, or nil. The caller holds the
// table's lock.
func (t *Table) connected(addr netip.AddrPort) *Peer {
	for p := range t.gone {
		if p.addr == addr {
			return p
		}
	}
	return nil
}

// Transport returns how datagrams travel between the relay and the peer.
func (p *Peer) Transport() Transport { return p.Path.Transport }

// Connected reports whether the peer is at the other end of a connection, see
// [Table.Connect].
func (p *Peer) Connected() bool { return p.Path.Transport != UDP }

// receives reports whether p is one of Receivers.
func (p *Peer) receives() bool { return p.MayReceive() && !p.Connected() }
