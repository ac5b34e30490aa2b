package relay

import (
	"math"

	"udprelay/peers"
)

// tooFast reports whether p sends more than a peer may, and counts this
// datagram of size bytes if not.
func (limits *Limits) tooFast(p *peers.Peer, size int, at int64) bool {
	return limits.PeerDatagrams > 0 && !p.Path.Datagrams.Take(limits.PeerDatagrams, 1, at) ||
		limits.PeerBytes > 0 && !p.Path.Bytes.Take(limits.PeerBytes, size, at)
}

// capEgress takes out of the batch what must not leave where so many bytes may
// in a second, for all receivers alike: if each were asked apart, those that come last would starve.
func (r *Relay) capEgress(b *batch, receivers, perSecond int, t *tally) {
	kept := 0
	for i := range b.datagrams {
		to := receivers
		if origin := b.origins[i]; origin != nil && origin.MayReceive() {
			to--
		}
		bytes := min(int64(to)*int64(len(b.datagrams[i].Payload)), math.MaxInt32) // an int may have 32 bits
		if to > 0 && !r.egress.Take(perSecond, int(bytes), b.at) {
			t.drop(DropEgressLimit, to, b.datagrams[i].From)
			continue
		}
		b.datagrams[kept], b.origins[kept] = b.datagrams[i], b.origins[i]
		kept++
	}
	b.datagrams, b.origins = b.datagrams[:kept], b.origins[:kept]
}
