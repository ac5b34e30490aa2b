package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"udprelay/internal/admin"
)

const clusterPeersText = `With --cluster it is the peers of all nodes of the relay's cluster, in the order in
which they joined, each with its node; that of two nodes of one name has the begin
of its ID, too. The relay asks each node that is here. One that does not answer is
named below the table, and in nodes of the JSON; if none but the relay itself
answers, the exit code is 69. Times are those of the clock of each node.`

// nodesAtOnce is how many nodes are asked at a time. The daemon asks for 4 at a
// time, whoever wants it to, and refuses more.
const nodesAtOnce = 2

// A nodePeers says how many peers of a node there are, or why its peers are not.
type nodePeers struct {
	Node    string `json:"node"` // as its peers have it
	ID      string `json:"id"`
	Name    string `json:"name"`
	Total   int    `json:"total"`
	Matched int    `json:"matched"`
	Error   string `json:"error"` // "": it has answered
}

// askClusterPeers asks for no more than limit peers, 0: for all, of all nodes.
func askClusterPeers(ctx context.Context, client admin.Client, query admin.Query, limit, lines int) (told, error) {
	status, err := askWhole(ctx, client)
	if err != nil {
		return nil, err
	}
	if !status.Cluster.On {
		return nil, noCluster{}
	}
	c := &status.Cluster
	nodes := []admin.ClusterNode{selfOf(c)}
	for _, n := range c.Nodes {
		if n.State == admin.NodeHere {
			nodes = append(nodes, n)
		}
	}
	limit = shown(limit, lines, aroundPeers) // of each, for all may be those of one
	pages, errs := make([]admin.PeerPage, len(nodes)), make([]error, len(nodes))
	var asking sync.WaitGroup
	free := make(chan struct{}, nodesAtOnce)
	for i := range nodes {
		free <- struct{}{}
		asking.Go(func() {
			defer func() { <-free }()
			ask := client.Peers
			if i > 0 {
				ask = func(ctx context.Context, q admin.Query) (admin.PeerPage, error) {
					return client.ClusterPeers(ctx, nodes[i].ID, q)
				}
			}
			pages[i], errs[i] = askPages(ctx, ask, query, limit)
		})
	}
	asking.Wait()
	if errs[0] != nil {
		return nil, errs[0] // that of the relay that asks the others
	}
	t := toldClusterPeers{others: len(nodes) - 1}
	names := nodeNames(nodes)
	var all []*admin.Peer
	for i, n := range nodes {
		of := nodePeers{Node: names[n.ID], ID: n.ID, Name: n.Name, Total: pages[i].Total, Matched: pages[i].Matched}
		if err := errs[i]; err != nil {
			of.Error = reasonOf(err)
		} else {
			t.answered++
		}
		t.nodes = append(t.nodes, of)
		for j := range pages[i].Peers {
			p := &pages[i].Peers[j]
			p.Node = of.Node
			all = append(all, p)
		}
	}
	gone := absent(c, admin.NodeGone)
	t.others += len(gone)
	names = nodeNames(gone)
	for _, n := range gone {
		t.nodes = append(t.nodes, nodePeers{Node: names[n.ID], ID: n.ID, Name: n.Name, Error: "it is gone, heard " + ago(n.Heard.Time, status.Now.Time)})
	}
	t.toldPeers = merged(all, t.nodes, query, shown(limit, lines, aroundPeers+len(t.silent())))
	t.on = " on " + numbered(t.answered, "node", "nodes")
	return t, nil
}

// merged returns the first peers of all, up to limit; 0: as many as there are.
func merged(all []*admin.Peer, of []nodePeers, query admin.Query, limit int) toldPeers {
	query.Offset, query.Limit = 0, cmp.Or(limit, len(all))
	if query.Sort == "" {
		query.Sort, query.Descending = "joined", false
	}
	page := query.Select(all)
	page.Total, page.Matched = 0, 0
	for _, n := range of {
		page.Total += n.Total
		page.Matched += n.Matched
	}
	return toldPeers{PeerPage: page, when: time.Now()}
}

// reasonOf returns why a node has not answered.
func reasonOf(err error) string {
	if unreachable := (*admin.Unreachable)(nil); errors.As(err, &unreachable) {
		err = unreachable.Err // for it was not the socket of this relay
	}
	return oneLine(err)
}

// A toldClusterPeers is what the nodes of a cluster tell of their peers.
type toldClusterPeers struct {
	toldPeers
	nodes    []nodePeers
	others   int // nodes that are here or gone
	answered int // of all nodes
}

// silent returns the nodes that have not answered.
func (t *toldClusterPeers) silent() []nodePeers {
	return slices.DeleteFunc(slices.Clone(t.nodes), func(n nodePeers) bool { return n.Error == "" })
}

func (t toldClusterPeers) object() any {
	return struct {
		admin.PeerPage
		Nodes []nodePeers `json:"nodes"`
	}{t.PeerPage, t.nodes}
}

// lines returns the table of the peers, and who has not answered.
func (t toldClusterPeers) lines(width int) []string {
	lines := t.toldPeers.lines(width)
	for _, n := range t.silent() {
		lines = append(lines, fmt.Sprintf("node %s has not answered: %s", printable(n.Node), printable(n.Error)))
	}
	return lines
}

// failed returns an error if only the relay itself has answered, though it is
// not alone.
func (t toldClusterPeers) failed() error {
	if t.others > 0 && t.answered == 1 {
		return nobodyElse{}
	}
	return nil
}

// nobodyElse is that no other node has answered.
type nobodyElse struct{}

func (nobodyElse) Error() string { return "no other node of the cluster has answered" }
func (nobodyElse) ExitCode() int { return exitUnreachable }
func (nobodyElse) Hint() string  { return "udprelay status --cluster says what is wrong" }
