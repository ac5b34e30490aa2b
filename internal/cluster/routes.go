//go:build !nocluster

package cluster

import (
	"cmp"
	"context"
	"encoding/hex"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	// clusterName is the name of the cluster that the servers of the nodes are.
	// NATS wants one, and has only servers of the same connect to each other.
	clusterName = "udprelay"

	firstLook  = 250 * time.Millisecond // at the routes: by then most are connected
	lookEvery  = time.Second            // and from then on
	probeEvery = 2 * time.Second        // of one that is missing
	probeSelf  = 30 * time.Second       // of one that leads to this node
	maxProbes  = 16                     // at once
)

// A watch knows of each configured route where it leads. NATS does not tell:
// it lists connections, and of two that connect to each other it keeps one,
// which may be that of the other side, from any port. So each route that is not
// seen to be connected is called, and the server that answers says who it is.
type watch struct {
	c      *Cluster
	prober *prober

	mu     sync.Mutex // guards what follows
	wanted []*wanted
}

// A wanted is a configured route.
type wanted struct {
	address string
	told    string // the error that was logged last; "": none

	// Guarded by the mutex of the watch.
	answer           // the last
	up     bool      // it was connected at the last look
	looked bool      // whether it is connected has been looked at
	next   time.Time // when it is called again, if it is missing
	vain   int       // how many answers had nothing against it, but it is missing
}

func newWatch(c *Cluster) *watch {
	w := &watch{c: c, prober: newProber(&c.options)}
	for _, address := range c.options.Routes {
		w.wanted = append(w.wanted, &wanted{address: address})
	}
	return w
}

// run looks at the routes until ctx ends.
func (w *watch) run(ctx context.Context) {
	tick := time.NewTicker(firstLook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			w.look(ctx, now)
			tick.Reset(lookEvery)
		}
	}
}

// look calls those that are missing, and tells what is new.
func (w *watch) look(ctx context.Context, now time.Time) {
	connected := w.c.connections()
	var missing []*wanted
	w.mu.Lock()
	for _, r := range w.wanted {
		if info := r.find(connected); info != nil {
			r.there(info)
		} else if !now.Before(r.next) {
			missing = append(missing, r)
		}
	}
	w.mu.Unlock()

	answers := make([]answer, len(missing))
	var calling sync.WaitGroup
	free := make(chan struct{}, maxProbes)
	for i, r := range missing {
		free <- struct{}{}
		calling.Go(func() {
			answers[i] = w.prober.probe(ctx, r.address)
			<-free
		})
	}
	calling.Wait()

	connected = w.c.connections()
	w.mu.Lock()
	for i, r := range missing {
		r.heard(answers[i], w.self(), time.Now())
		if info := r.find(connected); info != nil {
			r.there(info)
		}
	}
	w.mu.Unlock()
	w.tell()
}

// there notes that the route is connected.
func (r *wanted) there(info *server.RouteInfo) {
	r.looked, r.up = true, true
	r.answer, r.vain = answer{id: info.RemoteID, server: info.RemoteName}, 0
}

// mostVain is how many answers may have nothing against a route that is missing:
// it may be about to be connected.
const mostVain = 2

// why returns why the route is missing, as far as it is known.
func (r *wanted) why() string {
	if r.up && r.err == "" {
		return "the connection is lost"
	}
	return r.err
}

// heard notes an answer of where a route that is missing leads.
func (r *wanted) heard(a answer, self string, now time.Time) {
	r.err, r.up = r.why(), false
	r.looked, r.next = true, now.Add(probeEvery)
	switch {
	case a.id == self:
		r.next = now.Add(probeSelf)
	case a.id == "":
		a.id, a.server = r.id, r.server // as it was known last
	case a.err == "":
		if r.vain++; r.vain > mostVain {
			a.err = "it does not let this node in: want the same secret on both"
		} else {
			a.err = r.err // likewise
		}
	}
	r.answer = a
}

// tell logs which routes are missing now, and which are no more.
func (w *watch) tell() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range w.wanted {
		if r.err == r.told {
			continue
		}
		if r.err != "" {
			w.c.troubles.warn("cluster: a route is missing, it is tried again", "route", r.address, "error", r.err)
		} else {
			w.c.troubles.tell(slog.LevelInfo, "cluster: a route is there", "route", r.address, "node", r.server)
		}
		r.told = r.err
	}
}

// self returns the ID of the server of this node.
func (w *watch) self() string { return w.c.server.ID() }

// find returns the connection to where the route leads, nil if there is none.
func (r *wanted) find(connected []*server.RouteInfo) *server.RouteInfo {
	for _, info := range connected {
		if r.id != "" && info.RemoteID == r.id || info.DidSolicit && r.address == addressOf(info) {
			return info
		}
	}
	return nil
}

// connections returns what NATS tells of the connections to other nodes. It
// has those also that the other side is about to refuse. Only who lets this node
// in says what it wants to hear, and every node wants to hear something.
func (c *Cluster) connections() []*server.RouteInfo {
	if c.server == nil {
		return nil
	}
	routes, err := c.server.Routez(nil)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(routes.Routes, func(info *server.RouteInfo) bool { return info.NumSubs == 0 })
}

// routes returns the configured routes, without one that leads to this node
// itself or that nobody has looked at yet, in their order, and then those that others told of, by node.
func (c *Cluster) routes() (list []Route) {
	if c.server == nil {
		return nil
	}
	connected := c.connections()
	named := make(map[*server.RouteInfo]bool)
	c.watch.mu.Lock()
	for _, r := range c.watch.wanted {
		if info := r.find(connected); info != nil {
			named[info] = true
			list = append(list, routeOf(info, r.address))
		} else if r.looked && r.id != c.watch.self() {
			name, id := nodeOf(r.server)
			list = append(list, Route{Address: r.address, Node: name, NodeID: id, Error: r.why()})
		}
	}
	c.watch.mu.Unlock()
	configured := len(list)
	for _, info := range connected {
		if !named[info] {
			list = append(list, routeOf(info, addressOf(info)))
		}
	}
	slices.SortFunc(list[configured:], func(a, b Route) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.NodeID, b.NodeID))
	})
	return list
}

func routeOf(info *server.RouteInfo, address string) Route {
	name, id := nodeOf(info.RemoteName)
	rtt, _ := time.ParseDuration(info.RTT) // of NATS itself
	return Route{
		Address: address, Node: name, NodeID: id, Connected: true,
		RTT: rtt, Pending: info.Pending, Since: info.Start,
	}
}

// addressOf returns the other end of a connection.
func addressOf(info *server.RouteInfo) string {
	return net.JoinHostPort(info.IP, strconv.Itoa(info.Port))
}

// nodeOf returns the node's name and ID that are in the name of its server.
// What is not the server of a node has no ID.
func nodeOf(server string) (name, id string) {
	if i := strings.LastIndexByte(server, '-'); i >= 0 {
		id = server[i+1:]
		if p, err := hex.DecodeString(id); err == nil && len(p) == len(nodeID{}) {
			return printable(server[:i]), id
		}
	}
	return printable(server), ""
}
