package relay

import (
	"math"
	"net/netip"
	"time"

	"udprelay/peers"
)

// A failure is what the network says of a datagram that it did not deliver.
type failure uint8

const (
	failedOtherwise failure = iota
	unreachable             // there is no way to the host, or it does not answer
	portClosed              // the host says that nothing listens there
)

const (
	// untilHeard is the end of the quarantine of a learned peer.
	untilHeard = math.MaxInt64

	// A static peer is sent to again after firstRetry; while that fails, after
	// twice as long each time, at most lastRetry.
	firstRetry, lastRetry = time.Second, 16 * time.Second

	// goodAgain is how long a static peer must be sent to without a failure for
	// the next quarantine to be a first one. A neighbour that does not answer
	// fails after three seconds (arp(7)).
	goodAgain = 10 * time.Second

	// A learned peer is forgotten after so many answers that nothing listens
	// there, over so long. One may come from a program that is being restarted.
	refusals     = 3
	refusingTime = time.Second

	// forgetPerSecond bounds how many are.
	forgetPerSecond = 50
)

// undeliverable is told by the socket, on the goroutine that receives, what
// the network says of a datagram to an address, and what it quotes of it.
// What it cannot know by having seen the datagram changes nothing.
func (r *Relay) undeliverable(to netip.AddrPort, what failure, quote []byte) {
	now := r.since(time.Now())
	p := r.table.Lookup(to)
	sent, known := r.sent.when(quote, now)
	if p == nil || !known {
		r.receiving.tally.StrayErrors++
		return
	}
	if heard, ok := r.table.LastHeard(p); ok && r.since(heard) > sent+int64(time.Millisecond) {
		return // it was there later than that
	}
	switch what {
	case unreachable:
		r.quarantine(p, now)
	case portClosed:
		r.refuses(p, now)
	}
}

// quarantine has nothing sent to p until it is heard; to a static peer, which
// may never speak, for a while.
func (r *Relay) quarantine(p *peers.Peer, now int64) {
	f := &p.Path.Failures
	if p.Static() && now < f.Since || !p.Static() && p.Path.HoldUntil.Load() == untilHeard {
		return // of what was sent before; a hold for another reason is no quarantine
	}
	if now-f.Since > int64(goodAgain) {
		f.Unreachable = 0
	}
	f.Unreachable++
	if !p.Static() {
		p.Path.HoldUntil.Store(untilHeard)
		r.log.Debug("peer cannot be reached; nothing is sent to it until it is heard", "peer", p.Addr())
		return
	}
	wait := min(firstRetry<<min(f.Unreachable-1, 10), lastRetry)
	f.Since = now + int64(wait)
	p.Path.HoldUntil.Store(f.Since)
	if f.Unreachable == 1 && r.receiving.saying.Take(linesPerMinute, 1, now/60) {
		r.log.Warn("static peer cannot be reached", "peer", p.Addr(), "again_in", wait, "at_most", lastRetry)
	}
}

// refuses notes that nothing listens where p is. A static peer is sent to all
// the same, so that it misses nothing when it is started.
func (r *Relay) refuses(p *peers.Peer, now int64) {
	f := &p.Path.Failures
	if p.Static() {
		return
	}
	if f.Refused == 0 {
		f.Since = now
	}
	f.Refused++
	// To forget one looks at all peers, so that it is done seldom; who is left
	// expires.
	if f.Refused >= refusals && now-f.Since >= int64(refusingTime) && r.receiving.forgetting.Take(forgetPerSecond, 1, now) && r.table.Forget(p) {
		r.log.Debug("peer forgotten: nothing listens there", "peer", p.Addr())
	}
}

// isBack is told that p, which has failed, was heard.
func (r *Relay) isBack(p *peers.Peer) {
	if p.Path.Failures.Unreachable > 0 {
		p.Path.HoldUntil.Store(0)
		r.log.Debug("peer is back", "peer", p.Addr())
	}
	p.Path.Failures = peers.Failures{}
}

// held reports whether nothing is to be sent to p at the time at.
func held(p *peers.Peer, at int64) bool {
	until := p.Path.HoldUntil.Load()
	if until == 0 {
		return false
	}
	if holds(p, until, at) {
		return true
	}
	p.Path.HoldUntil.CompareAndSwap(until, 0)
	return false
}

// holds reports whether p is held at the time at, if that is to be until a time.
func holds(p *peers.Peer, until, at int64) bool {
	return at < until && (until != untilHeard || !p.Static()) // it may have become static since
}

// leavesOut says whether nothing of the batch is to be sent to p, and why.
func (b *batch) leavesOut(p *peers.Peer) (reason Drop, out bool) {
	return DropQuarantined, held(p, b.at)
}
