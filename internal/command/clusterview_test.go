package command

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"udprelay/internal/admin"
	"udprelay/internal/cluster"
)

// seconds returns a duration as nodes tell it.
func seconds(d time.Duration) admin.Seconds { return admin.Seconds{Duration: d} }

// someCluster is a cluster with nodes and routes of every kind.
func someCluster() admin.Cluster {
	return admin.Cluster{
		On: true, ID: "00112233445566aa", Name: "ams1", Room: "main", Listen: "[::]:6222", Connected: true, Sealed: true,
		Published: 1234567, PublishedBytes: 246913400, Received: 2345, ReceivedBytes: 469000,
		PublishedRate: 1234, ReceivedRate: 12.3,
		Drops: map[string]uint64{"queue_full": 1500, "lost": 12, "wrong_secret": 7, "duplicate": 0, "gone_wild": 3},
		Routes: []admin.ClusterRoute{
			{Address: "192.0.2.2:6222", Node: "fra1", NodeID: "11112222333344aa", Connected: true, RTT: seconds(9 * time.Millisecond), Pending: 1536, Since: before(26 * time.Hour)},
			{Address: "192.0.2.9:6222", Node: "lab1", NodeID: "91112222333344aa", Connected: true, RTT: seconds(time.Millisecond), Since: before(time.Hour)},
			{Address: "nyc1.example:6222", Error: "connection refused"},
		},
		Nodes: []admin.ClusterNode{
			{ID: "11112222333344aa", Name: "fra1", Version: "1.2.3", State: "here", Heard: *before(400 * time.Millisecond), Peers: 1012, InRate: 1246,
				OutRate: 0.02, RTT: seconds(9300 * time.Microsecond), Received: 2345, Lost: 12, SameBans: true},
			{ID: "21112222333344bb", Name: "lon1", Version: "1.2.2", State: "here", Heard: *before(time.Second), Peers: 3, InRate: 1246, OutRate: 12.3},
			{ID: "31112222333344cc", Name: "lon1", Version: "1.2.2", State: "gone", Heard: *before(9 * time.Minute), Peers: 4, InRate: 99, OutRate: 99},
			{ID: "41112222333344dd", Name: "nyc1", Version: "1.2.3", State: "gone", Heard: *before(42 * time.Second), Peers: 40, InRate: 99, OutRate: 99, RTT: seconds(80 * time.Millisecond), Received: 12345, Lost: 3},
			{ID: "51112222333344ed", Name: "sgp1", Version: "1.2.3", State: "left", Heard: *before(5 * time.Minute)},
			{ID: "51112222333344ee", Name: "sgp1", Version: "1.2.3", State: "left", Heard: *before(3 * time.Minute), RTT: seconds(1234 * time.Millisecond)},
		},
	}
}

// clusterStatus is that of a busy relay in a cluster.
func clusterStatus() admin.Status {
	status := busyStatus()
	status.Cluster = someCluster()
	return status
}

func TestStatusOfANode(t *testing.T) {
	alone := toldStatus(busyStatus()).lines(80)
	status := clusterStatus()
	delete(status.Cluster.Drops, "gone_wild")
	lines := toldStatus(status).lines(80)
	added := lines[14 : 14+len(lines)-len(alone)]
	golden(t, "status-node.txt", added)
	if diff := cmp.Diff(alone, append(append([]string{}, lines[:14]...), lines[14+len(added):]...)); diff != "" {
		t.Errorf("want only what is of the cluster to come to the status (-without +with):\n%s", diff)
	}
	for _, line := range lines {
		if len(line) > 80 {
			t.Errorf("want 80 places at most, got %d: %s", len(line), line)
		}
	}
}

func TestStatusSaysWhatIsWrongWithTheCluster(t *testing.T) {
	node := func(name, id, state string) admin.ClusterNode {
		return admin.ClusterNode{ID: id, Name: name, State: state, SameBans: true}
	}
	heard := func(later time.Duration, n admin.ClusterNode) admin.ClusterNode {
		n.Heard.Time = n.Heard.Add(later)
		return n
	}
	other := func(name string) admin.ClusterNode {
		return admin.ClusterNode{ID: name, Name: name, State: "here"}
	}
	for _, test := range []struct {
		what string
		c    admin.Cluster
		want string
	}{
		{"alone", admin.Cluster{Connected: true}, "no other node here"},
		{"one", admin.Cluster{Connected: true, Nodes: []admin.ClusterNode{node("b", "1", "here")}}, "1 other node here"},
		{"came back under its name", admin.Cluster{Connected: true, Nodes: []admin.ClusterNode{node("b", "1", "gone"), node("b", "2", "here"), node("b", "3", "left"), node("a", "4", "gone")}}, "1 other node here"},
		{"went twice", admin.Cluster{Connected: true, Nodes: []admin.ClusterNode{node("b", "1", "gone"), heard(1, node("b", "2", "gone")), node("b", "3", "left")}}, "no other node here, 1 GONE: b"},
		{"came back and left", admin.Cluster{Connected: true, Nodes: []admin.ClusterNode{node("b", "1", "gone"), heard(1, node("b", "2", "left"))}}, "no other node here, 1 left: b"},
		{"without names", admin.Cluster{Connected: true, Nodes: []admin.ClusterNode{node("", "0123456789", "gone"), node("", "2123456789", "gone")}}, "no other node here, 2 GONE: 01234567, 21234567"},
		{"many", admin.Cluster{Connected: true, Nodes: []admin.ClusterNode{node("b", "1", "left"), node("c", "2", "left"), node("d", "3", "left"), node("e", "4", "left"), node("f", "5", "left")}},
			"no other node here, 5 left: b, c, d and 2 more"},
		{"not connected", admin.Cluster{}, "no other node here|NOT CONNECTED to NATS: nothing passes to other nodes or from them"},
		{"why it is not connected", admin.Cluster{Trouble: "authorization violation"}, "no other node here|NOT CONNECTED to NATS: authorization violation"},
		{"connected with trouble", admin.Cluster{Connected: true, Trouble: "no permission to publish on x", Routes: []admin.ClusterRoute{{Address: "1:1"}}},
			"no other node here|TROUBLE WITH NATS: no permission to publish on x|NO ROUTE to 1:1"},
		{"routes", admin.Cluster{Connected: true, Routes: []admin.ClusterRoute{{Address: "1:1"}, {Address: "2:2", Connected: true}, {Address: "3:3", Error: "refused"}, {Address: "4:4"}, {Address: "5:5"}, {Address: "6:6"}}},
			"no other node here|NO ROUTE to 1:1|NO ROUTE to 3:3: refused|NO ROUTE to 4:4|NO ROUTE to 2 more"},
		{"bans", admin.Cluster{Connected: true, Nodes: []admin.ClusterNode{other("b"), node("c", "1", "here"), other("d")}},
			"3 other nodes here|bans differ on b, d: wrong only if that lasts"},
	} {
		test.c.Name, test.c.Room = "a", "main"
		want := "cluster   a in room main: " + strings.ReplaceAll(test.want, "|", "\n          ")
		if diff := cmp.Diff(want, strings.Join(troubleLines(&test.c), "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.what, diff)
		}
	}
}

func TestStatusOfACluster(t *testing.T) {
	for _, width := range []int{0, 50, 80} {
		golden(t, fmt.Sprintf("cluster-%d.txt", width), toldCluster(clusterStatus()).lines(width))
	}
	status := admin.Status{Version: "1.2.3", Now: *before(0), Cluster: admin.Cluster{On: true, ID: "0011", Name: "a", Room: "main", URL: "tls://nats.example:4222"}}
	golden(t, "cluster-new.txt", toldCluster(status).lines(80))
	status.Cluster.URL, status.Cluster.TLS, status.Peers.Static = "", true, 1
	text := strings.Join(toldCluster(status).lines(80), "\n")
	status.Cluster.TLS = false
	text += strings.Join(toldCluster(status).lines(80), "\n")
	for _, want := range []string{"listens   nowhere: it connects to other nodes\n", "messages  not sealed; nodes connect by TLS with certificates\n", "messages  NOT SEALED: who reaches a node's port can read and speak\n", "\n\nno routes to other nodes\n\n1 node here, 1 peer in all"} {
		if !strings.Contains(text, want) {
			t.Errorf("want %q, got\n%s", want, text)
		}
	}
}

func TestOfNodesThatAreNotHereTheLastIsShown(t *testing.T) {
	node := func(id, name, state string, ago time.Duration) admin.ClusterNode {
		return admin.ClusterNode{ID: id, Name: name, State: state, Heard: *before(ago)}
	}
	c := &admin.Cluster{On: true, Name: "a", Nodes: []admin.ClusterNode{
		node("1", "", "left", 1), node("2", "", "left", 2), // nobody knows whether they are one
		node("3", "a", "left", 1),                                                       // that of the node that tells
		node("4", "b", "left", 1), node("5", "b", "here", 3), node("6", "b", "here", 2), // two of one name, and a start before
		node("7", "c", "left", 3), node("8", "c", "gone", 1), node("9", "c", "left", 2),
	}}
	var shown []string
	for _, n := range lastOfEach(c) {
		shown = append(shown, n.ID)
	}
	if diff := cmp.Diff([]string{"1", "2", "5", "6", "8"}, shown); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if len(c.Nodes) != 9 {
		t.Errorf("want all in the JSON, got %d", len(c.Nodes))
	}
}

func TestRoutesToNodesThatAreNotInTheRoom(t *testing.T) {
	route := admin.ClusterRoute{Address: "192.0.2.2:6222", Node: "b", NodeID: "2", Connected: true, Since: before(time.Minute)}
	changed := func(f func(*admin.ClusterRoute)) admin.ClusterRoute {
		r := route
		f(&r)
		return r
	}
	for _, test := range []struct {
		what  string
		route admin.ClusterRoute
		nodes []admin.ClusterNode
		want  bool
	}{
		{"nobody is here", route, nil, true},
		{"one of that name is here", route, []admin.ClusterNode{{ID: "3", Name: "b", State: "here"}}, true},
		{"it is here, with the name that it has itself", route, []admin.ClusterNode{{ID: "2", Name: "ß", State: "here"}}, false},
		{"it is silent", route, []admin.ClusterNode{{ID: "2", Name: "b", State: "gone"}}, false},
		{"it may be heard soon", changed(func(r *admin.ClusterRoute) { r.Since = before(4 * time.Second) }), nil, false},
		{"nobody knows where it leads", changed(func(r *admin.ClusterRoute) { r.NodeID = "" }), nil, false},
		{"it is missing", changed(func(r *admin.ClusterRoute) { r.Connected, r.Since = false, nil }), nil, false},
	} {
		c := &admin.Cluster{On: true, Routes: []admin.ClusterRoute{test.route}, Nodes: test.nodes}
		table := strings.Join(routeLines(c, noon, 80), "\n")
		if got := strings.HasSuffix(table, " ago  not in this room"); got != test.want {
			t.Errorf("%s: want %v, got\n%s", test.what, test.want, table)
		}
	}
}

// Every line of a table fits into a width in which it can, with at least the
// nodes and how they are.
func TestTablesOfAClusterFitTheWidth(t *testing.T) {
	status := clusterStatus()
	told := toldCluster(status)
	for width := 45; width < 200; width++ {
		for _, line := range append(told.nodeLines(width), routeLines(&status.Cluster, noon, width)...) {
			if len(line) > width {
				t.Errorf("want %d places at most, got %d: %s", width, len(line), line)
			}
		}
	}
}

// Every reason has a hint, and the keys that hints name are those of the
// configuration.
func TestOnlyWhatWasDroppedIsSaid(t *testing.T) {
	for want, drops := range map[string]map[string]uint64{
		"dropped   nothing":                                             {"lost": 0},
		"dropped   on the way out 1 datagram":                           {"too_big": 1},
		"dropped   on the way in 2 datagrams lost":                      {"lost": 2},
		"dropped   on the way in 1 message":                             {"unknown_version": 1},
		"dropped   on the way in 1 datagram lost, 2,000 messages":       {"lost": 1, "slow": 2000},
		"dropped   on the way out 3 datagrams; on the way in 1 message": {"queue_full": 3, "duplicate": 1},
	} {
		if got := clusterDropLines(&admin.Cluster{Drops: drops})[0]; got != want {
			t.Errorf("%v: want %q, got %q", drops, want, got)
		}
	}
}

func TestEveryReasonOfAClusterHasAHint(t *testing.T) {
	shipped := runCheck(t, "", nil).stdout
	keys := regexp.MustCompile(`\bcluster\.([a-z_]+)`)
	for _, drop := range cluster.Drops() {
		hint := clusterDrops[drop].hint
		if hint == "" {
			t.Errorf("%v: want a hint", drop)
		}
		for _, key := range keys.FindAllStringSubmatch(hint, -1) {
			if !strings.Contains(shipped, "\ncluster:\n") || !strings.Contains(shipped, "\n  "+key[1]+":") {
				t.Errorf("%v: the hint names %s, which is no key", drop, key[0])
			}
		}
	}
	if len(clusterDrops) != len(cluster.Drops()) {
		t.Errorf("want a hint for each of %d reasons, got %d", len(cluster.Drops()), len(clusterDrops))
	}
}

func TestStatusOfTheClusterAsksTheRelay(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	status := clusterStatus()
	stand(t, socket, &relayOf{status: status})
	got := runCommand(t, []string{"COLUMNS=80"}, "status", "--cluster", "--socket", socket)
	got.want(t, outcome{0, strings.Join(toldCluster(status).lines(80), "\n") + "\n", ""})

	got = runCommand(t, nil, "status", "--cluster", "--json", "--socket", socket)
	var object admin.Cluster
	if err := json.Unmarshal([]byte(got.stdout), &object); err != nil || got.code != 0 || strings.Count(got.stdout, "\n") != 1 {
		t.Fatalf("want one line of JSON, got %v: %+v", err, got)
	}
	// How fine times are is for the API to say.
	if diff := cmp.Diff(status.Cluster, object, cmp.Comparer(func(a, b admin.Seconds) bool {
		return (a.Duration - b.Duration).Abs() < time.Millisecond
	})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestARelayThatIsAloneHasNoCluster(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	stand(t, socket, &relayOf{status: busyStatus()})
	for _, args := range []string{"status --cluster", "status --cluster --json", "status --cluster --watch", "peers --cluster", "peers --cluster --watch"} {
		runCommand(t, nil, append(strings.Fields(args), "--socket", socket)...).want(t, outcome{69, "", "udprelay: this relay is no node of a cluster\n" +
			"hint: cluster.listen, cluster.routes or cluster.url in its configuration makes it one; see docs/cluster.md\n"})
	}
}

func TestAClusterThatEndsWhileItIsWatchedIsNoError(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	stop := stand(t, socket, &relayOf{status: clusterStatus()})
	ask := clusterAsker()
	client := admin.Client{Socket: socket}
	if _, err := ask(t.Context(), client, 0); err != nil {
		t.Fatal(err)
	}
	stop()
	stand(t, socket, &relayOf{status: busyStatus()})
	said, err := ask(t.Context(), client, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"cluster   this relay is no node of a cluster any more: its configuration has changed"}, said.lines(80)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhatNodesTellIsShownAsText(t *testing.T) {
	evil := "\x1b[2J\n\u202e"
	c := admin.Cluster{On: true, ID: evil, Name: evil, Room: evil, Listen: evil, Trouble: evil, Drops: map[string]uint64{evil: 1},
		Routes: []admin.ClusterRoute{{Address: evil, Node: evil, Error: evil}},
		Nodes:  []admin.ClusterNode{{ID: evil, Name: evil + "here", State: "here", Version: evil}, {ID: "x", Name: evil + "gone", State: "gone", Version: evil}, {ID: "y", State: evil}}}
	status := admin.Status{Version: evil, Cluster: c}
	lines := append(toldCluster(status).lines(0), clusterLines(&c)...)
	c.URL = evil
	lines = append(lines, toldCluster(status).lines(0)...)
	peers := toldClusterPeers{nodes: []nodePeers{{Node: evil, Error: evil}}}
	peers.Peers = []admin.Peer{{Node: evil}}
	lines = append(lines, peers.lines(0)...)
	if text := strings.Join(lines, ""); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("want printable ASCII, got %q", text)
	} else if got := strings.Count(text, `\x1b[2J\n\u202e`); got < 30 {
		t.Errorf("want texts escaped, got %d in %s", got, text)
	}
}
