package daemon

import (
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

// Ban keeps the addresses of a prefix out from now on; duration 0: for ever.
func (d *daemon) Ban(from netip.Prefix, duration time.Duration, reason string) (admin.Banned, error) {
	from, err := prefixOf(from)
	if err != nil {
		return admin.Banned{}, err
	}
	if duration < 0 {
		return admin.Banned{}, &admin.Failure{Message: fmt.Sprintf("a ban cannot last %v: want a time such as 1h, or none for a ban that does not end", duration), Code: exitUsage}
	}
	d.banning.Lock()
	defer d.banning.Unlock()
	now := time.Now()
	ban := peers.Ban{From: from, Since: now, Reason: reason}
	if duration > 0 {
		ban.Until = now.Add(duration)
	}
	table := d.relay.Peers()
	removed, err := table.Ban(from, ban.Until, reason, now)
	if errors.Is(err, peers.ErrTooManyBans) {
		return admin.Banned{}, &admin.Failure{Message: err.Error(), Way: listsBans + ", udprelay unban takes one away", Code: exitUnavailable}
	}
	if err != nil {
		return admin.Banned{}, &admin.Failure{Message: fmt.Sprintf("%v: %v", from, err), Code: exitUsage}
	}
	d.banned.Add(1) // after the table: a save that does not see it yet has the ban
	if held := banOf(table.Bans(now), from); held != nil {
		ban = *held // it has what is kept of the reason
	}
	told := admin.Banned{Ban: tellBan(ban), Removed: len(removed), Kept: d.saver != nil && !d.saver.Failing()}
	for _, p := range table.Peers() {
		if p.Static() && covers(from, p.Addr()) {
			told.Static++
		}
	}
	for _, p := range removed {
		d.log.Debug("peer removed: it is banned", "peer", p.Addr())
	}
	d.log.Info("banned", "from", named(from, 0), "until", untilOf(ban), "reason", ban.Reason, "removed", told.Removed, "static", told.Static)
	return told, nil
}

// Unban ends the ban of a prefix.
func (d *daemon) Unban(from netip.Prefix) (admin.Unbanned, error) {
	from, err := prefixOf(from)
	if err != nil {
		return admin.Unbanned{}, err
	}
	d.banning.Lock()
	defer d.banning.Unlock()
	table := d.relay.Peers()
	list := table.Bans(time.Now())
	told := admin.Unbanned{Still: []admin.Ban{}}
	for _, b := range list {
		if b.From != from && b.From.Overlaps(from) {
			told.Still = append(told.Still, tellBan(b))
		}
	}
	ban := banOf(list, from)
	if ban == nil || !table.Unban(from) { // its time may be over since
		message := "there is no ban of " + named(from, 0)
		if len(told.Still) > 0 {
			message += ", but one of " + named(told.Still[0].From, 0)
		}
		return admin.Unbanned{}, &admin.Failure{Message: message, Way: listsBans, Code: exitFailure}
	}
	d.banned.Add(1)
	told.Ban = tellBan(*ban)
	d.log.Info("ban taken away", "from", named(from, 0), "until", untilOf(*ban), "reason", ban.Reason, "bans_that_still_overlap", len(told.Still))
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
		list.Bans = append(list.Bans, tellBan(b))
	}
	return list
}

// tellBan returns b as the API has it.
func tellBan(b peers.Ban) admin.Ban {
	told := admin.Ban{From: b.From, Since: admin.Time{Time: b.Since}, Reason: b.Reason}
	if !b.Until.IsZero() {
		told.Until = &admin.Time{Time: b.Until}
	}
	return told
}
