package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"udprelay/relay"
)

const (
	// DefaultQueue is how many bytes may wait to be written: 8 MiB.
	DefaultQueue = 8 << 20

	// leastQueue has room for the largest datagram.
	leastQueue = 128 << 10

	// maxPeers bounds the list of Options.Peers, which each datagram is held
	// against.
	maxPeers = 64
)

// Options say what is recorded. The zero value records everything.
type Options struct {
	Version string // of the program, for the recording

	// To is the address that the relay is bound to, the destination of what is
	// recorded. If that is a wildcard, Local says which of the host's addresses
	// a datagram came to, see [LocalOf]; where that is not known it is the
	// loopback address for an origin on the loopback interface, and the
	// wildcard for any other.
	To    netip.AddrPort
	Local func(origin netip.AddrPort) netip.Addr // nil: nothing is known

	Peers   []Peer // only datagrams from these; none: from everyone
	SnapLen int    // bytes kept of a packet, headers of IP and UDP included, at least 48; 0: all
	Count   uint64 // the recording ends after so many datagrams; 0: it does not
	Queue   int    // bytes that may wait to be written, at least 128 KiB; 0: DefaultQueue
}

// LocalOf returns a function for [Options.Local]: the address that the peer at
// origin last sent to.
func LocalOf(r *relay.Relay) func(origin netip.AddrPort) netip.Addr {
	return func(origin netip.AddrPort) netip.Addr {
		if p := r.Peers().Origin(origin); p != nil {
			if source := p.Path.Source.Load(); source != nil {
				return source.Addr
			}
		}
		return netip.Addr{}
	}
}

// A Recorder is a [relay.Link] that records what it is handed. It counts from
// the moment it is made; [Recorder.Stream] writes.
type Recorder struct {
	options Options
	queue   *queue
	ready   chan struct{} // holds one: there is something in the queue, or the end has come
	began   time.Time

	streaming atomic.Bool // Stream was called

	mu      sync.Mutex // guards what follows; held for no longer than a copy takes
	ended   bool
	stats   Stats
	missing uint64 // dropped since the last that was put into the queue
}

// Stats are the counts of a recorder, in datagrams. When [Recorder.Stream] has
// ended, Recorded and Dropped make Passed.
type Stats struct {
	Passed   uint64 // that were wanted
	Recorded uint64 // given to the writer
	Dropped  uint64 // missing from the recording, for there was no room in the queue or the writer failed
}

// NewRecorder returns a recorder that is to be attached to a relay.
func NewRecorder(options Options) (*Recorder, error) {
	if options.Queue == 0 {
		options.Queue = DefaultQueue
	}
	switch {
	case options.Queue < leastQueue:
		return nil, fmt.Errorf("a queue of %d bytes: want %d or more", options.Queue, leastQueue)
	case options.SnapLen != 0 && options.SnapLen < mostHeaders:
		return nil, fmt.Errorf("snaplen %d: want %d or more, for the headers of IPv6 and UDP, or 0 for whole packets", options.SnapLen, mostHeaders)
	case len(options.Peers) > maxPeers:
		return nil, fmt.Errorf("%d peers: want at most %d", len(options.Peers), maxPeers)
	}
	options.To = netip.AddrPortFrom(options.To.Addr().Unmap().WithZone(""), options.To.Port())
	return &Recorder{options: options, queue: newQueue(options.Queue), ready: make(chan struct{}, 1), began: time.Now()}, nil
}

// Name implements [relay.Link].
func (r *Recorder) Name() string { return "tap" }

// Deliver implements [relay.Link]. It copies the batch, as far as there is
// room, and never waits for who writes.
func (r *Recorder) Deliver(batch []relay.Datagram) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	at := time.Now().UnixNano()
	for i := range batch {
		d := &batch[i]
		if !r.wants(d.From) {
			continue
		}
		r.stats.Passed++
		if !r.keep(d, at) {
			r.missing++
			r.stats.Dropped++
		} else if r.missing = 0; r.options.Count > 0 && r.stats.Passed-r.stats.Dropped == r.options.Count {
			r.ended = true
			break
		}
	}
	r.queue.publish()
	r.wake()
}

// keep puts d into the queue, and reports whether there was room.
func (r *Recorder) keep(d *relay.Datagram, at int64) bool {
	origin := d.From.Addr()
	if len(d.Payload) > largestPayload(origin) {
		return false // from a link, and no datagram of this family
	}
	e := entry{stored: len(d.Payload), payload: len(d.Payload), at: at, missing: r.missing, from: d.From}
	if room := r.options.SnapLen - headers(origin); r.options.SnapLen > 0 && e.stored > room {
		e.stored, e.sum = room, fold(onesSum(d.Payload))
	}
	return r.queue.add(&e, d.Payload)
}

func (r *Recorder) wants(from netip.AddrPort) bool {
	if len(r.options.Peers) == 0 {
		return true
	}
	for _, p := range r.options.Peers {
		if p.covers(from) {
			return true
		}
	}
	return false
}

// wake tells the goroutine that writes to look.
func (r *Recorder) wake() {
	select {
	case r.ready <- struct{}{}:
	default:
	}
}

// end has nothing more put into the queue.
func (r *Recorder) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
}

// look returns the counts, and whether they and the queue will grow.
func (r *Recorder) look() (stats Stats, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats, r.ended
}

// Stats returns the counts.
func (r *Recorder) Stats() Stats {
	stats, _ := r.look()
	return stats
}

// destination returns the address that a datagram from origin came to, of the
// family of origin.
func (r *Recorder) destination(origin netip.AddrPort) netip.AddrPort {
	to, from := r.options.To.Addr(), origin.Addr()
	if to.IsUnspecified() && r.options.Local != nil {
		if local := r.options.Local(origin); local.IsValid() {
			to = local.Unmap().WithZone("")
		}
	}
	if to.Is4() != from.Is4() || !to.IsValid() || to.IsUnspecified() {
		switch loopback := from.IsLoopback() && (!to.IsValid() || to.IsUnspecified()); {
		case loopback && from.Is4():
			to = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		case loopback:
			to = netip.IPv6Loopback()
		case from.Is4():
			to = netip.IPv4Unspecified()
		default:
			to = netip.IPv6Unspecified()
		}
	}
	return netip.AddrPortFrom(to, r.options.To.Port())
}

var errStreamed = errors.New("a recorder streams once")
