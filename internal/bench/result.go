package bench

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Phase is what a run is doing.
type Phase string

// The phases of a run, in order.
const (
	Joining  Phase = "joining"
	Sending  Phase = "sending"
	Draining Phase = "draining" // what is under way arrives
)

// A Snapshot is how far a run is.
type Snapshot struct {
	Phase   Phase
	Joined  int           // peers that get what is sent
	Peers   int           // that are to do so
	Elapsed time.Duration // since the first datagram
	Sent    uint64
	Due     uint64 // Sent, once for each that should get it
	Came    uint64 // of those that are due

	// In a second, since the last snapshot.
	SentRate, DeliveredRate float64
}

// A Result is what a run has measured. Its JSON is stable: keys may be added.
type Result struct {
	Relay        netip.AddrPort `json:"relay"`
	Peers        int            `json:"peers"`
	Senders      int            `json:"senders"`
	Static       bool           `json:"static"`
	Sizes        string         `json:"sizes"`
	Pace         string         `json:"pace"`            // rate, window or flood
	Rate         float64        `json:"rate_per_second"` // asked for; 0: all it can
	Window       int            `json:"window"`          // datagrams; 0: there was none
	Trains       bool           `json:"sender_trains"`
	LatencyPeers int            `json:"latency_peers"`

	Seconds            float64 `json:"seconds"`     // of sending
	Interrupted        bool    `json:"interrupted"` // it ended before its time; a note says why, if that was a failure
	Sent               uint64  `json:"sent"`
	SentBytes          uint64  `json:"sent_bytes"`
	SentPerSecond      float64 `json:"sent_per_second"`
	Due                uint64  `json:"due"`
	Delivered          uint64  `json:"delivered"`
	DeliveredPerSecond float64 `json:"delivered_per_second"` // while datagrams were sent
	Lost               uint64  `json:"lost"`
	Surplus            uint64  `json:"surplus"`    // more than was due, at each receiver
	LossRatio          float64 `json:"loss_ratio"` // Lost of Due
	LeastDelivered     uint64  `json:"least_delivered"`
	MostDelivered      uint64  `json:"most_delivered"` // to a receiver that does not send
	Foreign            uint64  `json:"foreign"`        // datagrams of others that a receiver got, at most
	Refused            uint64  `json:"refused"`        // the relay's host said that nothing listens there

	Latency *Times `json:"latency"` // from when a datagram was to leave; nil: not measured
	Spread  *Times `json:"spread"`  // from the first to the last latency peer; nil: not measured

	Generator Generator `json:"generator"`
	Process   *Process  `json:"relay_process"` // nil: not known

	Notes []string `json:"notes"` // what to know about the figures
}

// Generator is what the bench itself took.
type Generator struct {
	ProcessorSeconds float64 `json:"processor_seconds"` // of the thread that sends
	ProcessorShare   float64 `json:"processor_share"`   // of one core, while it sent
	BenchSeconds     float64 `json:"bench_seconds"`     // of processor time, of the whole bench
	Late             *Times  `json:"late"`              // how late datagrams left; nil: they had no set time
	Limit            bool    `json:"limit"`             // it, not the relay, set how many were sent
}

// Process is what the relay's process took.
type Process struct {
	PID              int     `json:"pid"`
	ProcessorSeconds float64 `json:"processor_seconds"`
	PerDelivery      float64 `json:"processor_ns_per_delivery"` // 0: nothing was delivered
	Resident         uint64  `json:"resident_bytes"`            // at the end
	MostResident     uint64  `json:"most_resident_bytes"`       // ever
	QueueDrops       *uint64 `json:"receive_queue_drops"`       // datagrams; nil: not known
}

// Times say how long things took. In JSON they are nanoseconds.
type Times struct {
	Count int64         `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P90   time.Duration `json:"p90_ns"`
	P99   time.Duration `json:"p99_ns"`
	P999  time.Duration `json:"p99_9_ns"`
	Max   time.Duration `json:"max_ns"`
}

// What a histogram of times can hold, with an error of 0.1 %.
const (
	longestTime = int64(2 * time.Minute)
	timeDigits  = 3
)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longestTime, timeDigits) }

// note notes a time. One out of bounds counts as the nearest that is within.
func note(h *hdrhistogram.Histogram, nanoseconds int64) {
	_ = h.RecordValue(min(max(nanoseconds, 1), longestTime)) // cannot fail within them
}

// timesOf returns nil for a histogram of nothing.
func timesOf(h *hdrhistogram.Histogram) *Times {
	if h == nil || h.TotalCount() == 0 {
		return nil
	}
	at := func(percent float64) time.Duration { return time.Duration(h.ValueAtPercentile(percent)) }
	return &Times{h.TotalCount(), at(50), at(90), at(99), at(99.9), time.Duration(h.Max())}
}

// A NoRelayError is an address at which nothing relays.
type NoRelayError struct {
	Addr    netip.AddrPort
	Refused bool // its host said that nothing listens there
}

func (e *NoRelayError) Error() string {
	if e.Refused {
		return fmt.Sprintf("no relay answers at %s: nothing listens there", e.Addr)
	}
	return fmt.Sprintf("no relay answers at %s: what is sent there reaches no peer", e.Addr)
}

// A JoinError is a relay that has let in only some.
type JoinError struct {
	Addr          netip.AddrPort
	Joined, Peers int
}

func (e *JoinError) Error() string {
	return fmt.Sprintf("of %d peers only %d get what is sent to the relay at %s", e.Peers, e.Joined, e.Addr)
}

// A StartError is a relay that could not be started.
type StartError struct {
	Said string // by it
}

func (e *StartError) Error() string { return "the relay did not start; it said: " + e.Said }
