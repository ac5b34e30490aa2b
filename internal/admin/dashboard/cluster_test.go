package dashboard

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/internal/admin/dashboard/pagetest"
)

// somewhere is a cluster as a daemon tells of it: four other nodes of which one is
// gone and one has left, an earlier start of two, and a route that is missing.
func somewhere(now time.Time) map[string]any {
	node := func(id, name, state string, ago time.Duration, more map[string]any) map[string]any {
		n := map[string]any{
			"id": id, "name": name, "version": "1.4.0", "state": state, "heard": now.Add(-ago), "peers": 0, "in_rate": 0, "out_rate": 0,
			"rtt_seconds": 0, "received": 0, "lost": 0, "duplicates": 0, "same_bans": true,
		}
		for field, value := range more {
			n[field] = value
		}
		return n
	}
	return map[string]any{
		"on": true, "id": "00000000000000aa", "name": "amsterdam", "room": "main", "listen": "[::]:6222", "url": "", "connected": true, "trouble": "", "sealed": true,
		"published": 4_201_337, "published_bytes": 840_267_400, "received": 3_900_112, "received_bytes": 780_022_400, "published_rate": 1210.5, "received_rate": 980,
		"drops": map[string]int{"queue_full": 0, "too_big": 0, "publish_failed": 0, "lost": 412, "duplicate": 3, "unknown_version": 0, "malformed": 0, "wrong_secret": 0, "too_many_nodes": 0, "slow": 0, "unproven": 0, "unasked": 0},
		"routes": []map[string]any{
			{"address": "192.0.2.2:6222", "node": "berlin", "node_id": "00000000000000bb", "connected": true, "error": "", "rtt_seconds": 0.0072, "pending": 1_204_000, "since": now.Add(-time.Hour)},
			{"address": "192.0.2.3:6222", "node": "", "node_id": "", "connected": false, "error": "connection refused", "rtt_seconds": 0, "pending": 0, "since": nil},
		},
		"nodes": []map[string]any{
			node("00000000000000b0", "berlin", "gone", 5*time.Minute, nil),
			node("00000000000000bb", "berlin", "here", 400*time.Millisecond, map[string]any{"peers": 412, "in_rate": 2200, "out_rate": 812.4, "rtt_seconds": 0.00761, "received": 2_100_400, "lost": 412, "duplicates": 3}),
			node("00000000000000c0", "cairo", "left", 5*time.Minute, nil),
			node("00000000000000cc", "cairo", "gone", 95*time.Second, map[string]any{"peers": 7, "in_rate": 3, "out_rate": 4, "received": 711}),
			node("00000000000000dd", "dublin", "here", 900*time.Millisecond, map[string]any{"peers": 33, "in_rate": 2900, "out_rate": 160, "rtt_seconds": 0.00031, "received": 1_799_712, "same_bans": false, "version": "1.3.9"}),
			node("00000000000000ee", "", "left", 30*time.Second, nil),
		},
	}
}

// clustered is a stand-in in a cluster that f may change.
func clustered(t *testing.T, f func(cluster map[string]any)) *standIn {
	t.Helper()
	s := startStandIn(t, 30)
	s.change(func() {
		s.cluster = somewhere(s.now)
		if f != nil {
			f(s.cluster)
		}
	})
	return s
}

// cells returns the text of the rows of the nodes, the cells divided by "|".
func cells(p *pagetest.Page) []string {
	return pagetest.Eval[[]string](p, `[...document.querySelectorAll("#node-rows tr")].map((row) => [...row.cells].map((c) => c.textContent).join("|"))`)
}

func TestCluster(t *testing.T) {
	s := clustered(t, nil)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	for id, text := range map[string]string{
		"cluster-connected": "connected, but a route missing, cairo gone", "cluster-name": "amsterdam", "cluster-room": "main", "cluster-where": "listens at", "cluster-at": "[::]:6222",
		"cluster-sealed":    "sealed with the secret",
		"cluster-published": "1,211/s; 4,201,337 datagrams, 840 MB so far", "cluster-received": "980/s; 3,900,112 datagrams, 780 MB so far",
		"cluster-count": "2 here, 1 gone, 1 left", "cluster-routes": "1 connected, 1 missing; 1.20 MB wait to leave",
		"cluster-trouble-text": "a route missing, cairo gone",
	} {
		p.WaitText(id, text)
	}
	p.WaitMatch("cluster-wrong", `^No route to 192\.0\.2\.3:6222: connection refusedcairo is gone: silent for 1 min$`)
	want := []string{
		"berlin|here|412|2,200|812|7.61 ms|412|0 s|same|1.4.0",
		"cairo|gone|(7)|–|–|–|0|1 min|–|1.4.0", "dublin|here|33|2,900|160|0.31 ms|0|0 s|differ|1.3.9", "00000000000000ee|left|(0)|–|–|–|0|30 s|–|1.4.0",
	}
	p.Wait(`document.querySelectorAll("#node-rows tr").length === 4`)
	got := cells(p)
	for i := range got { // but for what grows while the test runs
		if !slices.Equal(without(got[i], 7), without(want[i], 7)) {
			t.Errorf("row %d is %q, not %q", i, got[i], want[i])
		}
	}
	dropped := `[...document.querySelectorAll("#cluster-drop-rows tr[data-reason]")].map((row) => row.innerText.replace(/\s+/g, " ").trim()).join()`
	p.Wait(`%s === "lost datagrams 412,duplicate messages 3"`, dropped)
	p.Wait(`document.querySelector("#cluster-drop-rows .explain").textContent.startsWith("Another node has sent it, and it did not come.")`)

	// A node comes back, the route is there, and more is lost.
	s.change(func() {
		c := s.cluster
		c["drops"].(map[string]int)["lost"] = 500
		c["routes"] = c["routes"].([]map[string]any)[:1]
		nodes := c["nodes"].([]map[string]any)
		nodes[3]["state"] = "here"
	})
	s.step(1, nil)
	p.WaitText("cluster-count", "3 here, 1 left")
	p.WaitText("cluster-connected", "connected")
	p.Wait(`document.querySelectorAll("#node-rows tr").length === 4`)
	p.Wait(`%s === "lost datagrams 500,duplicate messages 3"`, dropped)
	p.Wait(`document.getElementById("cluster-wrong").hidden && document.getElementById("cluster-trouble").hidden`)

	// It is cut off, then no node any more.
	s.change(func() { s.cluster["connected"], s.cluster["nodes"] = false, []any{} })
	s.step(1, nil)
	p.WaitText("cluster-connected", "not connected to NATS")
	p.WaitText("no-nodes", "No other node of the room has been heard.")
	p.Wait(`!document.getElementById("cluster-nodes").checkVisibility()`)
	s.change(func() {
		s.cluster = map[string]any{"on": false, "drops": map[string]int{}, "routes": []any{}, "nodes": []any{}}
	})
	s.step(1, nil)
	p.Wait(`document.getElementById("cluster").hidden && document.getElementById("cluster-trouble").hidden`)
	p.Clean()
}

// without returns the cells of a row without one of them.
func without(row string, cell int) []string {
	cells := strings.Split(row, "|")
	if cell >= len(cells) {
		return cells
	}
	return slices.Delete(cells, cell, cell+1)
}

// A relay without a cluster, or one that is too old for it, has no such section.
func TestNoCluster(t *testing.T) {
	s := startStandIn(t, 1)
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	p.WaitText("peers-all", "1")
	if !pagetest.Eval[bool](p, `document.getElementById("cluster").hidden`) {
		t.Error("want no section for what there is not")
	}
	p.Clean()
}

func TestClusterOfADeployment(t *testing.T) {
	s := clustered(t, func(c map[string]any) {
		c["url"], c["listen"], c["routes"], c["sealed"] = "tls://nats.example:4222", "", []any{}, false
	})
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	for id, text := range map[string]string{
		"cluster-where": "NATS at", "cluster-at": "tls://nats.example:4222", "cluster-sealed": "not sealed", "cluster-routes": "none: the NATS deployment has them", "cluster-connected": "connected, but cairo gone",
	} {
		p.WaitText(id, text)
	}
	p.Clean()
}

// However many nodes and routes there are, the page stays light.
func TestManyNodes(t *testing.T) {
	s := clustered(t, func(c map[string]any) {
		first := c["nodes"].([]map[string]any)[1] // that is here
		var nodes, routes []map[string]any
		for i := range 256 {
			n := make(map[string]any)
			for field, value := range first {
				n[field] = value
			}
			n["id"], n["name"] = fmt.Sprintf("%016x", i), fmt.Sprintf("node-%03d", i)
			nodes = append(nodes, n)
			routes = append(routes, map[string]any{"address": fmt.Sprintf("192.0.2.%d:6222", i), "node": "", "connected": false, "error": "connection refused", "pending": 0})
		}
		c["nodes"], c["routes"] = nodes, routes
	})
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	p.WaitText("no-nodes", "and 156 more: udprelay status --cluster has all")
	p.Wait(`document.querySelectorAll("#node-rows tr").length === 100`)
	p.Wait(`document.querySelector("#cluster-wrong").lastElementChild.textContent === "and 156 more"`)
	if n := p.DOMNodes(); n > maxNodes {
		t.Errorf("%d elements, more than %d", n, maxNodes)
	}
	p.Clean()
}

// TestStrangeNodes has all that comes from other nodes try to be markup.
func TestStrangeNodes(t *testing.T) {
	const evil = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>`
	s := clustered(t, func(c map[string]any) {
		for _, field := range []string{"name", "room", "listen", "id"} {
			c[field] = evil
		}
		c["trouble"] = evil
		for i, n := range c["nodes"].([]map[string]any) {
			n["name"], n["version"], n["state"] = evil+strings.Repeat("!", i+1), evil, evil
		}
		c["nodes"].([]map[string]any)[3]["state"] = "gone"
		c["routes"].([]map[string]any)[0]["node_id"] = "00000000000000ff"
		c["nodes"].([]map[string]any)[0]["id"] = evil
		c["nodes"].([]map[string]any)[1]["id"], c["nodes"].([]map[string]any)[1]["state"] = "__proto__", "constructor"
		for _, r := range c["routes"].([]map[string]any) {
			r["address"], r["node"], r["error"] = evil, evil, evil
		}
		drops := c["drops"].(map[string]int)
		drops[evil], drops["__proto__"], drops["constructor"] = 7, 8, 9
	})
	p := pagetest.Open(t, s.url(), pagetest.Options{})
	p.Live()
	p.WaitText("cluster-name", evil)
	for i, text := range []string{
		"Trouble with NATS: " + evil, "No other node is here", "The route to " + evil + " (" + evil + ") is up, but",
		"No route to " + evil + " (" + evil + "): " + evil, evil + "!!!! is gone: silent for ",
	} {
		p.Wait(`document.querySelectorAll("#cluster-wrong li")[%d].textContent.startsWith(%s)`, i, pagetest.Quote(text))
	}
	p.Wait(`document.getElementById("cluster-trouble-text").textContent.includes(%s)`, pagetest.Quote(evil+"!!!! gone"))
	p.Wait(`document.querySelector("#node-rows th").textContent === %s`, pagetest.Quote(evil+"!"))
	p.Wait(`document.querySelector("#cluster-drop-rows [data-reason=constructor]").textContent.startsWith("constructor")`)
	p.Wait(`document.querySelectorAll("#cluster-drop-rows tr[data-reason]").length === 5`)
	s.step(100, nil)
	p.WaitText("received-rate", "100")
	if n := pagetest.Eval[int](p, `document.querySelectorAll("img, #cluster script, #notices script").length`); n != 0 {
		t.Errorf("%d pictures and scripts", n)
	}
	if title := pagetest.Eval[string](p, "document.title"); title != "udprelay [::]:9000" {
		t.Errorf("the title is %q", title)
	}
	p.Clean()
}

// TestClusterIsAccessible sees to names for a screen reader, to the keyboard, to
// a phone, and to colours that can be told from what is behind them.
func TestClusterIsAccessible(t *testing.T) {
	s := clustered(t, func(c map[string]any) { c["nodes"].([]map[string]any)[4]["name"] = strings.Repeat("w", 64) })
	p := pagetest.Open(t, s.url(), pagetest.Options{Width: 360, Height: 740, Phone: true})
	p.Live()
	p.WaitText("cluster-name", "amsterdam")
	if content, window := p.Width(); content > window || window != 360 {
		t.Errorf("the page is %d wide in a window of %d", content, window)
	}
	if !pagetest.Eval[bool](p, `document.getElementById("cluster-nodes").scrollWidth <= document.getElementById("cluster-nodes").clientWidth`) {
		t.Error("the table of nodes does not fit")
	}
	nodes := p.Nodes()
	for _, want := range []pagetest.Node{
		{Role: "heading", Name: "Cluster"}, {Role: "table", Name: "Cluster"}, {Role: "region", Name: "Table of nodes"},
		{Role: "table", Name: "Drops between the nodes"}, {Role: "list", Name: "What is wrong with the cluster"}, {Role: "link", Name: "What is wrong"}, {Role: "rowheader", Name: "cairo"},
	} {
		if !slices.Contains(nodes, want) {
			t.Errorf("there is no %s named %q", want.Role, want.Name)
		}
	}
	p.Clean()

	for name, dark := range map[string]bool{"light": false, "dark": true} {
		p := pagetest.Open(t, s.url(), pagetest.Options{Dark: dark, StillMotion: true})
		p.Live()
		p.WaitText("cluster-name", "amsterdam")
		p.TabTo("#cluster-nodes", 14)
		p.TabTo("#cluster-drops", 1)
		if pale := pagetest.Eval[[]string](p, pagetest.PaleTexts); len(pale) > 0 {
			t.Errorf("%s: hard to read: %q", name, pale)
		}
		p.Clean()
	}
}
