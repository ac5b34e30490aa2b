package gateway

import (
	"sync/atomic"

	"udprelay/peers"
)

// Stats are what a gateway has done since it was made.
type Stats struct {
	Clients     map[peers.Transport]int // connected now, those that still have to prove themselves included
	Connections int                     // open now, handshakes included
	Limit       int                     // how many may be open
	Accepted    uint64                  // connections, those that were closed at once included
	Ended       map[Reason]uint64       // connections, by why they were refused or have ended; each reason is there
}

type counts struct {
	accepted atomic.Uint64
	ended    [reasons]atomic.Uint64
}

// Stats returns the counts so far.
func (g *Gateway) Stats() Stats {
	s := Stats{Clients: make(map[peers.Transport]int), Connections: int(g.connections.Load()), Limit: g.options.Load().Connections, Accepted: g.counts.accepted.Load(), Ended: make(map[Reason]uint64)}
	for _, why := range Reasons() {
		s.Ended[why] = g.counts.ended[why].Load()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.clients {
		s.Clients[c.transport]++
	}
	return s
}
