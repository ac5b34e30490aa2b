package peers

import (
	"math"
	"net/netip"
	"sync/atomic"
	"time"
)

// A Peer is an address that takes part in the relay. Its methods may be called
// by any goroutine, also after the peer has left the table.
type Peer struct {
	// Never change.
	addr   netip.AddrPort
	number uint64
	joined int64 // nanoseconds since the table's epoch

	// Changed by the table under its lock, read by anyone.
	rights atomic.Uint32 // see rights; in one word, so that a peer fills two cache lines
	static atomic.Bool

	// Changed by the goroutine that calls Table.Heard, read by anyone.
	heard atomic.Int64 // nanoseconds since the table's epoch; never: for a static peer

	// Path belongs to the datapath. The table keeps it and, but for Transport,
	// never looks at it.
	Path Path
}

// A Path is what the datapath remembers of the way to a peer.
type Path struct {
	Source     atomic.Pointer[Source] // the local address that the peer knows us by; nil: the kernel chooses
	TrainLimit atomic.Uint32          // datagrams of this many bytes or more leave on their own; 0: no limit was met
	Transport  Transport              // never changes

	Datagrams, Bytes Bucket // what the peer has sent lately

	// Nothing is sent to the peer until this time, as the datapath counts it,
	// in nanoseconds; 0: it is sent to. When the time is over, it is tried.
	HoldUntil atomic.Int64

	Failures Failures

	Counts *Counts // never nil, and always the same
}

// Failures are what the network has answered to datagrams for a peer. They
// belong to the goroutine that receives.
type Failures struct {
	Unreachable int32 // quarantines in a row
	Refused     int32 // answers in a row that nothing listens there
	Since       int64 // the time of the first of Refused, or of the last quarantine's end
}

// Failing reports whether there are failures. It is for the goroutine that
// receives.
func (p *Path) Failing() bool { return p.Failures != Failures{} }

// A Source is a local address and how the datapath names it to the kernel.
type Source struct {
	Addr    netip.Addr // unmapped, without a zone
	Link    uint32     // the number of its interface, if it is link-local
	Control []byte     // a control message
}

// never is the time at which a static peer that has not spoken was heard: over
// for any expiry.
const never = math.MinInt64

// Addr returns the address of the peer, unmapped.
func (p *Peer) Addr() netip.AddrPort { return p.addr }

// Number returns the number of the peer: each that joins gets a higher one, so
// that the lists of a [Table] are in ascending order.
func (p *Peer) Number() uint64 { return p.number }

// Rights are packed into a word.
const (
	rightsMay    = 1<<8 - 1 // what the peer may do, unless it is banned
	rightsProof  = 8        // where its proof begins: 4 bits
	rightsBanned = 1 << 12  // it is static and banned
	rightsRule   = 13       // where the index of the rule that let it in begins, plus 1; 0: none, or one beyond the highest
	highestRule  = 1<<(32-rightsRule) - 2
)

// May returns what the peer may do: while it is banned, nothing.
func (p *Peer) May() May {
	rights := p.rights.Load()
	if rights&rightsBanned != 0 {
		return MayNothing
	}
	return May(rights & rightsMay)
}

// Banned reports whether the peer is banned. That only static peers can be, for
// learned ones leave.
func (p *Peer) Banned() bool { return p.rights.Load()&rightsBanned != 0 }

// Rule returns the index of the access rule that has let a learned peer in, as
// the options that hold have it; [NoRule] for a static one.
func (p *Peer) Rule() int { return int(p.rights.Load()>>rightsRule) - 1 }

// MaySend reports whether datagrams of the peer are relayed.
func (p *Peer) MaySend() bool { return p.May()&MaySend != 0 }

// MayReceive reports whether the peer gets the datagrams of others.
func (p *Peer) MayReceive() bool { return p.May()&MayReceive != 0 }

// Proof returns what the peer has proved: as what it joined, and JoinCookie
// instead of JoinSecret once the secret was changed, see [Table.ForgetSecret].
func (p *Peer) Proof() Join { return Join(p.rights.Load() >> rightsProof & 0xf) }

// setRights is for the table, which holds its lock.
func (p *Peer) setRights(may May, proof Join, banned bool, rule int) {
	rights := uint32(may) | uint32(min(proof, 0xf))<<rightsProof
	if banned {
		rights |= rightsBanned
	}
	if rule >= 0 && rule <= highestRule {
		rights |= uint32(rule+1) << rightsRule
	}
	p.rights.Store(rights)
}

// setBanned is for the table, which holds its lock.
func (p *Peer) setBanned(banned bool) {
	if rights := p.rights.Load(); banned {
		p.rights.Store(rights | rightsBanned)
	} else {
		p.rights.Store(rights &^ rightsBanned)
	}
}

// setProof is for the table, which holds its lock.
func (p *Peer) setProof(proof Join) {
	p.rights.Store(p.rights.Load()&^(0xf<<rightsProof) | uint32(proof)<<rightsProof)
}

// Static reports whether the peer comes from the configuration and so never
// expires.
func (p *Peer) Static() bool { return p.static.Load() }

// Joined returns when the peer entered the table.
func (t *Table) Joined(p *Peer) time.Time { return t.epoch.Add(time.Duration(p.joined)) }

// LastHeard returns when the last datagram of the peer came. It is false for a
// static peer that has never sent one.
func (t *Table) LastHeard(p *Peer) (time.Time, bool) {
	heard := p.heard.Load()
	if heard == never {
		return time.Time{}, false
	}
	return t.epoch.Add(time.Duration(heard)), true
}

// refresh notes that a datagram came at the time at. The store is left out
// where it changes nothing, for it costs more than the rest of a look-up and a
// batch has one time.
func (p *Peer) refresh(at int64) {
	if p.heard.Load() != at {
		p.heard.Store(at)
	}
}
