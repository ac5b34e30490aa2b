package command

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/cluster"
)

const clusterText = `With --cluster it is all that the relay knows of its cluster: what is wrong first,
then what goes to other nodes and comes from them, what was dropped and what to do
about it, the nodes, and the routes to them. A node is here, has left (it said
so), or is gone (it is silent): then what it was heard to have is in parentheses.
Of nodes that are not here the last of each name is shown, unless one of that name
is here. A route may be up and its node not in this room: that has another room or
secret, or has not been heard.
IN/S and OUT/S are datagrams in a second that a node gets from the cluster and
gives to it; RECEIVED and LOST are datagrams of it that came here and that did
not. PENDING waits to leave. With --json it is the object cluster of the status.
If the relay is no node of a cluster, the exit code is 69.`

// noCluster is that a relay is no node of a cluster.
type noCluster struct{}

func (noCluster) Error() string { return "this relay is no node of a cluster" }
func (noCluster) ExitCode() int { return exitUnreachable }
func (noCluster) Hint() string {
	return "cluster.listen, cluster.routes or cluster.url in its configuration makes it one; see docs/cluster.md"
}

// clusterAsker returns what asks a relay for its cluster. If a reload ends that
// while it is watched, that is no error.
func clusterAsker() func(ctx context.Context, client admin.Client, lines int) (told, error) {
	wasOn := false
	return func(ctx context.Context, client admin.Client, _ int) (told, error) {
		status, err := askWhole(ctx, client)
		if err != nil {
			return nil, err
		}
		if !status.Cluster.On && !wasOn {
			return nil, noCluster{}
		}
		wasOn = true
		return toldCluster(status), nil
	}
}

func askWhole(ctx context.Context, client admin.Client) (admin.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	return client.Status(ctx)
}

// nodeNames returns what to call nodes, by ID: what they are named, with the
// begin of the ID where that is not enough.
func nodeNames(nodes []admin.ClusterNode) map[string]string {
	count := make(map[string]int)
	for _, n := range nodes {
		count[n.Name]++
	}
	names := make(map[string]string)
	for _, n := range nodes {
		switch begin := n.ID[:min(len(n.ID), 8)]; {
		case n.Name == "":
			names[n.ID] = begin
		case count[n.Name] > 1:
			names[n.ID] = fmt.Sprintf("%s (%s)", n.Name, begin)
		default:
			names[n.ID] = n.Name
		}
	}
	return names
}

// selfOf returns a node as another one would see it.
func selfOf(c *admin.Cluster) admin.ClusterNode {
	return admin.ClusterNode{ID: c.ID, Name: c.Name, State: admin.NodeHere, InRate: c.ReceivedRate, OutRate: c.PublishedRate, SameBans: true}
}

// lastOfEach returns the nodes that are here and, of those that are not, that
// which was heard last under its name. One that has come back under its name, with
// another ID, is not absent.
func lastOfEach(c *admin.Cluster) (nodes []admin.ClusterNode) {
	last := map[string]admin.ClusterNode{c.Name: selfOf(c)}
	for _, n := range c.Nodes {
		if known, ok := last[n.Name]; !ok || known.State != admin.NodeHere && (n.State == admin.NodeHere || n.Heard.After(known.Heard.Time)) {
			last[n.Name] = n
		}
	}
	for _, n := range c.Nodes { // in their order; who has told no name is itself
		if n.State == admin.NodeHere || n.Name == "" || n.ID == last[n.Name].ID {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// absent returns those of lastOfEach that are in a state, which is not that of
// being here.
func absent(c *admin.Cluster, state string) []admin.ClusterNode {
	return slices.DeleteFunc(lastOfEach(c), func(n admin.ClusterNode) bool { return n.State != state })
}

// mostNamed is how many of many things one line names.
const mostNamed = 3

// named returns the names of nodes, of many only some.
func named(nodes []admin.ClusterNode) string {
	names := nodeNames(nodes)
	var list []string
	for _, n := range nodes {
		list = append(list, names[n.ID])
	}
	return namesOf(list, mostNamed)
}

// troubleLines says how many nodes there are, and then what is wrong with a
// cluster.
func troubleLines(c *admin.Cluster) []string {
	here := 0
	var otherBans []admin.ClusterNode
	for _, n := range c.Nodes {
		if n.State == admin.NodeHere {
			here++
			if !n.SameBans {
				otherBans = append(otherBans, n)
			}
		}
	}
	text := "no other node here"
	if here > 0 {
		text = numbered(here, "other node", "other nodes") + " here"
	}
	if gone := absent(c, admin.NodeGone); len(gone) > 0 {
		text += fmt.Sprintf(", %s GONE: %s", counted(len(gone)), named(gone))
	}
	if left := absent(c, admin.NodeLeft); len(left) > 0 {
		text += fmt.Sprintf(", %s left: %s", counted(len(left)), named(left))
	}
	lines := []string{labelled("cluster", "%s in room %s: %s", printable(c.Name), printable(c.Room), text)}
	switch {
	case !c.Connected:
		lines = append(lines, labelled("", "NOT CONNECTED to NATS: %s", cmp.Or(printable(c.Trouble), "nothing passes to other nodes or from them")))
	case c.Trouble != "":
		lines = append(lines, labelled("", "TROUBLE WITH NATS: %s", printable(c.Trouble)))
	}
	down := slices.DeleteFunc(slices.Clone(c.Routes), func(r admin.ClusterRoute) bool { return r.Connected })
	for _, r := range down[:min(len(down), mostNamed)] {
		why := ""
		if r.Error != "" {
			why = ": " + printable(r.Error)
		}
		lines = append(lines, labelled("", "NO ROUTE to %s%s", printable(r.Address), why))
	}
	if more := len(down) - mostNamed; more > 0 {
		lines = append(lines, labelled("", "NO ROUTE to %s more", counted(more)))
	}
	if len(otherBans) > 0 {
		lines = append(lines, labelled("", "bans differ on %s: wrong only if that lasts", named(otherBans)))
	}
	return lines
}

// clusterLines returns what the status of a relay has of its cluster: nothing, if
// there is none.
func clusterLines(c *admin.Cluster) []string {
	if !c.On {
		return nil
	}
	lines := append(troubleLines(c), labelled("", "%s in/s from other nodes, %s out/s to them", shortRate(c.ReceivedRate), shortRate(c.PublishedRate)))
	drops := maps.Clone(c.Drops)
	maps.DeleteFunc(drops, func(_ string, n uint64) bool { return n == 0 })
	if len(drops) > 0 {
		lines = append(lines, labelled("", "dropped %s; see --cluster", mostFirst(drops)))
	}
	return lines
}

// A clusterDrop says of a reason what it means, or what to do.
type clusterDrop struct {
	where int // one of those that follow
	hint  string
}

const (
	dropsOut  = iota // datagrams that did not leave
	dropsLost        // datagrams that did not come
	dropsIn          // messages that came in vain, with any number of datagrams
)

var clusterDrops = map[cluster.Drop]clusterDrop{
	cluster.DropQueueFull:      {dropsOut, "NATS or the network is too slow: raise cluster.queue"},
	cluster.DropTooBig:         {dropsOut, "longer than 65535 bytes"},
	cluster.DropPublishFailed:  {dropsOut, "there was no connection to NATS; see the log"},
	cluster.DropLost:           {dropsLost, "a route was cut or behind; LOST says whose they were"},
	cluster.DropDuplicate:      {dropsIn, "came again or late, or somebody repeats them"},
	cluster.DropUnknownVersion: {dropsIn, "of a node of another version: upgrade the older one"},
	cluster.DropMalformed:      {dropsIn, "not of this program, or changed on the way"},
	cluster.DropWrongSecret:    {dropsIn, "of a node with another cluster.secret_file, or none"},
	cluster.DropTooManyNodes:   {dropsIn, "of more nodes than a room may have"},
	cluster.DropSlow:           {dropsIn, "this relay is behind: add CPU or raise cluster.queue"},
	cluster.DropUnproven:       {dropsIn, "before their node was known, or recorded and repeated"},
	cluster.DropUnasked:        {dropsIn, "answers that came too late, or that somebody repeats"},
}

// clusterDropLines returns the reasons that are not 0. At the end are those that
// only another version knows.
func clusterDropLines(c *admin.Cluster) []string {
	rest := maps.Clone(c.Drops)
	var sums [dropsIn + 1]uint64
	columns := []column{{}, {right: true}, {}}
	add := func(reason string, drop clusterDrop) {
		if count := rest[reason]; count > 0 {
			sums[drop.where] += count
			for i, cell := range []string{"  " + printable(reason), counted(count), drop.hint} {
				columns[i].cells = append(columns[i].cells, cell)
			}
		}
		delete(rest, reason)
	}
	for _, drop := range cluster.Drops() {
		add(drop.String(), clusterDrops[drop])
	}
	for _, reason := range slices.Sorted(maps.Keys(rest)) {
		add(reason, clusterDrop{where: dropsIn})
	}
	if len(columns[0].cells) == 0 {
		return []string{labelled("dropped", "nothing")}
	}
	var out, in []string
	if n := sums[dropsOut]; n > 0 {
		out = []string{"on the way out " + datagrams(n)}
	}
	if n := sums[dropsLost]; n > 0 {
		in = append(in, datagrams(n)+" lost")
	}
	if n := sums[dropsIn]; n > 0 {
		in = append(in, numbered(int(n), "message", "messages"))
	}
	if in != nil {
		out = append(out, "on the way in "+strings.Join(in, ", "))
	}
	return append([]string{labelled("dropped", "%s", strings.Join(out, "; "))}, layOut(columns, 0)[1:]...)
}

// A toldCluster is what a daemon tells of its cluster.
type toldCluster admin.Status

func (t toldCluster) object() any { return t.Cluster }

// lines returns what is wrong, this node, and tables that fit into width of all
// nodes and of the routes.
func (t toldCluster) lines(width int) []string {
	c := &t.Cluster
	if !c.On {
		return []string{labelled("cluster", "%v any more: its configuration has changed", noCluster{})}
	}
	lines := troubleLines(c)
	add := func(label, format string, args ...any) { lines = append(lines, labelled(label, format, args...)) }
	add("id", "%s, another at each start", printable(c.ID))
	switch {
	case c.URL != "":
		add("nats", "%s", printable(c.URL))
	case c.Listen != "":
		add("listens", "%s, for other nodes", printable(c.Listen))
	default:
		add("listens", "nowhere: it connects to other nodes")
	}
	switch {
	case c.Sealed:
		add("messages", "sealed with the secret")
	case c.TLS:
		add("messages", "not sealed; nodes connect by TLS with certificates")
	case c.URL == "":
		add("messages", "NOT SEALED: who reaches a node's port can read and speak")
	default:
		add("messages", "NOT SEALED: who reaches NATS can read and speak")
	}
	add("in", "%s of other nodes (%s), %s/s now", datagrams(c.Received), bytesOf(short(c.ReceivedBytes)), shortRate(c.ReceivedRate))
	add("out", "%s to other nodes (%s), %s/s now", datagrams(c.Published), bytesOf(short(c.PublishedBytes)), shortRate(c.PublishedRate))
	lines = append(append(lines, clusterDropLines(c)...), "")
	lines = append(append(lines, t.nodeLines(width)...), "")
	if c.URL == "" {
		if len(c.Routes) == 0 {
			lines = append(lines, "no routes to other nodes", "")
		} else {
			lines = append(append(lines, routeLines(c, t.Now.Time, width)...), "")
		}
	}
	here, peers := 1, t.self().Peers
	for _, n := range c.Nodes {
		if n.State == admin.NodeHere {
			here++
			peers += n.Peers
		}
	}
	return append(lines, fmt.Sprintf("%s here, %s in all", numbered(here, "node", "nodes"), numbered(peers, "peer", "peers")))
}

// self returns the node that tells.
func (t *toldCluster) self() admin.ClusterNode {
	self := selfOf(&t.Cluster)
	self.Version, self.Peers = t.Version, t.Peers.Learned+t.Peers.Static
	return self
}

// nodeLines returns a table of the nodes, the one that tells first.
func (t *toldCluster) nodeLines(width int) []string {
	nodes := append([]admin.ClusterNode{t.self()}, lastOfEach(&t.Cluster)...)
	names := nodeNames(nodes)
	self := &nodes[0]
	ofOthers := func(text func(*admin.ClusterNode) string) func(*admin.ClusterNode) string {
		return func(n *admin.ClusterNode) string {
			if n == self {
				return "-"
			}
			return text(n)
		}
	}
	rate := func(rate func(*admin.ClusterNode) float64) func(*admin.ClusterNode) string {
		return func(n *admin.ClusterNode) string {
			if n.State != admin.NodeHere {
				return "-"
			}
			return shortRate(rate(n))
		}
	}
	cell := tableOf(nodes)
	name := cell("NODE", 0, 0, func(n *admin.ClusterNode) string {
		if n == self {
			return printable(names[n.ID]) + " (this)"
		}
		return printable(names[n.ID])
	})
	name.shortest = 12
	return layOut([]column{
		name,
		cell("STATE", 0, 0, func(n *admin.ClusterNode) string { return printable(n.State) }),
		right(cell("PEERS", 1, 0, func(n *admin.ClusterNode) string {
			if n.State != admin.NodeHere {
				return "(" + counted(n.Peers) + ")"
			}
			return counted(n.Peers)
		})),
		right(cell("IN/S", 2, 5, rate(func(n *admin.ClusterNode) float64 { return n.InRate }))),
		right(cell("OUT/S", 2, 5, rate(func(n *admin.ClusterNode) float64 { return n.OutRate }))),
		right(cell("RTT", 5, 5, ofOthers(func(n *admin.ClusterNode) string { return shortTime(n.RTT.Duration) }))),
		right(cell("HEARD", 4, len("59s ago"), ofOthers(func(n *admin.ClusterNode) string { return ago(n.Heard.Time, t.Now.Time) }))),
		right(cell("RECEIVED", 7, 0, ofOthers(func(n *admin.ClusterNode) string { return short(n.Received) }))),
		right(cell("LOST", 3, 5, ofOthers(func(n *admin.ClusterNode) string { return short(n.Lost) }))),
		cell("VERSION", 6, 0, func(n *admin.ClusterNode) string { return printable(n.Version) }),
	}, width)
}

// heardWithin is how long it may take until a node is heard by a new route: it
// says something each second.
const heardWithin = 5 * time.Second

// elsewhere reports whether a route is up, and its node is not in the room.
func elsewhere(c *admin.Cluster, r *admin.ClusterRoute, now time.Time) bool {
	return r.Connected && r.NodeID != "" && (r.Since == nil || now.Sub(r.Since.Time) >= heardWithin) &&
		!slices.ContainsFunc(c.Nodes, func(n admin.ClusterNode) bool { return n.ID == r.NodeID })
}

// routeLines returns a table of routes to other nodes.
func routeLines(c *admin.Cluster, now time.Time, width int) []string {
	ifUp := func(text func(*admin.ClusterRoute) string) func(*admin.ClusterRoute) string {
		return func(r *admin.ClusterRoute) string {
			if !r.Connected {
				return "-"
			}
			return text(r)
		}
	}
	cell := tableOf(c.Routes)
	why := cell("", 0, 0, func(r *admin.ClusterRoute) string {
		if elsewhere(c, r, now) {
			return "not in this room"
		}
		return printable(r.Error)
	})
	if why.natural() > 0 {
		why.title, why.shortest = "WHY", 20
	}
	name := cell("NODE", 1, 0, func(r *admin.ClusterRoute) string { return cmp.Or(printable(r.Node), "-") })
	name.shortest = 8
	return layOut([]column{
		cell("ADDRESS", 0, 0, func(r *admin.ClusterRoute) string { return printable(r.Address) }),
		name,
		cell("STATE", 0, 0, func(r *admin.ClusterRoute) string {
			if r.Connected {
				return "up"
			}
			return "down"
		}),
		right(cell("RTT", 2, 5, ifUp(func(r *admin.ClusterRoute) string { return shortTime(r.RTT.Duration) }))),
		right(cell("PENDING", 3, 0, ifUp(func(r *admin.ClusterRoute) string { return memory(r.Pending) }))),
		right(cell("SINCE", 4, len("59s ago"), ifUp(func(r *admin.ClusterRoute) string {
			if r.Since == nil {
				return "-"
			}
			return ago(r.Since.Time, now)
		}))),
		why,
	}, width)
}
