package admin

import (
	"cmp"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// mostLinked is how many nodes, and how many routes, have metrics of their own
// at most.
const mostLinked = 256

// Metrics of the cluster with labels.
var (
	clusterInfoDesc   = describe("cluster_info", "Always 1 while the relay is a node of a cluster; the labels say what it is there.", "name", "room")
	clusterDropsDesc  = describe("cluster_dropped_total", "What did not get through between the nodes, by reason: datagrams for queue_full, too_big, publish_failed and lost, messages for the others.", "reason")
	clusterNodesDesc  = describe("cluster_nodes", "Other nodes of the room that are known, by state; a node that was started again counts once.", "state")
	clusterRoutesDesc = describe("cluster_routes", "Connections to other nodes, and those that are configured and missing, by state.", "state")
	routePendingDesc  = describe("cluster_route_pending_bytes", "What waits to leave for another node.", "route")
	routeRTTDesc      = describe("cluster_route_rtt_seconds", "Round trip of the connection to another node.", "route")
)

// clusterMetrics are those without labels, of a relay that is a node.
var clusterMetrics = []plainMetric{
	ofCluster("connected", "1 if the node is connected to a NATS server, that in the relay or one of a deployment; else 0.", prometheus.GaugeValue, func(c *Cluster) float64 { return one(c.Connected) }),
	ofCluster("published_datagrams_total", "Datagrams given to the other nodes, each once.", prometheus.CounterValue, func(c *Cluster) float64 { return float64(c.Published) }),
	ofCluster("published_bytes_total", "Payload of the datagrams given to the other nodes, each once.", prometheus.CounterValue, func(c *Cluster) float64 { return float64(c.PublishedBytes) }),
	ofCluster("received_datagrams_total", "Datagrams of other nodes that were brought to the relay.", prometheus.CounterValue, func(c *Cluster) float64 { return float64(c.Received) }),
	ofCluster("received_bytes_total", "Payload of the datagrams of other nodes.", prometheus.CounterValue, func(c *Cluster) float64 { return float64(c.ReceivedBytes) }),
}

func ofCluster(name, help string, kind prometheus.ValueType, value func(*Cluster) float64) plainMetric {
	return plainMetric{describe("cluster_"+name, help), kind, func(s *Status) (float64, bool) { return value(&s.Cluster), s.Cluster.On }}
}

// A nodeMetric is one of another node.
type nodeMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*ClusterNode) (value float64, known bool)
}

var nodeMetrics = []nodeMetric{
	ofNode("up", "1 if another node is here, 0 if it is gone and did not say so.", prometheus.GaugeValue, func(n *ClusterNode) (float64, bool) { return one(n.here()), true }),
	ofNode("last_heard_timestamp_seconds", "When another node was heard last, in seconds since 1970.", prometheus.GaugeValue, func(n *ClusterNode) (float64, bool) {
		return float64(n.Heard.UnixMilli()) / 1000, !n.Heard.IsZero()
	}),
	ofNode("received_datagrams_total", "Datagrams of another node that came.", prometheus.CounterValue, func(n *ClusterNode) (float64, bool) { return float64(n.Received), true }),
	ofNode("lost_datagrams_total", "Datagrams of another node that did not come.", prometheus.CounterValue, func(n *ClusterNode) (float64, bool) { return float64(n.Lost), true }),
	ofNode("duplicate_messages_total", "Messages of another node that came again, or late, and were dropped.", prometheus.CounterValue, func(n *ClusterNode) (float64, bool) { return float64(n.Duplicates), true }),
	ofNode("peers", "Peers that another node has.", prometheus.GaugeValue, func(n *ClusterNode) (float64, bool) { return float64(n.Peers), n.here() }),
	ofNode("rtt_seconds", "Round trip of a message to another node, with what NATS adds.", prometheus.GaugeValue, func(n *ClusterNode) (float64, bool) { return n.RTT.Seconds(), n.here() && n.RTT.Duration > 0 }),
	ofNode("same_bans", "1 if another node has the bans of the cluster that this one has, else 0.", prometheus.GaugeValue, func(n *ClusterNode) (float64, bool) { return one(n.SameBans), n.here() }),
}

func ofNode(name, help string, kind prometheus.ValueType, value func(*ClusterNode) (float64, bool)) nodeMetric {
	return nodeMetric{describe("cluster_node_"+name, help, "node"), kind, value}
}

func (n *ClusterNode) here() bool { return n.State == NodeHere }

// describeCluster sends what metrics there are of the cluster.
func describeCluster(to chan<- *prometheus.Desc) {
	for _, m := range clusterMetrics {
		to <- m.desc
	}
	for _, m := range nodeMetrics {
		to <- m.desc
	}
	for _, desc := range []*prometheus.Desc{clusterInfoDesc, clusterDropsDesc, clusterNodesDesc, clusterRoutesDesc, routePendingDesc, routeRTTDesc} {
		to <- desc
	}
}

// collectCluster sends the metrics of the cluster; none if there is no cluster.
func collectCluster(s *Status, send func(*prometheus.Desc, prometheus.ValueType, float64, ...string)) {
	c := &s.Cluster
	if !c.On {
		return
	}
	for _, m := range clusterMetrics {
		value, _ := m.value(s)
		send(m.desc, m.kind, value)
	}
	send(clusterInfoDesc, prometheus.GaugeValue, 1, label(c.Name), label(c.Room))
	for reason, n := range c.Drops {
		send(clusterDropsDesc, prometheus.CounterValue, float64(n), reason)
	}

	named := nameNodes(c.Nodes)
	states := map[string]int{NodeHere: 0, NodeLeft: 0, NodeGone: 0}
	for _, n := range named {
		states[n.State]++
	}
	for _, state := range []string{NodeHere, NodeLeft, NodeGone} {
		send(clusterNodesDesc, prometheus.GaugeValue, float64(states[state]), state)
	}
	for _, n := range named[:min(len(named), mostLinked)] {
		if n.State == NodeLeft { // that is no news of it
			continue
		}
		for _, m := range nodeMetrics {
			if value, known := m.value(n.ClusterNode); known {
				send(m.desc, m.kind, value, n.label)
			}
		}
	}

	missing := 0
	for _, r := range c.Routes {
		if !r.Connected {
			missing++
		}
	}
	send(clusterRoutesDesc, prometheus.GaugeValue, float64(len(c.Routes)-missing), "connected")
	send(clusterRoutesDesc, prometheus.GaugeValue, float64(missing), "missing")
	for _, r := range mergeRoutes(c.Routes) {
		send(routePendingDesc, prometheus.GaugeValue, float64(r.Pending), r.Node)
		if r.RTT.Duration > 0 {
			send(routeRTTDesc, prometheus.GaugeValue, r.RTT.Seconds(), r.Node)
		}
	}
}

// A namedNode is a node with a label that no other one has.
type namedNode struct {
	*ClusterNode
	label string
}

// nameNodes labels nodes with their names. A node has another ID after each
// start, so that an ID in a label would make new series each time. Of nodes of
// one name those that are here are meant, for the others are what is remembered
// of earlier starts; if none is here, the one that was heard last. Only if
// several of one name are here, they are labelled with their IDs, too.
func nameNodes(nodes []ClusterNode) (named []namedNode) {
	byName := make(map[string][]*ClusterNode)
	var names []string
	for i := range nodes {
		n := &nodes[i]
		name := label(cmp.Or(n.Name, n.ID))
		meant := byName[name]
		switch {
		case meant == nil:
			names = append(names, name)
			meant = []*ClusterNode{n}
		case n.here() && meant[0].here():
			meant = append(meant, n)
		case n.here() || !meant[0].here() && n.Heard.After(meant[0].Heard.Time):
			meant[0] = n
		}
		byName[name] = meant
	}
	taken := make(map[string]bool)
	for _, name := range names {
		for _, n := range byName[name] {
			text := name
			if len(byName[name]) > 1 {
				text += " " + label(n.ID)
			}
			for taken[text] { // another one has that for its name
				text += "'"
			}
			taken[text] = true
			named = append(named, namedNode{n, text})
		}
	}
	return named
}

// mergeRoutes returns the connected routes with their labels as Node: the name of
// the node, or the address while that is not known. A node may have several
// connections, and another one its name: they are taken together.
func mergeRoutes(routes []ClusterRoute) (merged []ClusterRoute) {
	at := make(map[string]int)
	for _, r := range routes {
		if !r.Connected {
			continue
		}
		r.Node = label(cmp.Or(r.Node, r.Address))
		i, there := at[r.Node]
		switch {
		case there:
			merged[i].Pending += r.Pending
			merged[i].RTT.Duration = max(merged[i].RTT.Duration, r.RTT.Duration)
		case len(merged) < mostLinked:
			at[r.Node] = len(merged)
			merged = append(merged, r)
		}
	}
	return merged
}

// label returns text as a label may be.
func label(text string) string { return strings.ToValidUTF8(text, "?") }
