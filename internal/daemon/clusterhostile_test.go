package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/banlist"
	"udprelay/internal/cluster"
	"udprelay/internal/dnstest"
	"udprelay/internal/state"
)

// Another node may ask as soon as this one is there, while the start waits for
// names.
func TestAStartingNodeAnswers(t *testing.T) {
	z := dnstest.New(t)
	z.Silence("dead.example")
	before := net.DefaultResolver
	net.DefaultResolver = z.Resolver()
	t.Cleanup(func() { net.DefaultResolver = before })
	a := startNode(t, "a")
	b := startNode(t, "b", keyed("cluster.routes", a.route(t)), keyed("peers.static", "dead.example:2055"))
	id := ""
	a.awaitStatus(t, "b here", func(c *admin.Cluster) bool {
		if len(c.Nodes) == 0 || c.Nodes[0].State != "here" {
			return false
		}
		id = c.Nodes[0].ID
		return true
	})
	if page, err := a.client().ClusterPeers(t.Context(), id, admin.Query{Limit: 10}); err != nil || page.Total != 0 {
		t.Errorf("want a page without peers; got %+v, %v", page, err)
	}
	b.addr(t) // it has started
	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	if err := a.stop(); err != nil {
		t.Fatal(err)
	}
}

// An answer has no more peers than were asked for, whatever it says, and those
// that are too many are not even read.
func TestPageOfAnotherNodeIsBounded(t *testing.T) {
	peer := `{"address":"192.0.2.7:4000","may":"both","dropped":{"peer_rate":3}}`
	for _, test := range []struct {
		name, body string
		want       int // -1: it cannot be read
	}{
		{"a page", `{"total":7,"matched":7,"offset":0,"peers":[` + peer + `,` + peer + `]}`, 2},
		{"none", `{"total":7,"matched":0,"offset":0,"peers":[]}`, 0},
		{"null", `{"total":7,"peers":null}`, 0},
		{"no list", `{"total":7}`, 0},
		{"many", `{"total":7,"peers":[{}` + strings.Repeat(`,{}`, (cluster.MaxAnswer-100)/3) + `]}`, 3},
		{"too many, the others are no peers", `{"total":7,"peers":[{},{},{},7]}`, 3},
		{"a text", `{"total":7,"peers":"many"}`, -1},
		{"an object", `{"total":7,"peers":{"a":1}}`, -1},
		{"no peer", `{"total":7,"peers":[7]}`, -1},
		{"no JSON", `{"total":7,"peers":[`, -1},
		{"nothing", ``, -1},
	} {
		page, err := parsePage([]byte(test.body), 3)
		if got := len(page.Peers); test.want >= 0 && (err != nil || got != test.want || page.Total != 7) || test.want < 0 && err == nil {
			t.Errorf("%s: want %d peers; got %d of %d, %v", test.name, test.want, got, page.Total, err)
		}
	}
	page, err := parsePage([]byte(`{"total":7,"matched":5,"offset":1,"peers":[`+peer+`]}`), 3)
	if err != nil || page.Matched != 5 || page.Offset != 1 || page.Peers[0].Address != netip.MustParseAddrPort("192.0.2.7:4000") || page.Peers[0].Dropped["peer_rate"] != 3 {
		t.Errorf("want what the node says; got %+v, %v", page, err)
	}
}

// A reload whose time is over takes no node out of its cluster.
func TestNoNodeIsGivenUpForOneThatCannotBe(t *testing.T) {
	d := unrun(t)
	n := &node{relay: d.relay, log: d.log}
	options := &cluster.Options{Name: "x", Room: "main"}
	if err := n.apply(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.stop)
	before := n.current.Load()
	late, cancel := context.WithCancel(t.Context())
	cancel()
	var failure *ClusterError
	if err := n.apply(late, &cluster.Options{Name: "y", Room: "main"}); !errors.As(err, &failure) || !errors.Is(err, context.Canceled) {
		t.Errorf("want it said why; got %v", err)
	}
	if n.current.Load() != before {
		t.Error("want the node as it was")
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if err := n.apply(t.Context(), &cluster.Options{Name: "y", Room: "main", Listen: taken.Addr().String()}); err == nil {
		t.Error("want an error where somebody else listens")
	}
	if !n.On() || n.Name() != "x" {
		t.Errorf("want the previous node; got %q", n.Name())
	}
}

// What is saved is of one moment: each ban of the cluster that the list has holds
// in the same file, also while another node brings bans and takes them away.
func TestWhatIsSavedOfBansIsOfOneMoment(t *testing.T) {
	name := filepath.Join(t.TempDir(), "state")
	d := unrun(t)
	d.noteNames(nil)
	d.fingerprint(nil)
	var theirs banlist.List
	from := netip.MustParsePrefix("198.51.100.0/24")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 500 {
			now := time.Now()
			if i%2 == 0 {
				theirs.Set(from, time.Time{}, "", "north", now)
			} else {
				theirs.Lift(from, "north", now)
			}
			if err := d.shared.Merge("north", theirs.Export(now)); err != nil {
				t.Error(err)
			}
		}
	}()
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		s := d.snapshot()
		holds := len(s.Shared) == 1 && !s.Shared[0].Lifted
		if holds != (len(s.Bans) == 1 && s.Bans[0].Shared) {
			t.Fatalf("want the list and the bans to agree; got %+v and %+v", s.Shared, s.Bans)
		}
		if err := state.Save(name, s, time.Now(), false); err != nil {
			t.Fatal(err)
		}
	}
}

// A node that joins a room with many bans takes them all in one go: to go
// through the peers for each would hold up who joins for seconds.
func TestManyBansOfTheClusterComeAtOnce(t *testing.T) {
	d := unrunNode(t, "north")
	d.join(t, "10.0.0.7:4000", "10.0.1.7:4000", "10.0.1.8:4000", "10.9.9.9:4000")
	now := time.Now()
	prefix := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24)
	}
	// Two are banned here already, one of them by the cluster.
	if _, err := d.Ban(t.Context(), admin.BanWish{From: prefix(5), Reason: "of here"}); err != nil {
		t.Fatal(err)
	}
	d.ban(t, admin.BanWish{From: prefix(6), Reason: "of both", Cluster: true})
	var theirs banlist.List
	if _, err := theirs.Merge(d.shared.Export(), now); err != nil {
		t.Fatal(err)
	}
	const bans = 4 * mostSaid
	for i := range bans {
		if i == 6 {
			if _, err := theirs.Lift(prefix(i), "south", now); err != nil {
				t.Fatal(err)
			}
			continue
		}
		until := now.Add(time.Hour)
		if i%2 == 1 {
			until = time.Time{}
		}
		if _, err := theirs.Set(prefix(i), until, "of theirs", "south", now); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.shared.Merge("south", theirs.Export(now)); err != nil {
		t.Fatal(err)
	}
	list := d.Bans().Bans
	if len(list) != bans-1 {
		t.Fatalf("want %d bans; got %d", bans-1, len(list))
	}
	for _, b := range list {
		i := int(b.From.Addr().As4()[2])
		if b.Cluster != "south" || b.Reason != "of theirs" || (b.Until == nil) != (i%2 == 1) || b.From == prefix(6) || b.Since.After(time.Now()) {
			t.Errorf("want the bans as south has decided them; got %+v", b)
		}
	}
	if got := d.there(); got != "10.9.9.9:4000" {
		t.Errorf("want those that are banned gone; got %s", got)
	}
	if d.shared.Digest() != theirs.Digest(now) {
		t.Error("want the same list on both")
	}
	d.logged.await(t, `msg="bans of the cluster taken" heard_from=south banned=`+strconv.Itoa(bans-1)+` taken_away=1`)
}

func FuzzParsePage(f *testing.F) {
	f.Add([]byte(`{"total":7,"matched":7,"offset":0,"peers":[{"address":"192.0.2.7:4000","joined":"2026-07-01T12:00:00Z","dropped":{"peer_rate":3}},{}]}`), uint8(1))
	f.Add([]byte(`{"peers":[1,2]}`), uint8(0))
	f.Add([]byte(`{"Peers":[{}],"peers":null}`), uint8(9))
	f.Fuzz(func(t *testing.T, body []byte, most uint8) {
		page, err := parsePage(body, int(most))
		if len(page.Peers) > int(most) || err != nil && page.Peers != nil {
			t.Fatalf("want at most %d peers, and none with an error; got %d, %v", most, len(page.Peers), err)
		}
		if _, failed := json.Marshal(page); err == nil && failed != nil {
			t.Fatalf("want it told again; got %v", failed)
		}
	})
}
