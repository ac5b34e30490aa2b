package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/banlist"
	"udprelay/internal/state"
	"udprelay/peers"
)

// A fakeNode is a node of a cluster that says what a test has put into it; without
// a name it is none.
type fakeNode struct {
	name          string
	have, missing []string
	changed       atomic.Int64
}

func (n *fakeNode) On() bool     { return n.name != "" }
func (n *fakeNode) Name() string { return n.name }
func (n *fakeNode) Changed()     { n.changed.Add(1) }

func (n *fakeNode) AwaitShared(ctx context.Context) (have, missing []string) {
	if _, ends := ctx.Deadline(); !ends {
		panic("it waits for ever")
	}
	return slices.Clone(n.have), slices.Clone(n.missing)
}

// A nodeOf is a daemon that nothing runs beside, as a node of a cluster whose
// other nodes a test plays.
type nodeOf struct {
	*daemon
	*fakeNode
	logged *lockedBuffer
}

func unrunNode(t *testing.T, name string) nodeOf {
	t.Helper()
	n := nodeOf{unrun(t), &fakeNode{name: name}, new(lockedBuffer)}
	n.shared.node, n.daemon.log = n.fakeNode, textLog(n.logged)
	return n
}

func (n nodeOf) ban(t *testing.T, wish admin.BanWish) admin.Banned {
	t.Helper()
	banned, err := n.Ban(t.Context(), wish)
	if err != nil {
		t.Fatal(err)
	}
	return banned
}

func (n nodeOf) unban(t *testing.T, from string, cluster bool) admin.Unbanned {
	t.Helper()
	unbanned, err := n.Unban(t.Context(), prefix(from), cluster)
	if err != nil {
		t.Fatal(err)
	}
	return unbanned
}

// hears has n take what other has.
func (n nodeOf) hears(t *testing.T, other nodeOf) {
	t.Helper()
	if err := n.shared.Merge(other.name, other.shared.Export()); err != nil {
		t.Fatal(err)
	}
	if n.shared.Digest() != other.shared.Digest() {
		t.Errorf("want the same on %s and %s", n.name, other.name)
	}
}

// holds checks which bans there are: "PREFIX CLUSTER REASON".
func (n nodeOf) holds(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, b := range n.Bans().Bans {
		got = append(got, fmt.Sprintf("%v %s %s", b.From, b.Cluster, b.Reason))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: want the bans %q, got %q", n.name, want, got)
	}
}

func TestABanOfTheClusterHoldsOnAllNodes(t *testing.T) {
	north, south := unrunNode(t, "north"), unrunNode(t, "south")
	north.have, north.missing = []string{"west", "south"}, []string{"east"}
	north.join(t, "192.0.2.1:1", "198.51.100.1:1")
	south.join(t, "192.0.2.1:2", "192.0.2.2:2", "198.51.100.1:2")
	banned := north.ban(t, admin.BanWish{From: prefix("::ffff:192.0.2.7/120"), Duration: time.Hour, Reason: "loud", Cluster: true})
	if banned.Ban.From != prefix("192.0.2.0/24") || banned.Ban.Cluster != "north" || banned.Removed != 1 || banned.Ban.Until.Sub(banned.Ban.Since.Time).Round(time.Second) != time.Hour {
		t.Errorf("want it banned for an hour by north, got %+v", banned)
	}
	if !slices.Equal(banned.Nodes, []string{"south", "west"}) || !slices.Equal(banned.Missing, []string{"east"}) || north.changed.Load() != 1 {
		t.Errorf("want the nodes told, and who has it in order, got %+v", banned.Reached)
	}
	north.logged.await(t, `level=INFO msg=banned from=192\.0\.2\.0/24 until=\S+ reason=loud cluster=north removed=1 static=0`)
	north.logged.await(t, `level=WARN msg="nodes do not have the bans of the cluster yet" missing=\[east\]`)

	south.hears(t, north)
	south.holds(t, "192.0.2.0/24 north loud")
	if got := south.Bans().Bans[0]; !got.Until.Equal(banned.Ban.Until.Time) {
		t.Errorf("want it banned until %v on all nodes, got %v", banned.Ban.Until, got.Until)
	}
	if there := south.there(); there != "198.51.100.1:2" {
		t.Errorf("want two peers out, got %s", there)
	}
	south.logged.await(t, `level=INFO msg=banned from=192\.0\.2\.0/24 until=\S+ reason=loud cluster=north heard_from=north removed=2`)

	unbanned := south.unban(t, "192.0.2.0/24", true)
	if unbanned.Ban.Cluster != "north" || unbanned.Ban.Reason != "loud" || south.changed.Load() != 1 {
		t.Errorf("want the ban of north ended, got %+v", unbanned)
	}
	south.logged.await(t, `msg="ban taken away" from=192\.0\.2\.0/24 until=\S+ reason=loud cluster=north bans_that_still_overlap=0 on_all_nodes=true`)
	north.hears(t, south)
	north.holds(t)
	south.holds(t)
	north.logged.await(t, `level=INFO msg="ban taken away" from=192\.0\.2\.0/24 until=\S+ reason=loud cluster=south heard_from=south`)

	// Another of the same prefix takes the place of that before.
	south.ban(t, admin.BanWish{From: prefix("192.0.2.0/24"), Reason: "again", Cluster: true})
	north.hears(t, south)
	north.ban(t, admin.BanWish{From: prefix("192.0.2.0/24"), Reason: "and again", Cluster: true})
	south.hears(t, north)
	south.holds(t, "192.0.2.0/24 north and again")
}

func TestWhatIsDoneOnOneNodeCountsThere(t *testing.T) {
	north, south := unrunNode(t, "north"), unrunNode(t, "south")
	decide := func(reason string) {
		t.Helper()
		north.ban(t, admin.BanWish{From: prefix("192.0.2.0/24"), Reason: reason, Cluster: true})
		south.hears(t, north)
		south.holds(t, "192.0.2.0/24 north "+reason)
	}
	decide("first")
	if unbanned := south.unban(t, "192.0.2.0/24", false); unbanned.Ban.Cluster != "north" || unbanned.Nodes != nil || south.changed.Load() != 0 {
		t.Errorf("want it ended here only, got %+v", unbanned)
	}
	south.hears(t, north)
	south.holds(t)
	north.holds(t, "192.0.2.0/24 north first")

	decide("second") // the cluster decides anew
	south.ban(t, admin.BanWish{From: prefix("192.0.2.0/24"), Duration: time.Hour, Reason: "mine"})
	south.hears(t, north)
	south.holds(t, "192.0.2.0/24  mine")
	north.unban(t, "192.0.2.0/24", true)
	south.hears(t, north)
	south.holds(t)

	// Who has let them in itself can still end it for all.
	decide("third")
	south.unban(t, "192.0.2.0/24", false)
	if unbanned := south.unban(t, "192.0.2.0/24", true); unbanned.Ban.Cluster != "north" || unbanned.Ban.Reason != "third" || unbanned.Ban.Until != nil {
		t.Errorf("want the ban of the cluster ended, got %+v", unbanned)
	}
	north.hears(t, south)
	north.holds(t)
}

// A node that joins learns of bans that were ended long before. What it has
// banned itself has nothing to do with them.
func TestWhatWasLiftedBeforeEndsNoBanOfOneNode(t *testing.T) {
	north, south := unrunNode(t, "north"), unrunNode(t, "south")
	north.ban(t, admin.BanWish{From: prefix("192.0.2.0/24"), Cluster: true})
	north.unban(t, "192.0.2.0/24", true)
	south.ban(t, admin.BanWish{From: prefix("192.0.2.0/24"), Reason: "mine"})
	south.hears(t, north)
	south.holds(t, "192.0.2.0/24  mine")
	_, err := south.Unban(t.Context(), prefix("192.0.2.0/24"), true)
	wantFailure(t, err, 1, "there is no ban of the cluster on 192.0.2.0/24", "it is banned on this relay alone: udprelay unban without --cluster ends that")
	_, err = south.Unban(t.Context(), prefix("192.0.2.7/32"), true)
	wantFailure(t, err, 1, "there is no ban of the cluster on 192.0.2.7", "udprelay ban --list shows the bans")
	south.holds(t, "192.0.2.0/24  mine")
}

func TestWithoutAClusterNothingIsDecidedForIt(t *testing.T) {
	north, alone := unrunNode(t, "north"), unrunNode(t, "")
	north.ban(t, admin.BanWish{From: prefix("192.0.2.0/24"), Reason: "old", Cluster: true})
	alone.hears(t, north) // it was a node then
	const message, way = "this relay is no node of a cluster", "cluster.listen with cluster.routes, or cluster.url, make it one; without --cluster it is done on this relay alone"
	_, err := alone.Ban(t.Context(), admin.BanWish{From: prefix("198.51.100.0/24"), Cluster: true})
	wantFailure(t, err, 69, message, way)
	_, err = alone.Unban(t.Context(), prefix("192.0.2.0/24"), true)
	wantFailure(t, err, 69, message, way)
	alone.holds(t, "192.0.2.0/24 north old")
	_, err = north.Ban(t.Context(), admin.BanWish{From: prefix("198.51.100.0/24"), Reason: "a\nb", Cluster: true})
	wantFailure(t, err, 64, `reason: the character '\n' cannot be shown; want letters, digits, signs and blanks`, "")
	north.holds(t, "192.0.2.0/24 north old")
}

func manyPrefixes(first int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(first >> 8), byte(first), 0}), 24)
}

func TestTooManyBansOfTheCluster(t *testing.T) {
	north, south := unrunNode(t, "north"), unrunNode(t, "south")
	for i := range peers.MaxBans {
		north.ban(t, admin.BanWish{From: manyPrefixes(i), Cluster: true})
	}
	south.hears(t, north)
	south.logged.await(t, `level=INFO msg="bans of the cluster taken" heard_from=north banned=1000 taken_away=0`)
	if said := strings.Count(south.logged.String(), "msg=banned"); said != 0 {
		t.Errorf("want them said together, got %d", said)
	}
	// Those that the operator of one node lets in there are still of the cluster.
	north.unban(t, manyPrefixes(7).String(), false)
	_, err := north.Ban(t.Context(), admin.BanWish{From: prefix("192.0.2.0/24"), Cluster: true})
	wantFailure(t, err, 69, banlist.ErrTooMany.Error(), "udprelay ban --list shows the bans, udprelay unban --cluster takes one away")

	// A table that is full of bans of one relay alone.
	north.ban(t, admin.BanWish{From: prefix("192.0.2.0/24"), Reason: "mine"})
	west := unrunNode(t, "west")
	west.hears(t, south)
	west.ban(t, admin.BanWish{From: manyPrefixes(7), Reason: "anew", Cluster: true})
	north.hears(t, west)
	north.logged.await(t, `level=WARN msg="bans of the cluster do not hold on this relay" count=1 heard_from=west error="there are too many bans`)
	if n := len(north.Bans().Bans); n != peers.MaxBans {
		t.Errorf("want as many bans as there can be, got %d", n)
	}

	// A list that is full says so once, until there is room.
	east := unrunNode(t, "east")
	east.ban(t, admin.BanWish{From: prefix("203.0.113.0/24"), Cluster: true})
	for range 3 {
		if err := south.shared.Merge("east", east.shared.Export()); err != nil {
			t.Error(err)
		}
	}
	if said := strings.Count(south.logged.String(), `msg="bans of the cluster are not taken" count=1 heard_from=east`); said != 1 {
		t.Errorf("want it said once, got %d", said)
	}
	south.unban(t, manyPrefixes(3).String(), true)
	if err := south.shared.Merge("east", east.shared.Export()); err != nil || south.shared.decidedBy(prefix("203.0.113.0/24")) != "east" {
		t.Errorf("want it taken when there is room, got %v", err)
	}
}

func TestAClockThatIsFarAheadIsSaid(t *testing.T) {
	south := unrunNode(t, "south")
	var ahead banlist.List
	now := time.Now()
	if _, err := ahead.Set(prefix("192.0.2.0/24"), time.Time{}, "", "ahead", now.Add(48*time.Hour)); err != nil {
		t.Fatal(err)
	}
	err := south.shared.Merge("west", ahead.Export(now))
	if err == nil || !strings.HasPrefix(err.Error(), `1 bans of the cluster are from a time to come: the clock of node "ahead" was 48h0m0s ahead of the one here when it decided that of 192.0.2.0/24;`) {
		t.Errorf("want the clock that is ahead named, got %v", err)
	}
	if err := south.shared.Merge("west", []byte("{}\n")); err == nil {
		t.Error("want what is no list to be an error")
	}
	south.holds(t)
}

// What the file has is what the next relay goes on with: bans that were ended on
// this node only, and those of it alone, stay that.
func TestARestartForgetsNothingOfTheCluster(t *testing.T) {
	north, south := unrunNode(t, "north"), unrunNode(t, "south")
	for i := range 5 {
		north.ban(t, admin.BanWish{From: manyPrefixes(i), Duration: time.Hour, Reason: fmt.Sprint(i), Cluster: true})
	}
	north.unban(t, manyPrefixes(4).String(), true)
	name := filepath.Join(t.TempDir(), stateName)
	south.places.state = name
	south.noteNames(nil)
	saver := south.restore(new(state.Snapshot))
	before := saver.Changed()
	south.hears(t, north)
	if saver.Changed() == before {
		t.Error("want what the cluster brings saved at once")
	}
	south.unban(t, manyPrefixes(0).String(), false)
	south.ban(t, admin.BanWish{From: manyPrefixes(1), Reason: "mine"})
	holds := []string{"10.0.1.0/24  mine", "10.0.2.0/24 north 2", "10.0.3.0/24 north 3"}
	south.holds(t, holds...)
	if err := saver.Save(true); err != nil {
		t.Fatal(err)
	}

	saved, err := state.Load(name, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	again := unrunNode(t, "south")
	again.comeBack(saved)
	again.logged.await(t, `msg="what the cluster has of bans is back" count=5 over=0`)
	again.logged.await(t, `msg="bans are back" count=3`)
	again.holds(t, holds...)
	if again.shared.Digest() != north.shared.Digest() {
		t.Error("want the list as it was")
	}
	again.hears(t, north)
	again.holds(t, holds...)
	again.unban(t, manyPrefixes(0).String(), true)
	north.hears(t, again)
	north.holds(t, "10.0.1.0/24 north 1", "10.0.2.0/24 north 2", "10.0.3.0/24 north 3")
}

func TestBansOfTheClusterFromManySides(t *testing.T) {
	nodes := []nodeOf{unrunNode(t, "north"), unrunNode(t, "south")}
	var working sync.WaitGroup
	for i, n := range nodes {
		other := nodes[1-i]
		n.names.Store(new([]state.Name))
		n.fingerprint(nil)
		for _, cluster := range []bool{true, false} {
			working.Go(func() {
				for k := range 40 {
					if _, err := n.Ban(t.Context(), admin.BanWish{From: manyPrefixes(k % 3), Cluster: cluster}); err != nil {
						t.Error(err)
					}
					failure := (*admin.Failure)(nil) // somebody else may have done it
					if _, err := n.Unban(t.Context(), manyPrefixes(k%3), cluster); err != nil && !errors.As(err, &failure) {
						t.Error(err)
					}
				}
			})
		}
		working.Go(func() {
			for range 100 {
				if err := n.shared.Merge(other.name, other.shared.Export()); err != nil {
					t.Error(err)
				}
				n.Bans()
				n.snapshot()
			}
		})
	}
	working.Wait()
	// Who has heard of all has the last word.
	if err := nodes[0].shared.Merge("south", nodes[1].shared.Export()); err != nil {
		t.Error(err)
	}
	nodes[0].ban(t, admin.BanWish{From: manyPrefixes(0), Reason: "last", Cluster: true})
	nodes[1].hears(t, nodes[0])
	if by := nodes[1].shared.decidedBy(manyPrefixes(0)); by != "north" {
		t.Errorf("want the last word to be that of north, got %q", by)
	}
}

func TestNotesOfBansThatAreOverAreForgotten(t *testing.T) {
	south := unrunNode(t, "south")
	now := time.Now()
	south.ban(t, admin.BanWish{From: prefix("192.0.2.0/24"), Cluster: true})
	for i := range 2 * peers.MaxBans {
		south.shared.note(manyPrefixes(i), "north", now)
	}
	if n := len(south.shared.of); n > peers.MaxBans || south.shared.decidedBy(prefix("192.0.2.0/24")) != "south" {
		t.Errorf("want those that are over forgotten, and no other; got %d", n)
	}
}

// Real nodes, over a real link: who is banned on one of them is out of all, also
// of one that joins later, and comes back when one of them says so.
func TestNodesBanTogether(t *testing.T) {
	north := startNode(t, "north")
	route := keyed("cluster.routes", north.route(t))
	south := startNode(t, "south", route)
	loud, listener := enter(t, "127.0.0.4", south.addr(t)), enter(t, "127.0.0.2", north.addr(t))
	north.awaitNode(t, "south")
	south.awaitNode(t, "north")
	loud.say(t, "before")
	listener.hears(t, "before")

	banned, err := north.client().Ban(t.Context(), "127.0.0.4", time.Hour, "loud", true)
	if err != nil || banned.Removed != 0 || banned.Ban.Cluster != "north" || !slices.Equal(banned.Nodes, []string{"south"}) || len(banned.Missing) != 0 {
		t.Fatalf("want it banned on south too, got %+v, %v", banned, err)
	}
	// What the answer says of south is so already.
	list, err := south.client().Bans(t.Context())
	if err != nil || len(list.Bans) != 1 || list.Bans[0].Cluster != "north" || list.Bans[0].Reason != "loud" || !list.Bans[0].Until.Equal(banned.Ban.Until.Time) {
		t.Errorf("want the ban of north on south, got %+v, %v", list, err)
	}
	south.await(t, `msg=banned from=127\.0\.0\.4 .*cluster=north heard_from=north removed=1`)
	enter(t, "127.0.0.4", north.addr(t)).say(t, "I want in")
	loud.say(t, "here, too")
	enter(t, "127.0.0.3", south.addr(t)).say(t, "I may")
	listener.hears(t, "I may")

	west := startNode(t, "west", route)
	enter(t, "127.0.0.5", west.addr(t))
	west.await(t, `msg=banned from=127\.0\.0\.4 .*cluster=north`)
	for _, name := range []string{"north", "south"} {
		west.awaitNode(t, name)
	}
	for _, d := range []clusterDaemon{north, south} {
		d.awaitNode(t, "west")
	}
	unbanned, err := west.client().Unban(t.Context(), "127.0.0.4", true)
	if err != nil || !slices.Equal(unbanned.Nodes, []string{"north", "south"}) || len(unbanned.Missing) != 0 {
		t.Fatalf("want it ended on all, got %+v, %v", unbanned, err)
	}
	for _, d := range []clusterDaemon{north, south, west} {
		if list, err := d.client().Bans(t.Context()); err != nil || len(list.Bans) != 0 {
			t.Errorf("want no bans, got %+v, %v", list, err)
		}
	}
	loud.say(t, "back")
	listener.hears(t, "back")
}
