package admin

import (
	"math"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"udprelay/relay"
)

// mostMetered is how many peers have metrics of their own at most: each makes
// four series and more, which Prometheus keeps long after the peer has gone.
const mostMetered = 10_000

// Metrics of a peer.
var (
	peerMetrics = []struct {
		desc  *prometheus.Desc
		value func(*Peer) uint64
	}{
		{describe("peer_received_datagrams_total", "Datagrams that came from a peer, keep-alives included.", "peer"), func(p *Peer) uint64 { return p.Received }},
		{describe("peer_received_bytes_total", "Payload of the datagrams that came from a peer.", "peer"), func(p *Peer) uint64 { return p.ReceivedBytes }},
		{describe("peer_delivered_datagrams_total", "Datagrams for a peer that were given to the kernel.", "peer"), func(p *Peer) uint64 { return p.Delivered }},
		{describe("peer_delivered_bytes_total", "Payload for a peer that was given to the kernel.", "peer"), func(p *Peer) uint64 { return p.DeliveredBytes }},
	}
	peerDropsDesc = describe("peer_dropped_datagrams_total", "Datagrams from a peer or for it that were dropped, by reason; only reasons that there were.", "peer", "reason")
	unmeteredDesc = describe("peers_without_metrics", "Peers that have no metrics of their own, for so many have.")
)

// A peerCollector makes metrics of each peer, if the daemon wants them.
type peerCollector struct {
	source Source
	going  sync.Mutex // held while one goes through all peers
}

// Describe sends what metrics there are.
func (c *peerCollector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range peerMetrics {
		to <- m.desc
	}
	to <- peerDropsDesc
	to <- unmeteredDesc
}

// Collect sends the metrics as they are now.
func (c *peerCollector) Collect(to chan<- prometheus.Metric) {
	if !c.source.MetricsPerPeer() {
		return
	}
	c.going.Lock()
	defer c.going.Unlock()
	all, _ := c.source.Peers(0, math.MaxInt)
	metered := firstOf(all, mostMetered)
	for _, p := range metered {
		address := AddressText(p.Address)
		if p.Connected() { // there may be a peer by UDP at its address
			address = p.Transport + "://" + address
		}
		for _, m := range peerMetrics {
			to <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.value(p)), address)
		}
		for _, reason := range relay.Drops() {
			if n := p.Dropped[reason.String()]; n > 0 {
				to <- prometheus.MustNewConstMetric(peerDropsDesc, prometheus.CounterValue, float64(n), address, reason.String())
			}
		}
	}
	to <- prometheus.MustNewConstMetric(unmeteredDesc, prometheus.GaugeValue, float64(len(all)-len(metered)))
}

// firstOf returns most peers of all at most: the static ones, then the learned
// ones that have been there longest, so that their series go on.
func firstOf(all []*Peer, most int) []*Peer {
	if len(all) <= most {
		return all
	}
	chosen := make([]*Peer, 0, most)
	for _, static := range []bool{true, false} {
		for _, p := range all {
			if p.Static == static && len(chosen) < most {
				chosen = append(chosen, p)
			}
		}
	}
	return chosen
}
