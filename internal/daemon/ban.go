package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"time"

	"udprelay/internal/admin"
	"udprelay/peers"
)

const (
	// mostNamed is how many of the peers that were kicked are named.
	mostNamed = 100

	// What a program that asks ends with: that of no success, EX_USAGE and
	// EX_UNAVAILABLE of sysexits.h.
	exitFailure, exitUsage, exitUnavailable = 1, 64, 69

	listsBans = "udprelay ban --list shows the bans"
)

// prefixOf returns the prefix as the table has it: masked, and an IPv4-mapped
// one as IPv4.
func prefixOf(prefix netip.Prefix) (netip.Prefix, error) {
	switch {
	case !prefix.IsValid():
		return prefix, &admin.Failure{Message: "there is no prefix: want one such as 203.0.113.0/24 or 2001:db8::/64", Code: exitUsage}
	case prefix.Addr().Is4In6() && prefix.Bits() < 96:
		return prefix, &admin.Failure{Message: fmt.Sprintf("%v: %v: it has IPv4 addresses and others; want one such as ::/0 or 0.0.0.0/0", prefix, peers.ErrBadPrefix), Code: exitUsage}
	case prefix.Addr().Is4In6():
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// covers reports whether addr, with whatever zone, is in the prefix.
func covers(prefix netip.Prefix, addr netip.AddrPort) bool {
	return prefix.Contains(addr.Addr().WithZone(""))
}

// Kick takes the learned peers of a prefix out, of one port if it is not 0.
func (d *daemon) Kick(from netip.Prefix, port uint16) (admin.Kicked, error) {
	kicked := admin.Kicked{Removed: []netip.AddrPort{}}
	from, err := prefixOf(from)
	if err != nil {
		return kicked, err
	}
	where := "in "
	if from.IsSingleIP() {
		where = "at "
	}
	where += named(from, port)
	meant := func(p *peers.Peer) bool {
		return covers(from, p.Addr()) && (port == 0 || p.Addr().Port() == port)
	}
	table := d.relay.Peers()
	removed := table.Kick(meant)
	kicked.Count = len(removed)
	for i, p := range removed {
		if i < mostNamed {
			kicked.Removed = append(kicked.Removed, p.Addr())
		}
		d.log.Debug("peer kicked", "peer", p.Addr())
	}
	switch {
	case kicked.Count > 0:
		d.log.Info("peers kicked", "from", named(from, port), "count", kicked.Count)
		return kicked, nil
	case slices.ContainsFunc(table.Peers(), func(p *peers.Peer) bool { return p.Static() && meant(p) }):
		return kicked, &admin.Failure{Message: "only static peers are " + where + ", and a kick takes learned ones out",
			Way: "udprelay ban silences static peers; to take one out, remove it from peers.static and reload", Code: exitFailure}
	}
	return kicked, &admin.Failure{Message: "there is no peer " + where, Way: "udprelay peers shows who is there", Code: exitFailure}
}

// named says what a kick or a ban is about, as briefly as it can be written.
func named(from netip.Prefix, port uint16) string {
	switch {
	case from.IsSingleIP() && port != 0:
		return netip.AddrPortFrom(from.Addr(), port).String()
	case from.IsSingleIP():
		return from.Addr().String()
	case port != 0:
		return fmt.Sprintf("%v with port %d", from, port)
	}
	return from.String()
}

// Ban keeps the addresses of a prefix out from now on.
func (d *daemon) Ban(ctx context.Context, wish admin.BanWish) (admin.Banned, error) {
	var err error
	if wish.From, err = prefixOf(wish.From); err != nil {
		return admin.Banned{}, err
	}
	if wish.Duration < 0 {
		return admin.Banned{}, &admin.Failure{Message: fmt.Sprintf("a ban cannot last %v: want a time such as 1h, or none for a ban that does not end", wish.Duration), Code: exitUsage}
	}
	told, err := d.ban(wish)
	if err == nil && wish.Cluster {
		told.Reached = d.shared.reach(ctx)
	}
	return told, err
}

// ban is Ban, but for what other nodes do.
func (d *daemon) ban(wish admin.BanWish) (told admin.Banned, err error) {
	d.banning.Lock()
	defer d.banning.Unlock()
	now := time.Now()
	ban := peers.Ban{From: wish.From, Since: now, Reason: wish.Reason}
	if wish.Duration > 0 {
		ban.Until = now.Add(wish.Duration)
	}
	by := ""
	if wish.Cluster {
		ban.Until = ban.Until.Truncate(time.Millisecond) // the same on all nodes
		if by, err = d.shared.mayBan(ban, now); err != nil {
			return told, err
		}
	}
	removed, err := d.hold(ban, by, now)
	if errors.Is(err, peers.ErrTooManyBans) {
		return told, &admin.Failure{Message: err.Error(), Way: listsBans + ", udprelay unban takes one away", Code: exitUnavailable}
	}
	if err != nil {
		return told, &admin.Failure{Message: fmt.Sprintf("%v: %v", ban.From, err), Code: exitUsage}
	}
	if wish.Cluster {
		if _, err := d.shared.list.Set(ban.From, ban.Until, ban.Reason, by, now); err != nil {
			return told, err // not reached: mayBan has looked
		}
	}
	d.banned.Add(1) // after the table: a save that does not see it yet has the ban
	table := d.relay.Peers()
	if held := banOf(table.Bans(now), ban.From); held != nil {
		ban = *held // it has what is kept of the reason
	}
	told = admin.Banned{Ban: d.tellBan(ban), Removed: len(removed), Kept: d.kept()}
	for _, p := range table.Peers() {
		if p.Static() && covers(ban.From, p.Addr()) {
			told.Static++
		}
	}
	d.log.Info("banned", append(describeBan(ban, by), "removed", told.Removed, "static", told.Static)...)
	return told, nil
}

// hold puts a ban into the table; by is the node that has decided it for the
// cluster, or empty. Banning is locked.
func (d *daemon) hold(ban peers.Ban, by string, now time.Time) (removed []*peers.Peer, err error) {
	if removed, err = d.relay.Peers().Ban(ban.From, ban.Until, ban.Reason, now); err != nil {
		return nil, err
	}
	d.shared.note(ban.From, by, now)
	for _, p := range removed {
		d.log.Debug("peer removed: it is banned", "peer", p.Addr())
	}
	return removed, nil
}

// describeBan returns what the log says of a ban; by is the node that has
// decided it for the cluster, or empty.
func describeBan(ban peers.Ban, by string) []any {
	said := []any{"from", named(ban.From, 0), "until", untilOf(ban), "reason", ban.Reason}
	if by != "" {
		said = append(said, "cluster", by)
	}
	return said
}

// Unban ends the ban of a prefix, here or on all nodes of the cluster.
func (d *daemon) Unban(ctx context.Context, from netip.Prefix, cluster bool) (admin.Unbanned, error) {
	from, err := prefixOf(from)
	if err != nil {
		return admin.Unbanned{}, err
	}
	told, err := d.unban(from, cluster)
	if err == nil && cluster {
		told.Reached = d.shared.reach(ctx)
	}
	return told, err
}

// unban is Unban, but for what other nodes do.
func (d *daemon) unban(from netip.Prefix, cluster bool) (admin.Unbanned, error) {
	d.banning.Lock()
	defer d.banning.Unlock()
	now := time.Now()
	table := d.relay.Peers()
	list := table.Bans(now)
	told := admin.Unbanned{Still: []admin.Ban{}}
	for _, b := range list {
		if b.From != from && b.From.Overlaps(from) {
			told.Still = append(told.Still, d.tellBan(b))
		}
	}
	ban := banOf(list, from)
	if cluster {
		lifted, by, err := d.shared.lift(from, ban != nil, now)
		if err != nil {
			return admin.Unbanned{}, err
		}
		if ban == nil { // this relay had let them in again already
			ban = &lifted
		}
		told.Ban = d.tellBan(*ban)
		told.Ban.Cluster = by
		table.Unban(from)
	} else {
		if ban == nil || !table.Unban(from) { // its time may be over since
			message := "there is no ban of " + named(from, 0)
			if len(told.Still) > 0 {
				message += ", but one of " + named(told.Still[0].From, 0)
			}
			return admin.Unbanned{}, &admin.Failure{Message: message, Way: listsBans, Code: exitFailure}
		}
		told.Ban = d.tellBan(*ban)
	}
	d.shared.note(from, "", now)
	d.banned.Add(1)
	said := append(describeBan(*ban, told.Ban.Cluster), "bans_that_still_overlap", len(told.Still))
	if told.Ban.Cluster != "" {
		said = append(said, "on_all_nodes", cluster)
	}
	d.log.Info("ban taken away", said...)
	return told, nil
}

// banOf returns the ban of a prefix, or nil.
func banOf(list []peers.Ban, from netip.Prefix) *peers.Ban {
	for i := range list {
		if list[i].From == from {
			return &list[i]
		}
	}
	return nil
}

// untilOf returns the end of b for the log.
func untilOf(b peers.Ban) slog.Value {
	if b.Until.IsZero() {
		return slog.StringValue("for ever")
	}
	return slog.StringValue(b.Until.UTC().Format(time.RFC3339))
}

// Bans returns the bans that hold.
func (d *daemon) Bans() admin.BanList {
	list := admin.BanList{Bans: []admin.Ban{}, Max: peers.MaxBans}
	for _, b := range d.relay.Peers().Bans(time.Now()) {
		list.Bans = append(list.Bans, d.tellBan(b))
	}
	return list
}

// tellBan returns b as the API has it.
func (d *daemon) tellBan(b peers.Ban) admin.Ban {
	told := admin.Ban{From: b.From, Since: admin.Time{Time: b.Since}, Reason: b.Reason, Cluster: d.shared.decidedBy(b.From)}
	if !b.Until.IsZero() {
		told.Until = &admin.Time{Time: b.Until}
	}
	return told
}
