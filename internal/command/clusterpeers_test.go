package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"udprelay/internal/admin"
)

// The nodes of the clusters of these tests: that which is asked, and others.
const idA, idB, idC = "aaaaaaaa00000000", "bbbbbbbb00000000", "cccccccc00000000"

// nodeWith answers as a node that has peers does.
func nodeWith(peers []*admin.Peer) func(admin.Query) (admin.PeerPage, error) {
	return func(q admin.Query) (admin.PeerPage, error) { return q.Select(slices.Clone(peers)), nil }
}

// silentNode does not answer.
func silentNode(admin.Query) (admin.PeerPage, error) {
	return admin.PeerPage{}, errors.New("no answer in time")
}

// threeNodes is the relay a of a cluster, with the nodes b and c.
func threeNodes(a []*admin.Peer, b, c func(admin.Query) (admin.PeerPage, error)) *relayOf {
	return &relayOf{
		status: admin.Status{Now: *before(0), Cluster: admin.Cluster{On: true, ID: idA, Name: "a", Room: "main", Connected: true, Nodes: []admin.ClusterNode{
			{ID: idB, Name: "b", State: "here"}, {ID: idC, Name: "c", State: "here"},
		}}},
		peers:  a,
		others: map[string]func(admin.Query) (admin.PeerPage, error){idB: b, idC: c},
	}
}

// joinedIn returns so many peers of a network 10.net, each of which has joined
// step after the one before.
func joinedIn(net byte, count int, first, step time.Duration) []*admin.Peer {
	peers := crowd(count)
	for i, p := range peers {
		bytes := p.Address.Addr().As4()
		bytes[1] = net
		p.Address = netip.AddrPortFrom(netip.AddrFrom4(bytes), 9000)
		p.Joined.Time = noon.Add(first + time.Duration(i)*step)
	}
	return peers
}

// A clusterPage is what peers --cluster --json prints.
type clusterPage struct {
	Total, Matched int
	Peers          []admin.Peer
	Nodes          []nodePeers
}

func askCluster(t *testing.T, socket, args string) (page clusterPage, got outcome) {
	t.Helper()
	got = runCommand(t, nil, append([]string{"peers", "--cluster", "--json", "--socket", socket}, strings.Fields(args)...)...)
	if err := json.Unmarshal([]byte(got.stdout), &page); err != nil || strings.Count(got.stdout, "\n") != 1 {
		t.Fatalf("%s: want one line of JSON, got %v: %+v", args, err, got)
	}
	return page, got
}

// The first of all nodes are shown, whichever nodes they are of, and whatever
// they are sorted by.
func TestPeersOfAllNodesAreMerged(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	a, b, c := joinedIn(1, 2500, 0, 3*time.Second), joinedIn(2, 1200, time.Second, 3*time.Second), joinedIn(3, 10, -time.Hour, time.Second)
	stand(t, socket, threeNodes(a, nodeWith(b), nodeWith(c)))
	all := 2500 + 1200 + 10
	for _, test := range []struct {
		args           string
		shown, matched int
		first          string // nodes of the first peers
		wrong          func(x, y *admin.Peer) bool
	}{
		{"", 50, all, "ccccccccccababab", func(x, y *admin.Peer) bool { return x.Joined.After(y.Joined.Time) }},
		{"--limit 0", all, all, "ccccccccccababab", func(x, y *admin.Peer) bool { return x.Joined.After(y.Joined.Time) }},
		{"--limit 2100", 2100, all, "ccccccccccababab", func(x, y *admin.Peer) bool { return x.Joined.After(y.Joined.Time) }},
		{"--sort -received --limit 1302", 1302, all, "aaaa", func(x, y *admin.Peer) bool { return x.Received < y.Received }},
		{"--sort address --limit 2501", 2501, all, "aaaa", func(x, y *admin.Peer) bool { return y.Address.Addr().Less(x.Address.Addr()) }},
		{"--search 10.2. --limit 0", 1200, 1200, "bbbb", func(x, y *admin.Peer) bool { return x.Joined.After(y.Joined.Time) }},
		{"--kind static --limit 7", 7, 371, "cababab", func(x, y *admin.Peer) bool { return x.Joined.After(y.Joined.Time) }},
		{"--state silent --limit 6", 6, all / 2, "ccccca", func(x, y *admin.Peer) bool { return x.Joined.After(y.Joined.Time) }},
	} {
		page, got := askCluster(t, socket, test.args)
		if got.code != 0 || got.stderr != "" || page.Total != all || page.Matched != test.matched || len(page.Peers) != test.shown {
			t.Errorf("%s: want %d peers of %d, of %d, got %d of %d of %d; %d, %s", test.args, test.shown, test.matched, all, len(page.Peers), page.Matched, page.Total, got.code, got.stderr)
			continue
		}
		first, seen := "", map[netip.AddrPort]bool{}
		for i := range page.Peers {
			p := &page.Peers[i]
			if seen[p.Address] {
				t.Errorf("%s: %v is there twice", test.args, p.Address)
			}
			seen[p.Address] = true
			if i > 0 && test.wrong(&page.Peers[i-1], p) {
				t.Errorf("%s: %+v stands before %+v", test.args, page.Peers[i-1], p)
			}
			if want := string("_abc"[p.Address.Addr().As4()[1]]); p.Node != want {
				t.Errorf("%s: want the node %s of %v, got %s", test.args, want, p.Address, p.Node)
			}
			if len(first) < len(test.first) {
				first += p.Node
			}
		}
		if first != test.first {
			t.Errorf("%s: want first those of %s, got %s", test.args, test.first, first)
		}
		if len(page.Nodes) != 3 || page.Nodes[1].ID != idB || page.Nodes[1].Node != "b" || page.Nodes[1].Name != "b" || page.Nodes[1].Total != 1200 || page.Nodes[1].Error != "" {
			t.Errorf("%s: want what each node has, got %+v", test.args, page.Nodes)
		}
	}
	page, _ := askCluster(t, socket, "--search nobody")
	if page.Peers == nil || len(page.Peers) != 0 || page.Total != all {
		t.Errorf("want a list without peers, got %+v", page)
	}
}

func TestPeersOfAllNodesAreATable(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	peers := somePeers()
	for i := range peers { // nothing that a slow test changes
		peers[i].Joined.Time, peers[i].Heard = time.Now().Add(time.Duration(i-150)*time.Minute), nil
	}
	r := threeNodes([]*admin.Peer{&peers[0], &peers[2]}, nodeWith([]*admin.Peer{&peers[3]}), silentNode)
	nodes := &r.status.Cluster.Nodes
	*nodes = append(*nodes, admin.ClusterNode{ID: "d", Name: "d", State: "gone", Heard: *before(42 * time.Second)},
		admin.ClusterNode{ID: "e", Name: "e", State: "left", Heard: *before(42 * time.Second)})
	stand(t, socket, r)
	table := func(columns string, args ...string) outcome {
		return runCommand(t, []string{"COLUMNS=" + columns}, append([]string{"peers", "--cluster", "--socket", socket}, args...)...)
	}
	table("66", "--sort", "joined").want(t, outcome{0, `ADDRESS              NODE  STATE          HEARD   IN/S  OUT/S
192.0.2.1:2055       a     quarantined    never      0      0
192.0.2.7:50001      a     ok             never  1.23k   <0.1
[2001:db8::7]:50001  b     silent         never    5.5    100
3 of 3 peers on 2 nodes
node c has not answered: no answer in time
node d has not answered: it is gone, heard 42s ago
`, ""})
	table("66", "--kind", "learned", "--limit", "1").want(t, outcome{0, `ADDRESS            NODE  STATE    HEARD   IN/S  OUT/S  DROPS
192.0.2.7:50001    a     ok       never  1.23k   <0.1      0
1 of 2 that match, of 3 peers on 2 nodes
node c has not answered: no answer in time
node d has not answered: it is gone, heard 42s ago
`, ""})
}

func TestPeersOfNodesOfOneNameAreToldApart(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	r := threeNodes(joinedIn(1, 1, 0, 0), nodeWith(joinedIn(2, 1, 0, 0)), nodeWith(joinedIn(3, 1, 0, 0)))
	r.status.Cluster.Nodes[0].Name, r.status.Cluster.Nodes[1].Name = "a", ""
	stand(t, socket, r)
	page, _ := askCluster(t, socket, "--sort address")
	for i, want := range []string{"a (aaaaaaaa)", "a (bbbbbbbb)", "cccccccc"} {
		if page.Peers[i].Node != want || page.Nodes[i].Node != want {
			t.Errorf("want %s, got %s, and %s in nodes", want, page.Peers[i].Node, page.Nodes[i].Node)
		}
	}
}

// What there is, is shown; the exit code tells a script that it is not all that
// it has asked for.
func TestPeersOfAllNodesWithoutAnAnswer(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	r := threeNodes(joinedIn(1, 2, 0, 0), silentNode, silentNode)
	stop := stand(t, socket, r)
	page, got := askCluster(t, socket, "")
	if got.code != 69 || got.stderr != "udprelay: no other node of the cluster has answered\nhint: udprelay status --cluster says what is wrong\n" {
		t.Errorf("want exit code 69 and why, got %+v", got)
	}
	if len(page.Peers) != 2 || page.Total != 2 || page.Nodes[0].Error != "" || page.Nodes[1].Error != "no answer in time" || page.Nodes[2].Error != "no answer in time" {
		t.Errorf("want the peers of the relay itself, and who has not answered, got %+v", page)
	}
	stop()
	r.status.Cluster.Nodes = nil
	r.peers = joinedIn(1, 2, 0, 0)
	stop = stand(t, socket, r)
	if page, got := askCluster(t, socket, ""); got.code != 0 || len(page.Peers) != 2 || len(page.Nodes) != 1 {
		t.Errorf("want a relay that is alone in its cluster to be no error, got %+v", got)
	}
	stop()
	r.status.Cluster.Nodes = []admin.ClusterNode{{ID: "d", Name: "d", State: "left"}}
	stop = stand(t, socket, r)
	if _, got := askCluster(t, socket, ""); got.code != 0 {
		t.Errorf("want a node that has left to be no error, got %+v", got)
	}
	stop()
	r.status.Cluster.Nodes[0].State = "gone"
	stand(t, socket, r)
	if page, got := askCluster(t, socket, ""); got.code != 69 || len(page.Peers) != 2 || len(page.Nodes) != 2 {
		t.Errorf("want exit code 69 if all others are gone, got %+v", got)
	}
}

// The daemon refuses more than some requests at a time.
func TestFewNodesAreAskedAtATime(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	var now, most, asked atomic.Int64
	node := func(q admin.Query) (admin.PeerPage, error) {
		asked.Add(1)
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		for range 100 {
			q.Select(crowd(10))
		}
		return q.Select(crowd(1)), nil
	}
	r := threeNodes(nil, node, node)
	for i := range 60 {
		id := fmt.Sprintf("%016x", i)
		r.status.Cluster.Nodes = append(r.status.Cluster.Nodes, admin.ClusterNode{ID: id, Name: id, State: "here"})
		r.others[id] = node
	}
	stand(t, socket, r)
	page, got := askCluster(t, socket, "--limit 0")
	if got.code != 0 || page.Total != 62 || len(page.Peers) != 62 || asked.Load() != 62 || most.Load() > nodesAtOnce {
		t.Errorf("want 62 nodes asked, %d at a time at most, got %d, %d, and %d peers; %+v", nodesAtOnce, asked.Load(), most.Load(), page.Total, page.Nodes)
	}
}
