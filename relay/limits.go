package relay

import (
	"math"
	"slices"

	"udprelay/peers"
)

// tooFast reports whether p sends more than a peer may, and counts this
// datagram of size bytes if not.
func (limits *Limits) tooFast(p *peers.Peer, size int, at int64) bool {
	return limits.PeerDatagrams > 0 && !p.Path.Datagrams.Take(limits.PeerDatagrams, 1, at) ||
		limits.PeerBytes > 0 && !p.Path.Bytes.Take(limits.PeerBytes, size, at)
}

// admits reports whether a datagram of p, of so many bytes, may be relayed. If
// not, it is counted why.
func admits(p *peers.Peer, size int, t *tally) bool {
	switch {
	case p.Banned():
		t.dropOf(p, DropBanned, 1)
	case size == 0:
		t.KeepAlives++
	case !p.MaySend():
		t.dropOf(p, DropMayNotSend, 1)
	default:
		return true
	}
	return false
}

// filter takes out of the batch what goes round in a loop, and then what is
// beyond the limits of its origin: limits hide that a payload comes again.
// Received says that the socket brought it, and not a link.
func (r *Relay) filter(b *batch, received bool, t *tally) {
	r.filterStorms(b, received, t)
	limits := r.limits.Load()
	if limits.PeerDatagrams <= 0 && limits.PeerBytes <= 0 {
		return
	}
	kept := 0
	for i, d := range b.datagrams {
		origin := b.origins[i]
		if origin != nil && limits.tooFast(origin, len(d.Payload), b.at) {
			t.dropFrom(d.From, origin, DropPeerRate)
			continue
		}
		b.datagrams[kept], b.origins[kept] = d, origin
		kept++
	}
	b.datagrams, b.origins = b.datagrams[:kept], b.origins[:kept]
}

// capEgress takes out of the batch what must not leave where so many bytes may
// in a second, for all receivers alike: if each were asked apart, those that come last would starve.
func (r *Relay) capEgress(b *batch, receivers []*peers.Peer, perSecond int, t *tally) {
	var (
		space  [maxBatch]*peers.Peer
		capped = space[:0] // the origins of what is taken out
		kept   = 0
		others = counting{receivers: receivers, members: b.members}
	)
	for i := range b.datagrams {
		to := others.than(b.origins[i])
		bytes := min(int64(to)*int64(len(b.datagrams[i].Payload)), math.MaxInt32) // an int may have 32 bits
		if to > 0 && !r.egress.Take(perSecond, int(bytes), b.at) {
			t.drop(DropEgressLimit, to, b.datagrams[i].From)
			capped = append(capped, b.origins[i])
			continue
		}
		b.datagrams[kept], b.origins[kept] = b.datagrams[i], b.origins[i]
		kept++
	}
	b.datagrams, b.origins = b.datagrams[:kept], b.origins[:kept]
	if len(capped) == 0 {
		return
	}
	count := func(p *peers.Peer, spoke bool) {
		n := len(capped)
		if spoke {
			for _, origin := range capped {
				if origin == p {
					n--
				}
			}
		}
		if n > 0 {
			p.Path.Counts.Drop(int(DropEgressLimit), uint64(n), b.at)
		}
	}
	spoke := walk{b.speakers}
	for _, p := range receivers {
		count(p, spoke.meets(p))
	}
	spoke = walk{b.speakers}
	for _, m := range b.members {
		count(m.peer, spoke.meets(m.peer))
	}
}

// A counting says how many receivers there are but an origin.
type counting struct {
	receivers []*peers.Peer
	members   []*Attachment
	last      *peers.Peer // whom it was asked about last, for datagrams come in runs
	among     int         // 1: that one is a receiver
}

func (c *counting) than(origin *peers.Peer) int {
	all := len(c.receivers) + len(c.members)
	if origin == nil {
		return all
	}
	if origin != c.last {
		c.last, c.among = origin, 0
		found := false
		if origin.Connected() {
			_, found = slices.BinarySearchFunc(c.members, origin, func(m *Attachment, p *peers.Peer) int { return byNumber(m.peer, p) })
		} else {
			_, found = slices.BinarySearchFunc(c.receivers, origin, byNumber)
		}
		if found {
			c.among = 1
		}
	}
	return all - c.among
}
