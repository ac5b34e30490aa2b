package relay

import (
	"time"

	"udprelay/peers"
)

// A Report is a kind of what the network reports (ICMP) about a datagram that
// was sent to a peer: it was delivered to the kernel, but did not arrive.
type Report uint8

const (
	ReportUnreachable  Report = iota // there is no way to the host, or it does not answer
	ReportProhibited                 // a router or firewall on the way does not let it pass
	ReportPortClosed                 // the host says that nothing listens there
	ReportTooBig                     // it is longer than a link on the way can carry
	ReportTTLExceeded                // it passed too many routers, as in a routing loop
	ReportFragmentLost               // the host did not get all of its fragments in time
	ReportOther                      // anything else

	reports
)

// Each peer has room to count all of them.
const _ = uint(peers.ReportKinds - reports)

// String returns the kind as one word, as metrics name it.
func (what Report) String() string {
	return [reports]string{"unreachable", "prohibited", "port_closed", "too_big", "ttl_exceeded", "fragment_lost", "other"}[what]
}

// Reports returns every kind there is.
func Reports() []Report {
	list := make([]Report, reports)
	for i := range list {
		list[i] = Report(i)
	}
	return list
}

// quarantines reports whether nothing is sent to a peer for a while after it.
func (what Report) quarantines() bool {
	return what == ReportUnreachable || what == ReportProhibited || what == ReportTTLExceeded
}

// reportWords say what a report means, in sentences about the datagrams for a peer.
var reportWords = [reports]string{
	ReportUnreachable:  "the network says that it cannot be reached",
	ReportProhibited:   "the network says that a firewall on the way forbids it",
	ReportPortClosed:   "its host says that nothing listens at its port",
	ReportTooBig:       "the network says that they are longer than a link on the way can carry",
	ReportTTLExceeded:  "the network says that they pass too many routers",
	ReportFragmentLost: "its host says that fragments of them are lost on the way",
	ReportOther:        "the network says that it could not deliver them",
}

// lastReport returns the last report about p that makes it a failing peer, when
// it came and until when it counts, if it does now. A peer that has been heard
// since it was unreachable, or its port closed, is there.
func (r *Relay) lastReport(p *peers.Peer, now int64) (what Report, at, until int64, counts bool) {
	heard := int64(-1)
	if when, ever := r.table.LastHeard(p); ever {
		heard = r.since(when)
	}
	for kind := range reports {
		when, ever := p.Path.Counts.LastReport(int(kind))
		end := when + int64(failingFor)
		if kind.quarantines() {
			end += int64(lastRetry) // it was not sent to for so long
		}
		isBack := heard > when && (kind.quarantines() || kind == ReportPortClosed)
		if ever && !isBack && now < end && (!counts || when > at) {
			what, at, until, counts = kind, when, end, true
		}
	}
	return what, at, until, counts
}

// LastReport returns when the network last reported something of the kind about
// a datagram for p, if it did. Any goroutine may call it.
func (r *Relay) LastReport(p *peers.Peer, what Report) (at time.Time, ever bool) {
	since, ever := p.Path.Counts.LastReport(int(what))
	if !ever {
		return time.Time{}, false
	}
	return r.began.Add(time.Duration(since)), true
}
