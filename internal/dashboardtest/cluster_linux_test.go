package dashboardtest

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"udprelay/internal/admin/dashboard/pagetest"
	"udprelay/internal/testwait"
)

// startNode starts a daemon that is a node of a cluster, with routes to others.
func startNode(t testing.TB, name, routes string) (d *daemon, listens string) {
	t.Helper()
	d = startDaemon(t, quiet+fmt.Sprintf(`cluster: {name: %q, listen: "127.0.0.1:0", routes: [%s]}`, name, routes))
	return d, d.logged(`msg="node of a cluster".* listen=(\S+)`)
}

// TestCluster has two nodes show each other, with datagrams between real clients
// of both, and a route that leads nowhere. It takes the picture of the
// documentation, as TestPictures does.
func TestCluster(t *testing.T) {
	a, listens := startNode(t, "amsterdam", "")
	b, _ := startNode(t, "berlin", listens+", 127.0.0.1:1")
	atA, atB := a.open(pagetest.Options{Dark: true}), b.open(pagetest.Options{})
	atA.WaitText("cluster-name", "amsterdam")
	atA.WaitText("cluster-at", listens)
	atA.WaitText("cluster-connected", "connected")
	atB.WaitText("cluster-connected", "connected, but a route missing")
	atB.WaitText("cluster-trouble-text", "a route missing")
	atA.WaitText("cluster-sealed", "not sealed")
	atA.WaitText("cluster-count", "1 here")
	atB.WaitText("cluster-count", "1 here")
	atB.WaitMatch("cluster-routes", `^\d connected, 1 missing`)
	atB.WaitMatch("cluster-wrong", `^No route to 127\.0\.0\.1:1: .`)

	talker, listener := newClient(t, a, "127.0.0.10"), newClient(t, b, "127.0.0.11")
	talker.write(nil)
	listener.write(nil)
	node := func(name, field string) string { // the text of a cell of the row of a node
		column := map[string]int{"state": 1, "peers": 2, "lost": 6, "bans": 8}[field]
		return fmt.Sprintf(`[...document.querySelectorAll("#node-rows tr")].find((row) => row.cells[0].textContent === %s)?.cells[%d].textContent`, pagetest.Quote(name), column)
	}
	atA.Wait(`%s === "1"`, node("berlin", "peers"))
	atB.Wait(`%s === "1"`, node("amsterdam", "peers"))
	talker.say(300, 100, listener)
	atA.WaitMatch("cluster-published", `; 300 datagrams, 30\.0 kB so far$`)
	atB.WaitMatch("cluster-received", `; 300 datagrams, 30\.0 kB so far$`)
	for field, want := range map[string]string{"state": "here", "lost": "0", "bans": "same"} {
		atB.Wait(`%s === %s`, node("amsterdam", field), pagetest.Quote(want))
	}
	for _, p := range []*pagetest.Page{atA, atB} {
		if pale := pagetest.Eval[[]string](p, pagetest.PaleTexts); len(pale) > 0 {
			t.Errorf("hard to read: %q", pale)
		}
		p.Clean()
	}

	atB.Eval(`document.getElementById("cluster").scrollIntoView({block: "start"})`)
	keep(t, atB, filepath.Join(cmp.Or(os.Getenv("UDPRELAY_TEST_PICTURES"), t.TempDir()), "dashboard-cluster.png"))

	b.stop()
	atA.WaitText("cluster-count", "1 left")
	atA.Wait(`%s === "left"`, node("berlin", "state"))
	atA.Wait(`%s === "(1)"`, node("berlin", "peers"))
	atA.WaitText("cluster-connected", "connected, but no other node here")
	atA.WaitText("cluster-trouble-text", "no other node here")
	atA.Wait(`!document.getElementById("cluster-trouble").hidden`)
	atA.Clean()
	text := ""
	testwait.Until(t, func() bool {
		text = metrics(t, a)
		return strings.Contains(text, "\nudprelay_cluster_nodes{state=\"left\"} 1\n") && strings.Contains(text, "\nudprelay_cluster_published_datagrams_total 300\n")
	}, func() string {
		return "the metrics do not follow:\n" + strings.Join(regexp.MustCompile(`(?m)^udprelay_cluster.*`).FindAllString(text, -1), "\n")
	})
}

// kill ends a daemon at once.
func (d *daemon) kill() {
	d.t.Helper()
	if err := d.process.Process.Kill(); err != nil {
		d.t.Fatal(err)
	}
	<-d.end
	d.process.Wait() // its error is the signal
	d.process = nil
}

// TestClusterOfOtherRooms has two nodes connected that are in different rooms,
// and one that is killed: each page says why no other node is here.
func TestClusterOfOtherRooms(t *testing.T) {
	a, listens := startNode(t, "amsterdam", "")
	b := startDaemon(t, quiet+fmt.Sprintf(`cluster: {name: berlin, room: attic, listen: "127.0.0.1:0", routes: [%s]}`, listens))
	c, _ := startNode(t, "cairo", listens)
	atA, atB := a.open(pagetest.Options{}), b.open(pagetest.Options{})
	atA.WaitText("cluster-connected", "connected")
	atA.WaitText("cluster-count", "1 here")
	atA.WaitMatch("cluster-routes", `connected \(\d not in this room\)`)
	atB.WaitText("cluster-connected", "connected, but no other node here")
	atB.Wait(`[...document.querySelectorAll("#cluster-wrong li")].some((e) => e.textContent.startsWith(%s))`,
		pagetest.Quote("The route to "+listens+" (amsterdam) is up, but its node is not in this room"))
	c.kill() // it cannot say that it goes
	atA.WaitText("cluster-connected", "connected, but no other node here, cairo gone")
	atA.WaitMatch("cluster-wrong", `cairo is gone: silent for \d+ s$`)
	for _, p := range []*pagetest.Page{atA, atB} {
		p.Clean()
	}
}

// metrics returns what Prometheus would get.
func metrics(t testing.TB, d *daemon) string {
	t.Helper()
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Get(d.page + "metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s, %v: %s", response.Status, err, text)
	}
	return string(text)
}
