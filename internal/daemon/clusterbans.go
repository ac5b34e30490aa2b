package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/banlist"
	"udprelay/peers"
)

const (
	// reachWithin is how long a ban of the cluster waits for the other nodes.
	reachWithin = 3 * time.Second

	// mostSaid is how many bans that another node brings at a time are named in
	// the log.
	mostSaid = 20

	// unnamed is what a node is called that has no name.
	unnamed = "unnamed"
)

// A clusterNode is what bans have to do with the node that the daemon is of a
// cluster.
type clusterNode interface {
	// On reports whether it is one.
	On() bool

	// Name returns what it is called.
	Name() string

	// Changed says that the bans of the cluster have changed here.
	Changed()

	// AwaitShared waits until the other nodes have them, or ctx ends, and returns
	// the names of those that have and of those that have not.
	AwaitShared(ctx context.Context) (have, missing []string)
}

// sharedBans are the bans that the nodes of a cluster agree on, as far as this
// one knows, and what it has made of them. It is a cluster.Shared, and there
// without a cluster, too: what was known stays known.
//
// What is new in the list holds here at once, in place of a ban of the same
// prefix that there was. What is then done on this relay alone counts here until
// the cluster decides anew of that prefix.
type sharedBans struct {
	daemon *daemon
	node   clusterNode

	list banlist.List // changes while daemon.banning is locked
	full bool         // it was said that there is no room; guarded by daemon.banning

	mu sync.Mutex
	of map[netip.Prefix]string // which bans here are as the cluster wants them, and the nodes that have decided them
}

func newSharedBans(d *daemon, n clusterNode) *sharedBans {
	return &sharedBans{daemon: d, node: n, of: make(map[netip.Prefix]string)}
}

// Digest is the same on two nodes that have the same bans of the cluster.
func (s *sharedBans) Digest() uint64 { return s.list.Digest(time.Now()) }

// Export returns all bans of the cluster.
func (s *sharedBans) Export() []byte { return s.list.Export(time.Now()) }

// Merge takes what is newer on another node.
func (s *sharedBans) Merge(node string, p []byte) error {
	d := s.daemon
	d.banning.Lock()
	defer d.banning.Unlock()
	now := time.Now()
	merged, err := s.list.Merge(p, now)
	if err != nil {
		return err
	}
	s.carryOut(merged.Changes, node, now)
	if full := merged.NoRoom > 0; full != s.full {
		if s.full = full; full {
			d.log.Warn("bans of the cluster are not taken", "count", merged.NoRoom, "heard_from", node, "error", banlist.ErrTooMany, "hint", listsBans+", udprelay unban --cluster takes one away")
		}
	}
	if merged.Ahead > 0 {
		farthest := merged.Farthest
		return fmt.Errorf("%d bans of the cluster are from a time to come: the clock of node %q was %v ahead of the one here when it decided that of %v; want both set, as NTP does",
			merged.Ahead, farthest.By, farthest.At.Sub(now).Round(time.Second), farthest.From)
	}
	return nil
}

// carryOut makes hold here what is new in the list. Banning is locked.
func (s *sharedBans) carryOut(changes []banlist.Change, node string, now time.Time) {
	if len(changes) == 0 {
		return
	}
	d, many := s.daemon, len(changes) > mostSaid
	say := d.log.Info
	if many {
		say = d.log.Debug
	}
	banned, lifted, failed := 0, 0, 0
	var failure error
	if many {
		changes, banned = s.holdAtOnce(changes, now)
	}
	for i := range changes {
		change := &changes[i]
		ban := banOfEntry(&change.New)
		if change.New.Lifted { // that has no reason
			ban = banOfEntry(&change.Old)
		}
		said := append(describeBan(ban, change.New.By), "heard_from", node)
		switch {
		case !change.New.Lifted:
			removed, err := d.hold(ban, change.New.By, now)
			if err != nil {
				failed, failure = failed+1, err
				continue
			}
			banned++
			say("banned", append(said, "removed", len(removed))...)
		case change.Held(): // else what is banned here was never a ban of the cluster
			s.note(change.New.From, "", now)
			if d.relay.Peers().Unban(change.New.From) {
				lifted++
				say("ban taken away", said...)
			}
		}
	}
	d.banned.Add(1)
	if many {
		d.log.Info("bans of the cluster taken", "heard_from", node, "banned", banned, "taken_away", lifted)
	}
	if failed > 0 {
		d.log.Warn("bans of the cluster do not hold on this relay", "count", failed, "heard_from", node, "error", failure, "hint", listsBans+", udprelay unban takes one away; then let the cluster ban again")
	}
}

// holdAtOnce puts the bans among changes that are of other prefixes than those
// here into the table, which goes through its peers once for all of them, and
// returns the changes that are left, and how many bans hold.
func (s *sharedBans) holdAtOnce(changes []banlist.Change, now time.Time) (left []banlist.Change, banned int) {
	d := s.daemon
	table := d.relay.Peers()
	here := func() map[netip.Prefix]bool {
		all := make(map[netip.Prefix]bool)
		for _, b := range table.Bans(now) {
			all[b.From] = true
		}
		return all
	}
	before := here()
	var list []peers.Ban
	for i := range changes {
		if e := &changes[i].New; !e.Lifted && !before[e.From] {
			ban := banOfEntry(e)
			ban.Since = now // as of those that come one by one
			list = append(list, ban)
		}
	}
	for _, p := range table.RestoreBans(list, now) {
		d.log.Debug("peer removed: it is banned", "peer", p.Addr())
	}
	after := here()
	for i := range changes {
		e := &changes[i].New
		if e.Lifted || before[e.From] || !after[e.From] {
			left = append(left, changes[i])
			continue
		}
		s.note(e.From, e.By, now)
		d.log.Debug("banned", describeBan(banOfEntry(e), e.By)...)
		banned++
	}
	return left, banned
}

// banOfEntry returns the ban that e asks for, or has lifted.
func banOfEntry(e *banlist.Entry) peers.Ban {
	return peers.Ban{From: e.From, Since: e.At, Until: e.Until, Reason: e.Reason}
}

// note notes whether the ban of a prefix that holds here is as the cluster wants
// it, and if so which node has decided it; or empty.
func (s *sharedBans) note(from netip.Prefix, by string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if by == "" {
		delete(s.of, from)
		return
	}
	if s.of[from] = by; len(s.of) <= 2*peers.MaxBans {
		return
	}
	for from := range s.of { // those that have ended since
		if e, there := s.list.Get(from, now); !there || e.Lifted {
			delete(s.of, from)
		}
	}
}

// decidedBy returns the name of the node that has decided the ban of a prefix
// that holds here; or nothing, if it is of this relay alone.
func (s *sharedBans) decidedBy(from netip.Prefix) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of[from]
}

// name returns what this node is called, or that it is none.
func (s *sharedBans) name() (string, error) {
	if !s.node.On() {
		return "", &admin.Failure{Message: "this relay is no node of a cluster",
			Way: "cluster.listen with cluster.routes, or cluster.url, make it one; without --cluster it is done on this relay alone", Code: exitUnavailable}
	}
	return cmp.Or(s.node.Name(), unnamed), nil
}

// mayBan returns the name of this node if it may decide the ban for the cluster.
// Banning is locked.
func (s *sharedBans) mayBan(ban peers.Ban, now time.Time) (by string, err error) {
	if by, err = s.name(); err != nil {
		return "", err
	}
	e := banlist.Entry{From: ban.From, Until: ban.Until, Reason: ban.Reason, By: by, At: now}
	if err := e.Check(); err != nil {
		return "", &admin.Failure{Message: err.Error(), Code: exitUsage}
	}
	if !s.list.Room(ban.From, now) {
		return "", &admin.Failure{Message: banlist.ErrTooMany.Error(), Way: listsBans + ", udprelay unban --cluster takes one away", Code: exitUnavailable}
	}
	return by, nil
}

// lift ends a ban of the cluster in the list, and returns the one that it was,
// and which node had decided it. Banning is locked.
func (s *sharedBans) lift(from netip.Prefix, bannedHere bool, now time.Time) (lifted peers.Ban, by string, err error) {
	name, err := s.name()
	if err != nil {
		return lifted, "", err
	}
	before, _ := s.list.Get(from, now)
	switch _, err := s.list.Lift(from, name, now); {
	case errors.Is(err, banlist.ErrNone):
		failure := &admin.Failure{Message: "there is no ban of the cluster on " + named(from, 0), Way: listsBans, Code: exitFailure}
		if bannedHere {
			failure.Way = "it is banned on this relay alone: udprelay unban without --cluster ends that"
		}
		return lifted, "", failure
	case err != nil:
		return lifted, "", err
	}
	return banOfEntry(&before), before.By, nil
}

// reach tells the other nodes that something has changed, and returns who has it
// when all have, when ctx ends, or after a while.
func (s *sharedBans) reach(ctx context.Context) (reached admin.Reached) {
	ctx, cancel := context.WithTimeout(ctx, reachWithin)
	defer cancel()
	s.node.Changed()
	reached.Nodes, reached.Missing = s.node.AwaitShared(ctx)
	slices.Sort(reached.Nodes)
	slices.Sort(reached.Missing)
	if len(reached.Missing) > 0 {
		s.daemon.log.Warn("nodes do not have the bans of the cluster yet", "missing", reached.Missing)
	}
	return reached
}

// restore makes known what was before a restart. The bans that it is about have
// a state of their own.
func (s *sharedBans) restore(entries []banlist.Entry, now time.Time) {
	restored := s.list.Restore(entries, now)
	s.daemon.log.Info("what the cluster has of bans is back", "count", restored, "over", len(entries)-restored)
}

// noteRestored notes that the ban of a prefix that holds here was as the cluster
// wants it.
func (s *sharedBans) noteRestored(from netip.Prefix, now time.Time) {
	if e, there := s.list.Get(from, now); there && !e.Lifted {
		s.note(from, e.By, now)
	}
}
