package relay

import (
	"net/netip"
	"time"

	"udprelay/peers"
)

const (
	// A peer that cannot be reached is sent to again after firstRetry; while that
	// fails, after twice as long each time, at most lastRetry. One that is back is
	// so sent to at most 17 s later: a neighbour that the kernel is looking for at
	// that moment is asked again within a second, and answers.
	firstRetry, lastRetry = time.Second, 16 * time.Second

	// goodAgain is how long a peer must be sent to without a failure for the next
	// quarantine to be a first one. A neighbour that does not answer fails after
	// three seconds (arp(7)).
	goodAgain = 10 * time.Second

	// A retry is one datagram. What follows it within trialTime is not sent: so
	// long a neighbour has to answer before the kernel is asked about it.
	trialTime = 100 * time.Millisecond

	// onTrial is the bit of Path.HoldUntil that says so of the time until then.
	onTrial = 1

	// A learned peer is forgotten after so many answers that nothing listens
	// there, over so long. One may come from a program that is being restarted.
	refusals     = 3
	refusingTime = time.Second

	// forgetPerSecond bounds how many are.
	forgetPerSecond = 50
)

// undeliverable is told by the socket, on the goroutine that receives, what
// the network says of a datagram to an address, and what it quotes of it.
// What it cannot know by having seen the datagram changes nothing, and is not
// known.
func (r *Relay) undeliverable(to netip.AddrPort, what Report, quote []byte) (known bool) {
	now := r.since(time.Now())
	p := r.table.Lookup(to)
	sent, known := r.sent.when(quote, now)
	if p == nil || !known {
		r.receiving.tally.StrayErrors++
		return false
	}
	r.counters.reported[what].Add(1)
	p.Path.Counts.Report(int(what), now)
	if heard, ok := r.table.LastHeard(p); ok && r.since(heard) > sent+int64(time.Millisecond) {
		return true // it was there later than that
	}
	switch {
	case what.quarantines():
		r.quarantine(p, now)
	case what == ReportPortClosed:
		r.refuses(p, now)
	}
	return true
}

// quarantine has nothing sent to p for a while, unless it is heard.
func (r *Relay) quarantine(p *peers.Peer, now int64) {
	f := &p.Path.Failures
	if now < f.Since {
		return // of what was sent before
	}
	if now-f.Since > int64(goodAgain) {
		f.Unreachable = 0
	}
	f.Unreachable++
	wait := min(firstRetry<<min(f.Unreachable-1, 10), lastRetry)
	f.Since = now + int64(wait)
	p.Path.HoldUntil.Store(f.Since &^ onTrial)
	switch {
	case !p.Static():
		r.log.Debug("peer cannot be reached", "peer", p.Addr(), "again_in", wait, "at_most", lastRetry)
	case f.Unreachable == 1:
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
func held(p *peers.Peer, at int64) bool { return at < p.Path.HoldUntil.Load() }

// leavesOut says whether nothing of the batch is to be sent to p, and why.
func (b *batch) leavesOut(p *peers.Peer) (reason Drop, out bool) {
	return DropQuarantined, held(p, b.at)
}
