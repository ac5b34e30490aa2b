package daemon

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"udprelay/internal/admin"
	"udprelay/internal/config"
	"udprelay/internal/testwait"
)

// startNATS runs a NATS server until the test ends.
func startNATS(t *testing.T, options *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(testwait.Patience) {
		t.Fatal("want a NATS server that listens")
	}
	return s
}

// What NATS says against the node is in the status and in the log, also after a
// reload, and no password is.
func TestTroubleWithNATSIsTold(t *testing.T) {
	address := startNATS(t, &server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, Username: "relay", Password: "right"}).Addr().String()
	d := clusterDaemon{directory: shortDirectory(t)}
	settings := func(url string) []config.Setting {
		return []config.Setting{keyed("listen", "127.0.0.1:0"), keyed("cluster.name", "d"), keyed("cluster.url", url)}
	}
	d.running = start(t, surroundings{directory: d.directory}, settings("nats://relay:right@"+address)...)
	told := d.awaitStatus(t, "it connected", func(c *admin.Cluster) bool { return c.Connected })
	if told.Trouble != "" || told.Listen != "" || !strings.Contains(told.URL, address) {
		t.Errorf("want no trouble; got %+v", told)
	}
	for _, test := range []struct{ url, want string }{
		{"nats://relay:wrong@" + address, "authorization violation"},
		{"nats://relay:right@" + taken(t), "takes the connection and says nothing"},
		{"nats://relay:wrong@" + address, "authorization violation"}, // once more
	} {
		before := len(d.log.String())
		if _, err := d.reconfigure(d.directory, settings(test.url)[1:]...); err != nil {
			t.Fatal(err)
		}
		d.awaitStatus(t, "it told that "+test.want, func(c *admin.Cluster) bool { return !c.Connected && strings.Contains(c.Trouble, test.want) })
		since := func() string { return d.log.String()[before:] }
		testwait.Until(t, func() bool { // the log comes after the status
			return strings.Contains(since(), `level=WARN msg="cluster: there is no connection to NATS, it is tried again" error="`) && strings.Contains(since(), test.want)
		}, func() string { return fmt.Sprintf("want a line with %q after the reload; got %s", test.want, since()) })
	}
	if _, err := d.reconfigure(d.directory, settings("nats://relay:right@" + address)[1:]...); err != nil {
		t.Fatal(err)
	}
	d.awaitStatus(t, "it connected again", func(c *admin.Cluster) bool { return c.Connected && c.Trouble == "" })
	if got := d.log.String(); strings.Contains(got, ":right@") || strings.Contains(got, ":wrong@") {
		t.Errorf("want no password in the log; got %s", got)
	}
}

// Where nobody is listened for no address is told.
func TestANodeThatDoesNotListenSaysSo(t *testing.T) {
	a := startNode(t, "a")
	d := clusterDaemon{directory: shortDirectory(t)}
	d.running = start(t, surroundings{directory: d.directory}, keyed("cluster.name", "d"), keyed("cluster.routes", a.route(t)))
	told := d.awaitStatus(t, "it on", func(c *admin.Cluster) bool { return c.On })
	if told.Listen != "" || told.URL != "" {
		t.Errorf("want no address told; got %+v", told)
	}
	if line := d.await(t, `"node of a cluster" .*`)[0]; strings.Contains(line, "listen=") || !strings.Contains(line, "routes=1") {
		t.Errorf("want no address in the log; got %s", line)
	}
}

// A ban of the cluster names the nodes that are silent, and not those that have
// left.
func TestABanNamesSilentNodes(t *testing.T) {
	t.Parallel() // it waits most of the time
	users := func(names ...string) *server.Options {
		o := &server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true}
		for _, name := range names {
			o.Users = append(o.Users, &server.User{Username: name, Password: "word"})
		}
		return o
	}
	nats := startNATS(t, users("a", "b", "c"))
	join := func(name string) clusterDaemon {
		d := clusterDaemon{directory: shortDirectory(t)}
		d.running = start(t, surroundings{directory: d.directory}, keyed("cluster.name", name), keyed("cluster.url", "nats://"+name+":word@"+nats.Addr().String()))
		return d
	}
	a, b, c := join("a"), join("b"), join("c")
	all := func(want ...string) func(*admin.Cluster) bool {
		return func(told *admin.Cluster) bool {
			var got []string
			for _, n := range told.Nodes {
				got = append(got, n.Name+" "+n.State)
			}
			return slices.Equal(got, want)
		}
	}
	ban := func(from string) admin.Reached {
		t.Helper()
		banned, err := a.client().Ban(t.Context(), from, 0, "", true)
		if err != nil {
			t.Fatal(err)
		}
		return banned.Reached
	}
	a.awaitStatus(t, "both here", all("b here", "c here"))
	if got := ban("198.51.100.1"); !slices.Equal(got.Nodes, []string{"b", "c"}) || len(got.Missing) > 0 {
		t.Errorf("want both to have it; got %+v", got)
	}
	if err := c.stop(); err != nil {
		t.Fatal(err)
	}
	if err := nats.ReloadOptions(users("a")); err != nil { // b is let in no more
		t.Fatal(err)
	}
	a.awaitStatus(t, "b gone and c left", all("b gone", "c left"))
	b.awaitStatus(t, "b to say why", func(told *admin.Cluster) bool { return strings.Contains(told.Trouble, "authorization violation") })
	a.await(t, `level=WARN msg="cluster: a node is gone" node=b`)
	a.await(t, `level=INFO msg="cluster: a node has left" node=c`)
	if got := ban("198.51.100.2"); len(got.Nodes) > 0 || !slices.Equal(got.Missing, []string{"b"}) {
		t.Errorf("want b alone missing; got %+v", got)
	}
}
