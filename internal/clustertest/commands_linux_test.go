package clustertest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"udprelay/internal/admin"
)

// wantLines checks that a text has a line for each of the patterns.
func wantLines(t *testing.T, text string, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		if !regexp.MustCompile("(?m)" + pattern).MatchString(text) {
			t.Errorf("want a line that matches %q; got\n%s", pattern, text)
		}
	}
}

// One node tells of all: who is there, how it reaches them, and their peers.
func TestOneNodeTellsOfAll(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	for _, n := range r.all() {
		n.awaitStatus(t, "2 routes that are connected, and 3 peers at each node", func(s *admin.Status) bool {
			connected := 0
			for _, route := range s.Cluster.Routes {
				if route.Connected && route.Node != "" {
					connected++
				}
			}
			return connected == 2 && len(s.Cluster.Routes) == 2 && !slices.ContainsFunc(s.Cluster.Nodes, func(n admin.ClusterNode) bool { return n.Peers != 3 || n.RTT.Duration <= 0 })
		})
	}
	wantLines(t, r.a.does(t, "status"), `^cluster +a in room main: 2 other nodes here$`)
	wantLines(t, r.a.does(t, "status", "--cluster"),
		`^cluster +a in room main: 2 other nodes here$`,
		`^messages +sealed with the secret$`,
		`^a \(this\) +here +3 `, `^b +here +3 `, `^c +here +3 `,
		`^10\.88\.0\.2:6222 +b +up `, ` c +up `,
		`^3 nodes here, 9 peers in all$`)

	text := r.a.does(t, "peers", "--cluster", "--limit", "100")
	wantLines(t, text, `^127\.0\.0\.2:\d+ +a `, `^127\.0\.0\.2:\d+ +b `, `^127\.0\.0\.2:\d+ +c `, `^\[::1\]:\d+ +c `, `^9 of 9 peers on 3 nodes$`)
	var told struct {
		Peers []admin.Peer `json:"peers"`
		Nodes []struct{ Name, Error string }
	}
	if err := json.Unmarshal([]byte(r.c.does(t, "peers", "--cluster", "--json")), &told); err != nil {
		t.Fatal(err)
	}
	var got, want []string
	for _, p := range told.Peers {
		got = append(got, fmt.Sprint(p.Node, " ", p.Address))
	}
	for _, n := range r.all() {
		page, err := n.Peers(t.Context(), admin.Query{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range page.Peers {
			want = append(want, fmt.Sprint(n.name(), " ", p.Address))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(want) != 9 {
		t.Errorf("want the peers %q; got %q", want, got)
	}

	// A node that is gone is named, and so is one that has left.
	r.b.kill(t)
	r.a.awaitGone(t, "b")
	wantLines(t, r.a.does(t, "status"), `^cluster +a in room main: 1 other node here, 1 GONE: b$`, `^ +NO ROUTE to 10\.88\.0\.2:6222`)
	wantLines(t, r.a.does(t, "peers", "--cluster"), `^6 of 6 peers on 2 nodes$`, `^node b has not answered: it is gone`)
	r.c.stop(t)
	r.a.awaitStatus(t, "the node c to have left", func(s *admin.Status) bool { return nodeOf(s, "c").State == "left" })
	wantLines(t, r.a.does(t, "status"), `^cluster +a in room main: no other node here, 1 GONE: b, 1 left: c$`)
}

// A reload moves a node to another room, and a configuration that cannot be
// leaves it where it is.
func TestReloadMovesANode(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	of := func(n *node) *client { return n.clients[0] }
	change := func(n *node, key string, value any) {
		n.cluster[key] = value
		n.configure(t, n.cluster)
	}
	change(r.c, "room", "other")
	wantLines(t, r.c.does(t, "reload"), `cluster\.room`)
	r.a.awaitStatus(t, "the node c to have left", func(s *admin.Status) bool { return nodeOf(s, "c").State == "left" })
	awaitNodes(t, r.a.daemon, r.b.daemon)
	change(r.b, "room", "other")
	r.b.does(t, "reload")
	awaitNodes(t, r.b.daemon, r.c.daemon)
	awaitNodes(t, r.a.daemon)
	awaitHeardBy(t, []*client{of(r.b), of(r.c)}, slices.Concat(r.b.clients, r.c.clients))
	speech{count: 500, window: 16, most: 1400, hears: slices.Concat(r.b.clients, r.c.clients)}.speak(t, of(r.b), of(r.c)).wait()
	speech{count: 500, window: 16, most: 1400, hears: r.a.clients}.speak(t, of(r.a)).wait()
	wantHeard(t, []*client{of(r.b), of(r.c)}, slices.Concat(r.b.clients, r.c.clients))
	for _, inside := range r.a.clients {
		for _, n := range []*node{r.b, r.c} {
			for _, other := range n.clients {
				if inside.of(other).count+other.of(inside).count > 0 {
					t.Errorf("want %s and %s, of different rooms, to hear nothing of each other", inside.name, other.name)
				}
			}
		}
	}

	// A change that the check refuses changes nothing.
	id := r.b.status(t).Cluster.ID
	for key, bad := range map[string]any{"room": "no room", "listen": "no address", "secret_file": "/no/such/file"} {
		good := r.b.cluster[key]
		change(r.b, key, bad)
		if _, stderr, err := r.b.run(t, "reload"); err == nil || !strings.Contains(stderr, "udprelay: ") {
			t.Errorf("want %s: %v refused; got %v, %s", key, bad, err, stderr)
		}
		change(r.b, key, good)
	}
	if now := r.b.status(t).Cluster; now.ID != id {
		t.Errorf("want b to be the same node; it was %s and is %s", id, now.ID)
	}
	// What fails when it is tried, too, though b has left meanwhile.
	good := r.b.cluster["listen"]
	change(r.b, "listen", "192.0.2.1:6222")
	wantLines(t, r.b.refuses(t, 69, "reload"), `^udprelay: .*192\.0\.2\.1:6222`)
	change(r.b, "listen", good)
	awaitNodes(t, r.b.daemon, r.c.daemon)
	if now := r.b.status(t).Cluster; now.Room != "other" || !strings.HasSuffix(now.Listen, ":6222") {
		t.Errorf("want b in the room other as before; got %+v", now)
	}
	awaitHeardBy(t, []*client{of(r.b), of(r.c)}, slices.Concat(r.b.clients, r.c.clients))

	// And back to one room of all.
	for _, n := range []*node{r.b, r.c} {
		change(n, "room", "main")
		n.does(t, "reload")
	}
	awaitNodes(t, r.a.daemon, r.b.daemon, r.c.daemon)
	for _, n := range r.all() {
		awaitHeardBy(t, n.speakers(), clientsOf(r.all()...))
	}
	r.wantWhole(t, speech{count: 100, window: 16, most: 1400})
}

// A ban of the cluster holds on every node, also on one that was away when it
// was said, and so does its end.
func TestBanHoldsOnAllNodes(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	banned := make(map[*node]*client)
	const address = "127.0.0.66"
	for _, n := range r.all() {
		banned[n] = newClient(t, n.daemon, "bad-"+n.name(), address)
	}
	join := func(nodes ...*node) {
		for _, n := range nodes {
			banned[n].say(t, "")
			n.awaitPeers(t, len(n.clients)+1)
		}
	}
	join(r.all()...)
	r.c.stop(t)
	for _, n := range []*node{r.a, r.b} {
		n.awaitStatus(t, "the node c to have left", func(s *admin.Status) bool { return nodeOf(s, "c").State == "left" })
	}
	wantLines(t, r.a.does(t, "ban", "--cluster", "--reason", "it floods", address), `^127\.0\.0\.66/32 is banned for ever`)
	r.c.start(t)
	for _, c := range r.c.clients {
		c.say(t, "")
	}
	awaitNodes(t, r.a.daemon, r.b.daemon, r.c.daemon)
	for _, n := range r.all() {
		n.awaitStatus(t, "the same bans everywhere, and only peers that are not banned", func(s *admin.Status) bool {
			return s.Peers.Learned == len(n.clients) && !slices.ContainsFunc(s.Cluster.Nodes, func(o admin.ClusterNode) bool { return o.State == "here" && !o.SameBans })
		})
		wantLines(t, n.does(t, "ban", "--list"), `^127\.0\.0\.66/32 .*it floods`)
	}
	awaitHeardBy(t, speakersOf(r.all()...), clientsOf(r.all()...))
	for _, n := range r.all() {
		was := n.status(t).Drops["banned"]
		banned[n].say(t, "of-somebody-banned")
		n.awaitStatus(t, "what the banned one says dropped", func(s *admin.Status) bool { return s.Drops["banned"] == was+1 })
	}
	settle(t, speakersOf(r.all()...), clientsOf(r.all()...))
	for _, c := range clientsOf(r.all()...) {
		if c.text("of-somebody-banned") > 0 {
			t.Errorf("%s has heard somebody who is banned", c.name)
		}
	}

	// It is ended at another node.
	wantLines(t, r.b.does(t, "unban", "--cluster", address), `^the ban of 127\.0\.0\.66/32 has ended`)
	for _, n := range r.all() {
		await(t, func() bool { return strings.Contains(n.does(t, "ban", "--list"), "nobody is banned") }, "nobody to be banned at %s", n.name())
	}
	join(r.all()...)
	for _, n := range r.all() {
		banned[n].say(t, "let-in-again,"+n.name())
	}
	for _, n := range r.all() {
		for _, c := range clientsOf(r.all()...) {
			await(t, func() bool { return c.text("let-in-again,"+n.name()) == 1 }, "%s to hear who is let in again at %s", c.name, n.name())
		}
	}
}
