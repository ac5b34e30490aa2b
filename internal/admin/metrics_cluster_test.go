package admin

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"udprelay/internal/cluster"
)

// busyCluster is a cluster that everything has happened to.
func busyCluster() Cluster {
	c := Cluster{
		On: true, ID: "00000000000000aa", Name: "a", Room: "main", Listen: "[::]:6222", Connected: true, Sealed: true,
		Published: 701, PublishedBytes: 702, Received: 703, ReceivedBytes: 704, Drops: map[string]uint64{},
		Routes: []ClusterRoute{
			{Address: "192.0.2.2:6222", Node: "b", Connected: true, Pending: 705, RTT: Seconds{250 * time.Microsecond}},
			{Address: "192.0.2.2:6223", Node: "b", Connected: true, Pending: 10, RTT: Seconds{125 * time.Microsecond}},
			{Address: "192.0.2.3:6222", Connected: true, Pending: 706},
			{Address: "192.0.2.4:6222", Error: "connection refused"},
		},
		Nodes: []ClusterNode{
			{ID: "00000000000000b0", Name: "b", State: NodeGone, Heard: Time{time.UnixMilli(1_700_000_000_250)}, Received: 1, Lost: 2}, // an earlier start of the next
			{ID: "00000000000000bb", Name: "b", State: NodeHere, Heard: Time{time.UnixMilli(1_700_000_100_250)}, Peers: 707, RTT: Seconds{500 * time.Microsecond}, Received: 708, Lost: 709, Duplicates: 710, SameBans: true},
			{ID: "00000000000000cc", Name: "c", State: NodeGone, Heard: Time{time.UnixMilli(1_700_000_090_500)}, Peers: 7, RTT: Seconds{time.Second}, Received: 711, Lost: 712, Duplicates: 713},
			{ID: "00000000000000dd", Name: "d", State: NodeLeft, Received: 7, Lost: 7},
		},
	}
	for i, reason := range cluster.Drops() {
		c.Drops[reason.String()] = uint64(800 + i)
	}
	return c
}

// busyClusterSeries are those that tell it.
func busyClusterSeries() map[string]float64 {
	want := map[string]float64{
		"info name=a room=main": 1, "connected": 1,
		"published_datagrams_total": 701, "published_bytes_total": 702, "received_datagrams_total": 703, "received_bytes_total": 704,
		"routes state=connected": 3, "routes state=missing": 1,
		"route_pending_bytes route=b": 715, "route_pending_bytes route=192.0.2.3:6222": 706, "route_rtt_seconds route=b": 0.00025,
		"nodes state=here": 1, "nodes state=gone": 1, "nodes state=left": 1,
		"node_up node=b": 1, "node_last_heard_timestamp_seconds node=b": 1_700_000_100.25, "node_peers node=b": 707, "node_rtt_seconds node=b": 0.0005, "node_same_bans node=b": 1,
		"node_received_datagrams_total node=b": 708, "node_lost_datagrams_total node=b": 709, "node_duplicate_messages_total node=b": 710,
		"node_up node=c": 0, "node_last_heard_timestamp_seconds node=c": 1_700_000_090.5,
		"node_received_datagrams_total node=c": 711, "node_lost_datagrams_total node=c": 712, "node_duplicate_messages_total node=c": 713,
	}
	for i, reason := range cluster.Drops() {
		want["dropped_total reason="+reason.String()] = float64(800 + i)
	}
	named := make(map[string]float64)
	for name, value := range want {
		named["udprelay_cluster_"+name] = value
	}
	return named
}

// clusterGrows has all that is counted grow.
func clusterGrows(c *Cluster, grows func(n *uint64, name string)) {
	c.Drops, c.Nodes = maps.Clone(c.Drops), slices.Clone(c.Nodes)
	for _, n := range []*uint64{&c.Published, &c.PublishedBytes, &c.Received, &c.ReceivedBytes} {
		grows(n, "cluster")
	}
	for _, reason := range cluster.Drops() {
		n := c.Drops[reason.String()]
		grows(&n, reason.String())
		c.Drops[reason.String()] = n
	}
	for i := range c.Nodes {
		for _, n := range []*uint64{&c.Nodes[i].Received, &c.Nodes[i].Lost, &c.Nodes[i].Duplicates} {
			grows(n, "node")
		}
	}
}

// seriesOf returns the values of the series of a cluster.
func seriesOf(t rapid.TB, c Cluster) map[string]float64 {
	t.Helper()
	values := gathered(t, ours(Status{Cluster: c}, &daemonOf{}))
	maps.DeleteFunc(values, func(name string, _ float64) bool { return !strings.HasPrefix(name, "udprelay_cluster_") })
	return values
}

func TestWithoutAClusterThereAreNoSeriesOfIt(t *testing.T) {
	if got := seriesOf(t, Cluster{Name: "a", Room: "main", Drops: map[string]uint64{"lost": 0}}); len(got) > 0 {
		t.Errorf("want none, got %v", got)
	}
}

// A node keeps its label when it is started again; only where two are here at a
// time is the ID in it.
func TestNodesOfOneNameAreToldApart(t *testing.T) {
	at := func(seconds int64) Time { return Time{time.Unix(1_700_000_000+seconds, 0)} }
	for name, test := range map[string]struct {
		nodes []ClusterNode
		want  map[string]string // the IDs by label
	}{
		"one":           {[]ClusterNode{{ID: "1", Name: "b", State: NodeHere}}, map[string]string{"b": "1"}},
		"started again": {[]ClusterNode{{ID: "1", Name: "b", State: NodeGone, Heard: at(9)}, {ID: "2", Name: "b", State: NodeHere, Heard: at(8)}, {ID: "3", Name: "b", State: NodeLeft, Heard: at(7)}}, map[string]string{"b": "2"}},
		"here first":    {[]ClusterNode{{ID: "1", Name: "b", State: NodeHere}, {ID: "2", Name: "b", State: NodeGone, Heard: at(9)}}, map[string]string{"b": "1"}},
		"none here":     {[]ClusterNode{{ID: "1", Name: "b", State: NodeGone, Heard: at(1)}, {ID: "2", Name: "b", State: NodeLeft, Heard: at(3)}, {ID: "3", Name: "b", State: NodeGone, Heard: at(2)}}, map[string]string{"b": "2"}},
		"two here":      {[]ClusterNode{{ID: "1", Name: "b", State: NodeGone}, {ID: "2", Name: "b", State: NodeHere}, {ID: "3", Name: "b", State: NodeHere}}, map[string]string{"b 2": "2", "b 3": "3"}},
		"no name":       {[]ClusterNode{{ID: "1", State: NodeHere}, {ID: "2", State: NodeHere}}, map[string]string{"1": "1", "2": "2"}},
		"named alike":   {[]ClusterNode{{ID: "1", Name: "b 2", State: NodeHere}, {ID: "2", Name: "b", State: NodeHere}, {ID: "3", Name: "b", State: NodeHere}}, map[string]string{"b 2": "1", "b 2'": "2", "b 3": "3"}},
		"no UTF-8":      {[]ClusterNode{{ID: "1", Name: "b\xff", State: NodeHere}, {ID: "2", Name: "b\xfe", State: NodeHere}}, map[string]string{"b? 1": "1", "b? 2": "2"}},
	} {
		got := make(map[string]string)
		for _, n := range nameNodes(test.nodes) {
			if got[n.label] != "" {
				t.Errorf("%s: two nodes have the label %q", name, n.label)
			}
			got[n.label] = n.ID
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Whatever other machines call themselves, a scrape succeeds: Prometheus takes
// none with a series twice or with a label that is no UTF-8.
func TestNoNamesOfOthersSpoilAScrape(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.SampledFrom([]string{"", "b", "b 1", "b 2", "b 1'", "1", "\xff", "\xfe", "b\n", `"`, "b 192.0.2.1:1"}), rapid.String())
		id := rapid.SampledFrom([]string{"1", "2", "3"})
		state := rapid.SampledFrom([]string{NodeHere, NodeLeft, NodeGone, "", "odd"})
		c := Cluster{
			On: true, Name: name.Draw(t, "own"), Room: name.Draw(t, "room"),
			Nodes: rapid.SliceOf(rapid.Custom(func(t *rapid.T) ClusterNode {
				return ClusterNode{ID: id.Draw(t, "id"), Name: name.Draw(t, "name"), State: state.Draw(t, "state"), RTT: Seconds{time.Second}, Heard: Time{time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "heard"), 0)}}
			})).Draw(t, "nodes"),
			Routes: rapid.SliceOf(rapid.Custom(func(t *rapid.T) ClusterRoute {
				return ClusterRoute{Address: name.Draw(t, "address"), Node: name.Draw(t, "node"), Connected: rapid.Bool().Draw(t, "connected"), RTT: Seconds{time.Second}}
			})).Draw(t, "routes"),
		}
		if got := seriesOf(t, c); len(got) < 6+3+2 {
			t.Errorf("want at least those of the node, got %v", got)
		}
	})
}

func TestSeriesOfTheClusterAreBounded(t *testing.T) {
	c := busyCluster()
	c.Nodes, c.Routes = nil, nil
	few := len(seriesOf(t, c))
	if want := 11 + len(cluster.Drops()); few != want || few < 18 || few > 25 {
		t.Errorf("want %d series, and docs/monitoring.md says that there are about 20; got %d", want, few)
	}
	for i := range mostLinked + 50 {
		c.Nodes = append(c.Nodes, ClusterNode{ID: fmt.Sprint(i), Name: fmt.Sprintf("n%d", i), State: NodeHere, Heard: Time{time.Now()}, RTT: Seconds{time.Second}})
		c.Routes = append(c.Routes, ClusterRoute{Address: fmt.Sprint(i), Connected: true, RTT: Seconds{time.Second}})
	}
	got := seriesOf(t, c)
	if want := few + mostLinked*(8+2); len(got) != want {
		t.Errorf("want %d series, got %d", want, len(got))
	}
	if here := got["udprelay_cluster_nodes state=here"]; here != mostLinked+50 {
		t.Errorf("want all nodes counted, got %v", here)
	}
	if page := read(t, monitoringPage); !strings.Contains(page, "256 nodes") {
		t.Error("want the page to say how many")
	}
}
