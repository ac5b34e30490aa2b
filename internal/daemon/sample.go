package daemon

import (
	"context"
	"sync"
	"time"

	"udprelay/internal/admin"
	"udprelay/peers"
	"udprelay/relay"
)

const (
	// sampleEvery is how often the counts of the relay are noted, for its rates.
	sampleEvery = time.Second

	// samplePeersEvery is how often, in samples, those of each peer are: the
	// rates of peers are over the time since the one before the last, 5 to 10 s.
	samplePeersEvery = 5
)

// A sampler notes counts now and then, so that rates can be told.
type sampler struct {
	relay *relay.Relay

	mu           sync.Mutex
	rates        admin.Rates // of the relay
	last         relay.Stats
	when         time.Time
	older, newer peerSample
}

// A peerSample is the counts of all peers and senders at a time, in ascending
// order of their numbers.
type peerSample struct {
	when   time.Time
	counts []peerCounts
}

type peerCounts struct {
	number                                             uint64
	received, receivedBytes, delivered, deliveredBytes uint64
}

func newSampler(r *relay.Relay, now time.Time) *sampler {
	return &sampler{relay: r, last: r.Stats(), when: now}
}

// run notes counts until ctx is cancelled.
func (s *sampler) run(ctx context.Context) {
	ticks := time.NewTicker(sampleEvery)
	defer ticks.Stop()
	for n := 0; ; n++ {
		if n%samplePeersEvery == 0 {
			s.notePeers(time.Now())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
			s.note(time.Now())
		}
	}
}

// note notes the counts of the relay.
func (s *sampler) note(now time.Time) {
	stats := s.relay.Stats()
	s.mu.Lock()
	defer s.mu.Unlock()
	seconds := now.Sub(s.when).Seconds()
	if seconds <= 0 {
		return
	}
	per := func(now, before uint64) float64 { return float64(now-before) / seconds }
	s.rates = admin.Rates{
		Received: per(stats.Received, s.last.Received), ReceivedBytes: per(stats.ReceivedBytes, s.last.ReceivedBytes),
		Delivered: per(stats.Delivered, s.last.Delivered), DeliveredBytes: per(stats.DeliveredBytes, s.last.DeliveredBytes),
		Dropped: per(dropped(stats), dropped(s.last)),
	}
	s.last, s.when = stats, now
}

// notePeers notes the counts of each peer, in place of the older ones.
func (s *sampler) notePeers(now time.Time) {
	all, senders := s.relay.Peers().Peers(), s.relay.Peers().Senders()
	s.mu.Lock()
	defer s.mu.Unlock()
	counts := s.older.counts[:0]
	for _, p := range all {
		for len(senders) > 0 && senders[0].Number() < p.Number() {
			counts = append(counts, countsOf(s.relay, senders[0]))
			senders = senders[1:]
		}
		counts = append(counts, countsOf(s.relay, p))
	}
	for _, p := range senders {
		counts = append(counts, countsOf(s.relay, p))
	}
	s.older, s.newer = s.newer, peerSample{now, counts}
}

func countsOf(r *relay.Relay, p *peers.Peer) peerCounts {
	stats := r.PeerStats(p)
	return peerCounts{p.Number(), stats.Received, stats.ReceivedBytes, stats.Delivered, stats.DeliveredBytes}
}

// relayRates returns the rates of the relay.
func (s *sampler) relayRates() admin.Rates {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rates
}

// setRates sets the rates of list, whose peers have the numbers, in ascending
// order.
func (s *sampler) setRates(list []*admin.Peer, numbers []uint64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sample := s.older
	if sample.when.IsZero() {
		sample = s.newer
	}
	at := 0
	for i, p := range list {
		for at < len(sample.counts) && sample.counts[at].number < numbers[i] {
			at++
		}
		// One that has joined since is measured from then on.
		before, since := peerCounts{}, p.Joined.Time
		if at < len(sample.counts) && sample.counts[at].number == numbers[i] {
			before, since = sample.counts[at], sample.when
		}
		seconds := max(now.Sub(since).Seconds(), 1)
		per := func(now, before uint64) float64 { return float64(now-before) / seconds }
		p.ReceivedRate, p.ReceivedBytesRate = per(p.Received, before.received), per(p.ReceivedBytes, before.receivedBytes)
		p.DeliveredRate, p.DeliveredBytesRate = per(p.Delivered, before.delivered), per(p.DeliveredBytes, before.deliveredBytes)
	}
}
