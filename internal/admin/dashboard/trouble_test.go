package dashboard

import (
	"encoding/json"
	"testing"
	"time"

	"udprelay/internal/admin/dashboard/pagetest"
)

// A clusterView is what the page says of how a cluster is.
type clusterView struct {
	State, Head string   // in the head of the section
	Notice      string   // in the header of the page; "": none
	Bad         bool     // the notice is about a node that is cut off
	Wrong       []string // the list of what is wrong
	Nodes       []string // names in the table
	Count       string
	Routes      string
}

const seenOfCluster = `(() => {
	const text = (id) => document.getElementById(id).checkVisibility() ? document.getElementById(id).textContent : "";
	const notice = document.getElementById("cluster-trouble");
	return JSON.stringify({
		State: document.getElementById("cluster-connected").dataset.state, Head: text("cluster-connected"),
		Notice: text("cluster-trouble"), Bad: !notice.hidden && notice.classList.contains("bad"),
		Wrong: [...document.querySelectorAll("#cluster-wrong li")].filter((e) => e.checkVisibility()).map((e) => e.textContent),
		Nodes: [...document.querySelectorAll("#node-rows th")].map((e) => e.textContent),
		Count: text("cluster-count"), Routes: text("cluster-routes"),
	});
})()`

// waitCluster waits until the page says all of want.
func waitCluster(t *testing.T, p *pagetest.Page, what string, want clusterView) {
	t.Helper()
	if want.Notice != "" {
		want.Notice = "The cluster has trouble: " + want.Notice + ". What is wrong"
	}
	for _, list := range []*[]string{&want.Wrong, &want.Nodes} {
		*list = append([]string{}, *list...) // never null
	}
	object, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	p.Wait(`/* %s */ %s === JSON.stringify(%s)`, what, seenOfCluster, object)
}

func TestTroubleOfTheCluster(t *testing.T) {
	s := clustered(t, nil)
	node := func(id, name, state string, ago time.Duration) map[string]any {
		return map[string]any{"id": id, "name": name, "state": state, "heard": s.now.Add(-ago), "version": "1.4.0", "same_bans": true}
	}
	missing := map[string]any{"address": "192.0.2.3:6222", "node": "south", "node_id": "", "connected": false, "error": "connection refused", "since": nil}
	up := func(age time.Duration) map[string]any {
		return map[string]any{"address": "192.0.2.2:6222", "node": "north", "node_id": "1", "connected": true, "error": "", "since": s.now.Add(-age)}
	}
	type list = []map[string]any
	const alone = "No other node is here: this one relays among its own peers only"
	const stray = "The route to 192.0.2.2:6222 (north) is up, but its node is not in this room: it has another room or secret, or has not been heard"
	var p *pagetest.Page
	for _, test := range []struct {
		what          string
		nodes, routes list
		url, trouble  string
		apart         bool
		want          clusterView
	}{
		{what: "the first of the cluster", want: clusterView{State: "connected", Head: "connected", Count: "no other", Routes: "0 connected"}},
		{what: "the first of a deployment", url: "nats://192.0.2.1", want: clusterView{State: "connected", Head: "connected", Count: "no other", Routes: "none: the NATS deployment has them"}},
		{what: "one other", nodes: list{node("1", "north", "here", 0)}, routes: list{up(time.Hour)},
			want: clusterView{State: "connected", Head: "connected", Nodes: []string{"north"}, Count: "1 here", Routes: "1 connected"}},
		{what: "one that is not heard yet", routes: list{up(4 * time.Second)}, want: clusterView{State: "connected", Head: "connected", Count: "no other", Routes: "1 connected"}},
		{what: "alone, with a route", routes: list{missing},
			want: clusterView{State: "trouble", Head: "connected, but no other node here, a route missing", Notice: "no other node here, a route missing", Bad: true,
				Wrong: []string{alone, "No route to 192.0.2.3:6222 (south): connection refused"}, Count: "no other", Routes: "0 connected, 1 missing"}},
		{what: "alone, with another room", routes: list{up(time.Minute)},
			want: clusterView{State: "trouble", Head: "connected, but no other node here", Notice: "no other node here", Bad: true,
				Wrong: []string{alone, stray}, Count: "no other", Routes: "1 connected (1 not in this room)"}},
		{what: "others of another room", nodes: list{node("2", "west", "here", 0)}, routes: list{up(time.Minute)},
			want: clusterView{State: "connected", Head: "connected", Nodes: []string{"west"}, Count: "1 here", Routes: "1 connected (1 not in this room)"}},
		{what: "the other has left", nodes: list{node("3", "north", "left", 90*time.Second), node("1", "north", "gone", 2*time.Hour+time.Minute), node("4", "north", "gone", 3*time.Hour)}, url: "nats://192.0.2.1",
			want: clusterView{State: "trouble", Head: "connected, but no other node here", Notice: "no other node here", Bad: true,
				Wrong: []string{alone}, Nodes: []string{"north"}, Count: "1 left", Routes: "none: the NATS deployment has them"}},
		{what: "all others are gone", nodes: list{node("1", "north", "gone", 2*time.Hour+time.Minute), node("3", "north", "left", 3*time.Hour), node("4", "south", "gone", 4*time.Hour+time.Minute), node("5", "amsterdam", "gone", 0)},
			want: clusterView{State: "trouble", Head: "connected, but no other node here, 2 nodes gone", Notice: "no other node here, 2 nodes gone", Bad: true,
				Wrong: []string{alone, "north is gone: silent for 2 h", "south is gone: silent for 4 h"}, Nodes: []string{"north", "south"}, Count: "2 gone", Routes: "0 connected"}},
		{what: "one of two is gone", nodes: list{node("1", "north", "gone", time.Hour+time.Minute), node("2", "west", "here", 0)},
			want: clusterView{State: "trouble", Head: "connected, but north gone", Notice: "north gone",
				Wrong: []string{"north is gone: silent for 1 h"}, Nodes: []string{"north", "west"}, Count: "1 gone, 1 here", Routes: "0 connected"}},
		{what: "it is here again", nodes: list{node("1", "north", "gone", time.Hour), node("2", "north", "here", 0), node("3", "north", "left", 0)},
			want: clusterView{State: "connected", Head: "connected", Nodes: []string{"north"}, Count: "1 here", Routes: "0 connected"}},
		{what: "not connected", apart: true, nodes: list{node("1", "north", "gone", time.Hour+time.Minute)}, url: "nats://192.0.2.1",
			want: clusterView{State: "apart", Head: "not connected to NATS, north gone", Notice: "not connected to NATS, north gone", Bad: true,
				Wrong: []string{"Not connected to NATS: nothing passes to other nodes or from them", "north is gone: silent for 1 h"}, Nodes: []string{"north"}, Count: "1 gone", Routes: "none: the NATS deployment has them"}},
		{what: "not let in", apart: true, trouble: "authorization violation", url: "nats://192.0.2.1",
			want: clusterView{State: "apart", Head: "not connected to NATS", Notice: "not connected to NATS", Bad: true,
				Wrong: []string{"Not connected to NATS: authorization violation"}, Count: "no other", Routes: "none: the NATS deployment has them"}},
		{what: "not allowed", trouble: "no permission to publish on udprelay.main.data", url: "nats://192.0.2.1", nodes: list{node("1", "north", "here", 0)},
			want: clusterView{State: "trouble", Head: "connected, but trouble with NATS", Notice: "trouble with NATS", Bad: true,
				Wrong: []string{"Trouble with NATS: no permission to publish on udprelay.main.data"}, Nodes: []string{"north"}, Count: "1 here", Routes: "none: the NATS deployment has them"}},
	} {
		s.change(func() {
			s.cluster["nodes"], s.cluster["routes"], s.cluster["url"] = append(list{}, test.nodes...), append(list{}, test.routes...), test.url
			s.cluster["trouble"], s.cluster["connected"] = test.trouble, !test.apart
		})
		if p == nil {
			p = pagetest.Open(t, s.url(), pagetest.Options{})
			p.Live()
		} else {
			s.change(s.tell)
		}
		waitCluster(t, p, test.what, test.want)
	}
	p.Click("#cluster-trouble-show")
	p.Wait(`document.activeElement.id === "cluster" && Math.abs(document.getElementById("cluster").getBoundingClientRect().top) < innerHeight && location.hash === ""`)
	p.Clean()
}

// Bans differ whenever there is a new one. Only that it lasts is trouble.
func TestBansThatDifferForLongAreTrouble(t *testing.T) {
	s := clustered(t, func(c map[string]any) {
		nodes := c["nodes"].([]map[string]any)
		c["nodes"], c["routes"] = []map[string]any{nodes[1], nodes[4]}, []map[string]any{}
	})
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	sound := clusterView{State: "connected", Head: "connected", Nodes: []string{"berlin", "dublin"}, Count: "2 here", Routes: "0 connected"}
	late := sound
	late.State, late.Head, late.Notice = "trouble", "connected, but other bans on dublin", "other bans on dublin"
	late.Wrong = []string{"dublin has not the bans of the cluster that this node has, and that lasts"}
	wait := func(d time.Duration) {
		t.Helper()
		const heard = `document.querySelector("#node-rows tr").cells[7].textContent` // grows with time
		before := pagetest.Eval[string](p, heard)
		s.change(func() {
			s.pass(d)
			s.tell()
		})
		p.Wait(`%s !== %s`, heard, pagetest.Quote(before))
	}
	// differ says whether the bans of dublin differ, and has the page see that.
	differ := func(yes bool) {
		t.Helper()
		s.change(func() {
			s.cluster["nodes"].([]map[string]any)[1]["same_bans"] = !yes
			s.tell()
		})
		p.Wait(`document.querySelectorAll("#node-rows tr")[1].cells[8].textContent === %s`, pagetest.Quote(map[bool]string{true: "differ", false: "same"}[yes]))
	}
	waitCluster(t, p, "they differ", sound)
	for range 3 {
		wait(9 * time.Second)
		waitCluster(t, p, "they do so for less than 30 s", sound)
	}
	wait(4 * time.Second)
	waitCluster(t, p, "they do so for 31 s", late)
	differ(false)
	waitCluster(t, p, "they are the same", sound)
	differ(true)
	wait(9 * time.Second)
	waitCluster(t, p, "they differ again", sound)
	wait(time.Minute)
	waitCluster(t, p, "nobody knows what was in that minute", sound)
	p.Clean()
}
