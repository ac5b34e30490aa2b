package clustertest

import (
	"fmt"
	"slices"
	"testing"

	"udprelay/internal/admin"
)

// A room is the nodes a, b and c, each on a host of its own, and their clients.
//
// Nodes a and b connect to each other, and c connects to b, by IPv6: that a and c
// have to connect to each other, too, they hear from b.
type room struct {
	a, b, c *node
}

// A node is a daemon with clients. The last one joins and never speaks.
type node struct {
	*daemon
	clients []*client
}

func (n *node) speakers() []*client { return n.clients[:len(n.clients)-1] }

// openRoom starts the nodes and waits until every client hears all others.
func openRoom(t *testing.T) *room {
	t.Helper()
	net := newNetwork(t, "a", "b", "c")
	a, b := net.hosts[0], net.hosts[1]
	routes := []string{b.four + ":6222", a.four + ":6222", "[" + b.six + "]:6222"}
	var nodes []*node
	for i, h := range net.hosts {
		n := &node{daemon: newDaemon(t, h, section{"routes": []string{routes[i]}})}
		n.start(t)
		for j, address := range []string{"127.0.0.2", "::1", h.four} {
			n.clients = append(n.clients, newClient(t, n.daemon, fmt.Sprint(h.name, j), address))
		}
		nodes = append(nodes, n)
	}
	r := &room{nodes[0], nodes[1], nodes[2]}
	awaitNodes(t, r.a.daemon, r.b.daemon, r.c.daemon)
	r.join(t, nodes...)
	return r
}

// join has the clients of nodes become peers, and waits until all speakers are
// heard by everyone.
func (r *room) join(t *testing.T, nodes ...*node) {
	t.Helper()
	for _, n := range nodes {
		for _, c := range n.clients {
			c.say(t, "")
		}
		n.awaitPeers(t, len(n.clients))
	}
	for _, n := range r.all() {
		awaitHeardBy(t, n.speakers(), clientsOf(r.all()...))
	}
}

func (r *room) all() []*node { return []*node{r.a, r.b, r.c} }

func clientsOf(nodes ...*node) (list []*client) {
	for _, n := range nodes {
		list = append(list, n.clients...)
	}
	return list
}

func speakersOf(nodes ...*node) (list []*client) {
	for _, n := range nodes {
		list = append(list, n.speakers()...)
	}
	return list
}

// wantNoDrops checks that the cluster has dropped nothing since the statuses of
// before.
func (r *room) wantNoDrops(t *testing.T, before []*admin.Status) {
	t.Helper()
	for i, n := range r.all() {
		now := n.status(t)
		for reason, count := range now.Cluster.Drops {
			if count != before[i].Cluster.Drops[reason] {
				t.Errorf("want %s to drop nothing as %s; got %d", n.name(), reason, count-before[i].Cluster.Drops[reason])
			}
		}
	}
}

func (r *room) statuses(t *testing.T) (list []*admin.Status) {
	t.Helper()
	for _, n := range r.all() {
		list = append(list, n.status(t))
	}
	return list
}

// wantWhole has everyone speak and checks that everyone hears everything, in
// order, once, whatever was lost before.
func (r *room) wantWhole(t *testing.T, s speech) {
	t.Helper()
	everyone, speakers := clientsOf(r.all()...), speakersOf(r.all()...)
	settle(t, speakers, everyone)
	before, lost := r.statuses(t), missing(speakers, everyone)
	s.hears = everyone
	s.speak(t, speakers...).wait()
	for _, c := range speakers {
		if err := c.heardBy(without(everyone, c), c.sent, 0); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
	}
	if now := missing(speakers, everyone); now != lost {
		t.Errorf("want everyone to hear everything; %d are missing", now-lost)
	}
	r.wantNoDrops(t, before)
}

// settle has each of the speakers say one more, and waits until all have heard
// it: then they know what was missing before.
func settle(t *testing.T, speakers, listeners []*client) {
	t.Helper()
	speech{count: 1, window: 1, most: 32}.speak(t, speakers...).wait()
	for _, c := range speakers {
		if err := c.heardBy(without(listeners, c), c.sent, 0); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
	}
}

func without(list []*client, c *client) []*client {
	return slices.DeleteFunc(slices.Clone(list), func(other *client) bool { return other == c })
}

func TestEveryoneHearsEveryoneOnce(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	speakers, everyone := speakersOf(r.all()...), clientsOf(r.all()...)
	settle(t, speakers, everyone)
	before := r.statuses(t)
	for _, s := range []speech{
		{count: 1500, window: 32, most: 1400},
		{count: 40, window: 4, most: 65507}, // the longest datagrams that UDP has
	} {
		s.hears = everyone
		s.speak(t, speakers...).wait()
		wantHeard(t, speakers, everyone)
	}
	for i, n := range r.all() {
		for _, other := range r.all() {
			said := uint64(len(other.speakers())) * 1540
			if got := nodeOf(n.status(t), other.name()).Received - nodeOf(before[i], other.name()).Received; n != other && got != said {
				t.Errorf("want %s to count %d datagrams of %s; got %d", n.name(), said, other.name(), got)
			}
		}
	}
	r.wantNoDrops(t, before)
}
