package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

const (
	// nodesAtOnce is how many requests may ask other nodes at a time. Each may
	// have an answer of some megabytes here, and work for a moment there.
	nodesAtOnce = 4

	// askTimeout is how long another node has to answer.
	askTimeout = 8 * time.Second

	// mostWord and mostDrops bound what another node says of a peer: a text, in
	// bytes, and how many reasons of drops.
	mostWord  = 256
	mostDrops = 64
)

// addCluster gives mux what asks other nodes. Only the control socket has it:
// at admin.http there is no authentication, and one short request makes another
// machine go through all its peers. There any web page could make a browser of
// this machine send such requests, even if it could not read the answers, and
// keep the nodes from answering those who run them.
func (r *reader) addCluster(mux *http.ServeMux) {
	asking := make(chan struct{}, nodesAtOnce)
	mux.HandleFunc("GET /api/v1/cluster/peers", r.large(func(w http.ResponseWriter, request *http.Request) {
		node, query, err := parseNodeQuery(request.URL.Query())
		if err != nil {
			refuse(w, err)
			return
		}
		page, err := func() (PeerPage, error) {
			select {
			case asking <- struct{}{}:
				defer func() { <-asking }()
				return r.askNode(request.Context(), node, query)
			default:
				return PeerPage{}, &Failure{Message: fmt.Sprintf("%d requests to other nodes are on the way already; want %d at most", nodesAtOnce, nodesAtOnce), Way: "try again in some seconds", Code: 69}
			}
		}()
		if err != nil {
			tellUnasked(w, err)
			return
		}
		answer(w, http.StatusOK, page)
	}))
}

// parseNodeQuery reads the query of a request that asks another node.
func parseNodeQuery(values url.Values) (node string, query Query, err error) {
	nodes := values["node"]
	if len(nodes) != 1 || !isNodeID(nodes[0]) {
		return "", query, fmt.Errorf("node is %s; want the ID of one node, 16 hexadecimal digits, as the status has it", printable(strings.Join(nodes, ",")))
	}
	values.Del("node")
	query, err = ParseQuery(values)
	return nodes[0], query, err
}

// isNodeID reports whether id is written as those of nodes are.
func isNodeID(id string) bool {
	return len(id) == 16 && strings.Trim(id, "0123456789abcdef") == ""
}

// askNode returns the page that a query asks another node for. What the node
// says is bounded, and can be shown.
func (r *reader) askNode(ctx context.Context, node string, query Query) (PeerPage, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	page, err := r.source.ClusterPeers(ctx, node, query)
	if err != nil {
		return PeerPage{}, cmp.Or(ctx.Err(), err) // that it was late says more than what came of it
	}
	name := node
	for _, n := range r.current().Cluster.Nodes {
		if n.ID == node {
			name = cmp.Or(n.Name, node)
		}
	}
	page.Total, page.Matched, page.Offset = max(page.Total, 0), max(page.Matched, 0), query.Offset
	page.Peers = append([]Peer{}, page.Peers[:min(len(page.Peers), query.Limit)]...)
	for i := range page.Peers {
		page.Peers[i].Node = name
		page.Peers[i].clean()
	}
	return page, nil
}

// clean makes of what another machine says of a peer what can be shown.
func (p *Peer) clean() {
	for _, text := range []*string{&p.Transport, &p.Name, &p.May, &p.JoinedBy, &p.State} {
		*text = shown(*text)
	}
	p.Dropped, p.Reported = cleanCounts(p.Dropped), cleanCounts(p.Reported)
}

func cleanCounts(counts map[string]uint64) map[string]uint64 {
	clean := make(map[string]uint64, min(len(counts), mostDrops))
	for reason, n := range counts {
		if len(clean) < mostDrops {
			clean[shown(reason)] += n
		}
	}
	return clean
}

// shown returns text without what does not print, and not too long.
func shown(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), mostWord)], "")
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// tellUnasked answers with why another node was not asked, or did not answer.
func tellUnasked(w http.ResponseWriter, err error) {
	if errors.Is(err, context.DeadlineExceeded) {
		err = &Failure{Message: fmt.Sprintf("the node did not answer within %v", askTimeout), Way: "udprelay status --cluster says whether it is here", Code: 69}
	}
	status := http.StatusInternalServerError
	if failure := (*Failure)(nil); errors.As(err, &failure) {
		switch failure.Code {
		case 1:
			status = http.StatusNotFound
		case 64:
			status = http.StatusBadRequest
		case 69:
			status = http.StatusServiceUnavailable
		}
	}
	answer(w, status, failureOf(err))
}

// ClusterPeers returns the page of the peers of another node that q asks for, by
// the ID of the node. The error is as that of Reload.
func (c Client) ClusterPeers(ctx context.Context, node string, q Query) (PeerPage, error) {
	parameters := q.Values()
	parameters.Set("node", node)
	var page PeerPage
	err := c.do(ctx, http.MethodGet, "/api/v1/cluster/peers?"+parameters.Encode(), nil, &page)
	return page, err
}
