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

	// stormsEvery is how often cuts are looked at that may be over, if nothing
	// is received.
	stormsEvery = 250 * time.Millisecond
)

// keepHouse does what the datapath does not wait for: it expires peers, reads
// the kernel's counters, and says what was dropped.
func (r *Relay) keepHouse(ctx context.Context) {
	often := time.NewTicker(expireEvery(r.table.Expiry()))
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
	storms := time.NewTicker(stormsEvery)
	defer storms.Stop()
	var lost lostKeepAlives
	if drops := r.counters.dropped[DropReceiveQueueFull].Load(); drops > 0 { // Resume has said them
		lost.note(drops, time.Now())
		said.said[DropReceiveQueueFull] = drops
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.expiryChanged:
			often.Reset(expireEvery(r.table.Expiry()))
		case now := <-often.C:
			lost.note(r.countKernelDrops(), now)
			r.table.ExpireBans(now) // also while peers may be silent for longer
			for _, p := range r.table.Expire(lost.instead(now, r.table.Expiry())) {
				r.log.Debug("peer expired", "peer", p.Addr())
			}
			said.say(r.Stats(), now, false)
		case now := <-storms.C:
			report(r.storms.watch.Tick(r.since(now)), r.log)
			if r.receiving.backlog.balancing.Load() || r.storms.watch.AsksEmptied() {
				r.socket.wake() // also while nothing is received
			}
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

// expireEvery is often enough that a peer outlives its expiry by no more than a
// tenth.
func expireEvery(expiry time.Duration) time.Duration {
	return min(max(expiry/10, 10*time.Millisecond), time.Second)
}

// LostKeepAlives is when datagrams were last lost before anyone saw them. Among
// them may have been keep-alives, and a flood must not make those expire who
// sent them.
type lostKeepAlives struct{ last time.Time }

// note is told how many datagrams the kernel has dropped since it was last
// told.
func (l *lostKeepAlives) note(drops uint64, now time.Time) {
	if drops > 0 {
		l.last = now
	}
}

// instead returns the time that counts for expiry: while datagrams are lost,
// and an expiry longer, peers may be silent for twice as long.
func (l *lostKeepAlives) instead(now time.Time, expiry time.Duration) time.Time {
	if now.Sub(l.last) <= expiry {
		return now.Add(-expiry)
	}
	return now
}

// countKernelDrops adds what the kernel has dropped since the last call, and
// returns it.
func (r *Relay) countKernelDrops() (drops uint64) {
	if total, ok := r.socket.kernelDrops(); ok {
		counter := &r.counters.dropped[DropReceiveQueueFull]
		// The kernel counts modulo 2³².
		drops = uint64(total - uint32(counter.Load()))
		counter.Add(drops)
	}
	return drops
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
		switch whom := l.counters.lastDropped(reason); {
		case whom.IsValid() && whom.Port() == 0 && reason != DropNeverAPeer:
			args = append(args, "sender", whom.Addr())
		case whom.IsValid():
			args = append(args, "peer", whom)
		}
		if advice := advice[reason]; advice != "" {
			args = append(args, "hint", advice)
		}
		level := slog.LevelWarn
		if reason == DropUnproven {
			level = slog.LevelInfo // who joins begins with one
		}
		l.log.Log(context.Background(), level, "datagrams dropped", args...)
		l.said[reason], l.when[reason] = count, now
	}
}

// newPorts is what to do about clients such as logger, which take a place with
// each datagram.
const newPorts = "if these senders use a new port for each datagram, as logger and statsd clients do, write {from: THEIR ADDRESS, may: send} as the first rule of access: they then need no place; "

// advice is what an operator can do about a reason.
var advice = [drops]string{
	DropRule:             "udprelay why ADDRESS names the rule that refuses these senders (may: nothing), or says that access has none that lets them in",
	DropBanned:           "these senders are banned, whatever the rules of access say; udprelay ban --list shows the bans, udprelay unban takes one away",
	DropTableFull:        newPorts + "to take more peers, raise peers.max; if there should not be so many, see who takes the places",
	DropAddressFull:      newPorts + "to take more peers of one address, raise peers.max_per_address",
	DropUnproven:         "these senders have not proved themselves, as their rule in access asks; plain UDP tools need a rule with join: open",
	DropBadProof:         "somebody guesses, has the wrong secret, or was too slow: a cookie is good for a minute",
	DropJoinRate:         newPorts + "to let more join in a second, raise peers.joins_per_second or peers.joins_per_second_per_address; see who they are",
	DropPeerRate:         "to let a peer send more, raise limits.peer_datagrams_per_second or limits.peer_bytes_per_second",
	DropStorm:            "relays or peers that echo are linked in a ring; take one link away",
	DropWithheld:         "a few datagrams are withheld to find out whether a peer returns what it is sent; a storm, if there is one, has lines of its own",
	DropOverload:         "more comes in than this machine can relay, and these senders are over their fair share; limits.peer_datagrams_per_second holds them earlier",
	DropEgressLimit:      "to send more, raise limits.egress_bytes_per_second",
	DropQuarantined:      "the network says that a receiver cannot be reached; it is tried again within 16 seconds, and at once when it is heard",
	DropReceiveQueueFull: "datagrams come faster than they leave, or with wrong checksums; for bursts, raise socket.receive_buffer",
	DropTooBig:           "datagrams are longer than the way to a receiver can carry",
	DropFiltered:         "a firewall on this machine forbids sending to a receiver",
	DropUnreachable:      "this machine has no route to a receiver",
	DropStopped:          "what was received before a stop has a second to leave; this did not",
	DropQueueFull:        "a client of a gateway takes datagrams too slowly; for bursts, raise the gateway's queue",
	DropDisconnected:     "the connection of a client of a gateway ended before everything had left",
	DropNoBuffer:         "if the send buffer is empty (udprelay status), the kernel's table of neighbours is full: raise net.ipv4.neigh.default.gc_thresh3; else an interface cannot keep up: for bursts, raise socket.send_buffer or the interface's queue",
}
