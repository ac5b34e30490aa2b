package relay

import (
	"fmt"
	"time"

	"udprelay/peers"
)

// PeerStats are counts of a peer since it joined.
type PeerStats struct {
	Received, ReceivedBytes   uint64 // datagrams and payload bytes that came from it, keep-alives and proofs included
	Delivered, DeliveredBytes uint64 // datagrams and payload bytes given to the kernel for it

	// Dropped counts, by Drop, datagrams from the peer that were dropped on the
	// way in, and those for it that were dropped on the way out. What was left
	// when the socket was closed is counted for the relay only.
	Dropped [drops]uint64

	Reported [reports]uint64 // what the network reported about datagrams of Delivered, by Report
}

// PeerStats returns the counts of a peer, also of one that has left. Any
// goroutine may call it.
func (r *Relay) PeerStats(p *peers.Peer) PeerStats {
	c := p.Path.Counts
	s := PeerStats{
		Received: c.Received.Load(), ReceivedBytes: c.ReceivedBytes.Load(),
		Delivered: c.Delivered.Load(), DeliveredBytes: c.DeliveredBytes.Load(),
	}
	dropped := c.Dropped()
	copy(s.Dropped[:], dropped[:])
	reported := c.Reported()
	copy(s.Reported[:], reported[:])
	return s
}

// A State says whether all is well with a peer.
type State uint8

const (
	StateOK          State = iota
	StateBanned            // it is static and banned: nothing is sent to it nor relayed from it
	StateQuarantined       // the network says that it cannot be reached: nothing is sent to it
	StateCut               // it brings back what it gets: that is not relayed
	StateOverloading       // it sends more than its fair share of what this machine can relay, and what is over was dropped lately
	StateFailing           // what was sent to it lately could not leave (there is no route, a firewall of this machine forbids it, or it is connected and too slow), or the network reports that it did not arrive
)

// failingFor is how long a peer counts as failing, or overloading, after such a
// drop.
const failingFor = 10 * time.Second

// failures are the drops of it.
var failures = []Drop{DropUnreachable, DropFiltered, DropSendFailed, DropQueueFull}

// lastFailure returns the last drop that makes p a failing one, and when it was,
// if that was lately.
func lastFailure(p *peers.Peer, now int64) (reason Drop, at int64, lately bool) {
	for _, failure := range failures {
		if when, ever := p.Path.Counts.LastDrop(int(failure)); ever && now-when < int64(failingFor) && (!lately || when > at) {
			reason, at, lately = failure, when, true
		}
	}
	return reason, at, lately
}

// String returns the state as one word.
func (s State) String() string {
	words := [...]string{"ok", "banned", "quarantined", "cut", "overloading", "failing"}
	if int(s) < len(words) {
		return words[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// A PeerState is the state of a peer at a moment.
type PeerState struct {
	State State

	// Until is when the state ends by itself; of StateCut, when at the latest; of
	// StateQuarantined, when the peer is tried again. Zero: a ban lasts for ever.
	Until time.Time
}

// PeerState returns the state of a peer. If there is more to say than one, it
// is the first in the order of the constants. Any goroutine may call it.
func (r *Relay) PeerState(p *peers.Peer) PeerState {
	now := time.Now()
	at := r.since(now)
	if p.Banned() {
		ban, _ := r.table.BanOf(p.Addr().Addr(), now)
		return PeerState{StateBanned, ban.Until}
	}
	if until := p.Path.HoldUntil.Load(); at < until {
		return PeerState{StateQuarantined, r.began.Add(time.Duration(until))}
	}
	if until, cut := r.storms.watch.CutUntil(p.Number()); cut {
		return PeerState{StateCut, r.began.Add(time.Duration(until))}
	}
	if dropped, ever := p.Path.Counts.LastDrop(int(DropOverload)); ever && at-dropped < int64(failingFor) {
		return PeerState{StateOverloading, r.began.Add(time.Duration(dropped) + failingFor)}
	}
	if _, failed, lately := lastFailure(p, at); lately {
		return PeerState{StateFailing, r.began.Add(time.Duration(failed) + failingFor)}
	}
	if _, _, until, counts := r.lastReport(p, at); counts {
		return PeerState{StateFailing, r.began.Add(time.Duration(until))}
	}
	return PeerState{}
}

// LastDrop returns when a datagram from p or for it was last dropped for a
// reason, if one was. Any goroutine may call it.
func (r *Relay) LastDrop(p *peers.Peer, reason Drop) (at time.Time, ever bool) {
	since, ever := p.Path.Counts.LastDrop(int(reason))
	if !ever {
		return time.Time{}, false
	}
	return r.began.Add(time.Duration(since)), true
}

// A heardRun is datagrams in a row that came from one peer, which are counted
// for it together.
type heardRun struct {
	peer         *peers.Peer
	count, bytes uint64
}

func (h *heardRun) note(p *peers.Peer, size int) {
	if h.peer != p {
		h.flush()
		h.peer = p
	}
	h.count++
	h.bytes += uint64(size)
}

func (h *heardRun) flush() {
	if h.peer != nil {
		h.peer.Path.Counts.Received.Add(h.count)
		h.peer.Path.Counts.ReceivedBytes.Add(h.bytes)
	}
	h.count, h.bytes = 0, 0
}
