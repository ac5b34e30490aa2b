package daemon

import (
	"context"
	"time"

	"udprelay/internal/admin"
	"udprelay/peers"
	"udprelay/relay"
)

// silentAfter is the part of the expiry after which a learned peer counts as
// silent: its keep-alives are late.
const silentAfter = 3.0 / 4

// Turn waits until the loop of the relay has come round once more.
func (d *daemon) Turn(ctx context.Context) error { return d.relay.Turn(ctx) }

// Status returns what the daemon does, as a whole.
func (d *daemon) Status() admin.Status {
	now := time.Now()
	stats, table := d.relay.Stats(), d.relay.Peers()
	learned, static := table.Counts()
	joined, left := table.Turnover()
	d.reloading.Lock()
	most := d.config.Peers.Max
	d.reloading.Unlock()
	status := admin.Status{
		Version: d.options.Version,
		Started: admin.Time{Time: d.started},
		Now:     admin.Time{Time: now},
		Uptime:  admin.Seconds{Duration: now.Sub(d.started)},
		Config:  d.options.Config,
		Listen:  d.relay.Addr().String(),
		Way:     d.relay.Way(),
		Ready:   d.ready.Load(),
		Peers:   admin.PeerCount{Learned: learned, Static: static, Max: most},
		Counters: admin.Counters{
			Received: stats.Received, ReceivedBytes: stats.ReceivedBytes, KeepAlives: stats.KeepAlives, Relayed: stats.Relayed, NoReceiver: stats.NoReceiver, Due: stats.Due,
			Delivered: stats.Delivered, DeliveredBytes: stats.DeliveredBytes,
			Answers: stats.Answers, AnswerBytes: stats.AnswerBytes, StrayErrors: stats.StrayErrors,
			Joined: joined, Left: left,
		},
		Drops:   make(map[string]uint64),
		Reports: make(map[string]uint64),
		Rates:   d.sampler.relayRates(),
		Talks:   []admin.Talk{}, // a list in JSON, too
		Gateway: d.tellGateway(),
		Cluster: d.node.tell(),
		State:   d.tellState(now),
	}
	buffers := d.relay.Buffers()
	status.Buffers = admin.Buffers{Receive: buffers.Receive, ReceiveUsed: buffers.ReceiveUsed, Send: buffers.Send, SendUsed: buffers.SendUsed}
	for _, reason := range relay.Drops() {
		status.Drops[reason.String()] = stats.Dropped[reason]
	}
	for _, kind := range relay.Reports() {
		status.Reports[kind.String()] = stats.Reported[kind]
	}
	for _, rule := range table.Rules() {
		told := admin.Rule{From: rule.From, May: rule.May.String(), Refused: rule.Refused, Peers: rule.Peers}
		if rule.Index != peers.NoRule {
			told.Join = rule.Join.String()
		}
		status.Rules = append(status.Rules, told)
	}
	status.Peers.Senders = len(table.Senders())
	for _, talk := range d.relay.Talks() {
		status.Talks = append(status.Talks, admin.Talk(talk))
	}
	for _, p := range table.Peers() {
		if p.MayReceive() {
			status.Peers.Receivers++
		}
		if p.Connected() {
			status.Peers.Connected++
		}
		switch d.relay.PeerState(p).State {
		case relay.StateQuarantined:
			status.Peers.Quarantined++
		case relay.StateBanned:
			status.Peers.Banned++
		}
	}
	return status
}

// Peers returns peers in the order in which they joined, then senders in the same
// order, and how many there are of both.
func (d *daemon) Peers(offset, limit int) (list []*admin.Peer, total int) {
	now := time.Now()
	table := d.relay.Peers()
	names := d.namesByAddress()
	expiry := table.Expiry()
	list = []*admin.Peer{}
	for _, all := range [][]*peers.Peer{table.Peers(), table.Senders()} {
		total += len(all)
		asked := all[min(offset, len(all)):]
		asked = asked[:min(limit-len(list), len(asked))]
		offset -= min(offset, len(all))
		told, numbers := make([]*admin.Peer, 0, len(asked)), make([]uint64, 0, len(asked))
		for _, p := range asked {
			told = append(told, d.tell(p, names[p.Addr()], expiry, now))
			numbers = append(numbers, p.Number())
		}
		d.sampler.setRates(told, numbers, now)
		list = append(list, told...)
	}
	return list, total
}

// tell returns what is known of p, but for its rates.
func (d *daemon) tell(p *peers.Peer, name string, expiry time.Duration, now time.Time) *admin.Peer {
	table, stats := d.relay.Peers(), d.relay.PeerStats(p)
	told := &admin.Peer{
		Address:   p.Addr(),
		Transport: p.Transport().String(),
		Static:    p.Static(),
		Sender:    p.Sender(),
		May:       p.May().String(),
		JoinedBy:  p.Proof().String(),
		Joined:    admin.Time{Time: table.Joined(p)},
		State:     d.relay.PeerState(p).State.String(),
		Received:  stats.Received, ReceivedBytes: stats.ReceivedBytes,
		Delivered: stats.Delivered, DeliveredBytes: stats.DeliveredBytes,
		Dropped: make(map[string]uint64), Reported: make(map[string]uint64),
	}
	if p.Connected() && p.Proof() < peers.JoinSecret {
		told.JoinedBy = "connection"
	}
	if told.Static {
		told.JoinedBy, told.Name = "static", name
	}
	if heard, ever := table.LastHeard(p); ever {
		told.Heard = &admin.Time{Time: heard}
		if !told.Static && !p.Connected() {
			told.Expires = &admin.Time{Time: heard.Add(expiry)}
			if told.State == relay.StateOK.String() && !told.Sender && now.Sub(heard) > time.Duration(silentAfter*float64(expiry)) {
				told.State = "silent"
			}
		}
	}
	for _, reason := range relay.Drops() {
		if n := stats.Dropped[reason]; n > 0 {
			told.Dropped[reason.String()] = n
			told.DroppedTotal += n
		}
	}
	for _, kind := range relay.Reports() {
		if n := stats.Reported[kind]; n > 0 {
			told.Reported[kind.String()] = n
		}
	}
	return told
}
