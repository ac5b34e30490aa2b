package relay

import (
	"context"
	"log/slog"
	"time"
)

const (
	// forgetTrainLimits is how long a peer's train limit holds: a path may
	// grow again (RFC 8201, section 4: no sooner than 5, better 10 minutes).
	forgetTrainLimits = 10 * time.Minute

	// sayDropsEvery bounds the log: after the first line about a reason its
	// drops are counted for so long before there is another.
	sayDropsEvery = time.Minute
)

// keepHouse does what the datapath does not wait for: it expires peers, reads
// the kernel's counters, and says what was dropped.
func (r *Relay) keepHouse(ctx context.Context) {
	// Often enough that a peer outlives its expiry by no more than a tenth.
	often := time.NewTicker(min(max(r.options.Peers.Expiry/10, 10*time.Millisecond), time.Second))
	defer often.Stop()
	trainLimits := time.NewTicker(forgetTrainLimits)
	defer trainLimits.Stop()
	said := dropLog{counters: &r.counters, log: r.log}
	defer func() {
		r.countKernelDrops()
		said.say(r.Stats(), time.Now(), true)
	}()
	refresh := time.NewTicker(time.Second)
	defer refresh.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-often.C:
			for _, p := range r.table.Expire(now) {
				r.log.Debug("peer expired", "peer", p.Addr())
			}
			r.countKernelDrops()
			said.say(r.Stats(), now, false)
		case <-refresh.C:
			if err := r.own.refresh(); err != nil {
				r.log.Debug(err.Error())
			}
		case <-trainLimits.C:
			for _, p := range r.table.Receivers() {
				p.Path.TrainLimit.Store(0)
			}
		}
	}
}

// countKernelDrops adds what the kernel has dropped since the last call.
func (r *Relay) countKernelDrops() {
	if total, ok := r.socket.kernelDrops(); ok {
		counter := &r.counters.dropped[DropReceiveQueueFull]
		// The kernel counts modulo 2³².
		counter.Add(uint64(total - uint32(counter.Load())))
	}
}

// A dropLog says of each reason how many datagrams it has cost: the first time
// at once, from then on at most once in sayDropsEvery.
type dropLog struct {
	counters *counters
	log      *slog.Logger
	said     [drops]uint64    // what was said so far
	when     [drops]time.Time // and when
}

func (l *dropLog) say(s Stats, now time.Time, last bool) {
	for _, reason := range Drops() {
		count := s.Dropped[reason]
		if count == l.said[reason] || !last && now.Sub(l.when[reason]) < sayDropsEvery {
			continue
		}
		args := []any{"reason", reason.String(), "count", count - l.said[reason], "total", count}
		if whom := l.counters.lastDropped(reason); whom.IsValid() {
			args = append(args, "peer", whom)
		}
		if advice := advice[reason]; advice != "" {
			args = append(args, "hint", advice)
		}
		l.log.Warn("datagrams dropped", args...)
		l.said[reason], l.when[reason] = count, now
	}
}

// advice is what an operator can do about a reason.
var advice = [drops]string{
	DropRule:             "to let these senders in, add a rule to access",
	DropTableFull:        "to take more peers, raise peers.max; if there should not be so many, see who takes the places",
	DropAddressFull:      "to take more peers of one address, raise peers.max_per_address",
	DropReceiveQueueFull: "datagrams come faster than they leave, or with wrong checksums; for bursts, raise socket.receive_buffer",
	DropTooBig:           "datagrams are longer than the way to a receiver can carry",
	DropFiltered:         "a firewall on this machine forbids sending to a receiver",
	DropUnreachable:      "this machine has no route to a receiver",
	DropNoBuffer:         "a network interface cannot keep up, or a receiver on a local network does not answer; for bursts, raise socket.send_buffer",
}
