package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/certificate/certificatetest"
	"udprelay/internal/config"
	"udprelay/internal/testwait"
	"udprelay/relay"
)

// A clusterDaemon is a daemon that is a node, with its control socket.
type clusterDaemon struct {
	*running
	directory string
}

// startNode runs a daemon that is a node; it listens for others on the loopback
// interface.
func startNode(t *testing.T, name string, settings ...config.Setting) clusterDaemon {
	t.Helper()
	directory := shortDirectory(t)
	return clusterDaemon{start(t, surroundings{directory: directory}, nodeSettings(name, settings...)...), directory}
}

func nodeSettings(name string, settings ...config.Setting) []config.Setting {
	return append([]config.Setting{
		keyed("listen", "127.0.0.1:0"), keyed("log.level", "debug"),
		keyed("cluster.name", name), keyed("cluster.listen", "127.0.0.1:0"),
	}, settings...)
}

// route returns where other nodes connect to d.
func (d clusterDaemon) route(t *testing.T) string {
	t.Helper()
	return d.await(t, `"node of a cluster" .*listen=(\S+)`)[1]
}

func (d clusterDaemon) client() admin.Client {
	return admin.Client{Socket: filepath.Join(d.directory, controlName)}
}

// awaitStatus waits until the status is as it should be, and returns it.
func (d clusterDaemon) awaitStatus(t *testing.T, what string, as func(*admin.Cluster) bool) admin.Cluster {
	t.Helper()
	var status admin.Status
	var err error
	testwait.Until(t, func() bool {
		status, err = d.client().Status(t.Context())
		return err == nil && as(&status.Cluster)
	}, func() string { return fmt.Sprintf("want %s; got %+v, %v", what, status.Cluster, err) })
	return status.Cluster
}

// status returns the status as it is now: it is told again for a moment.
func (d clusterDaemon) status(t *testing.T) admin.Status {
	t.Helper()
	began := time.Now()
	for {
		status, err := d.client().Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if status.Now.After(began) {
			return status
		}
		if time.Since(began) > testwait.Patience {
			t.Fatal("want a status of now; got an older one again and again")
		}
		time.Sleep(time.Millisecond)
	}
}

// awaitNode waits until d hears of a node of that name.
func (d clusterDaemon) awaitNode(t *testing.T, name string) admin.ClusterNode {
	t.Helper()
	var found admin.ClusterNode
	d.awaitStatus(t, "node "+name+" here", func(c *admin.Cluster) bool {
		i := slices.IndexFunc(c.Nodes, func(n admin.ClusterNode) bool {
			return n.Name == name && n.State == "here" && n.Peers > 0 && n.RTT.Duration > 0
		})
		if i >= 0 {
			found = c.Nodes[i]
		}
		return i >= 0
	})
	return found
}

func TestTwoDaemonsAreOneRelay(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("the secret of all nodes of this test\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := startNode(t, "a", keyed("cluster.secret_file", secret))
	b := startNode(t, "b", keyed("cluster.secret_file", secret), keyed("cluster.routes", a.route(t)))
	atA, atB := enter(t, "127.0.0.2", a.addr(t)), enter(t, "127.0.0.3", b.addr(t))
	ofB, ofA := a.awaitNode(t, "b"), b.awaitNode(t, "a")
	if ofB.Peers != 1 || ofA.Peers != 1 {
		t.Errorf("want each to have a peer; got %+v and %+v", ofB, ofA)
	}
	atA.say(t, "from a")
	atB.hears(t, "from a")
	atB.say(t, "from b")
	atA.hears(t, "from b")

	status := a.awaitStatus(t, "what was said counted", func(c *admin.Cluster) bool { return c.Published == 1 && c.Received == 1 })
	if !status.On || !status.Connected || !status.Sealed || status.Room != "main" || status.Name != "a" || status.Listen != a.route(t) || status.PublishedBytes != 6 || len(status.Drops) == 0 {
		t.Errorf("want the node told as it is; got %+v", status)
	}
	if len(status.Routes) != 1 || !status.Routes[0].Connected || status.Routes[0].Node != "b" || status.Routes[0].Since == nil {
		t.Errorf("want a route to b; got %+v", status.Routes)
	}

	page, err := a.client().ClusterPeers(t.Context(), ofB.ID, admin.Query{Limit: 10})
	if err != nil || page.Total != 1 || len(page.Peers) != 1 || page.Peers[0].Node != "b" || page.Peers[0].Address.Addr().String() != "127.0.0.3" {
		t.Errorf("want the peer of b; got %+v, %v", page, err)
	}
	page, err = a.client().ClusterPeers(t.Context(), ofB.ID, admin.Query{Limit: 10, Search: "nobody"})
	if err != nil || page.Total != 1 || page.Matched != 0 {
		t.Errorf("want b to do what the query says; got %+v, %v", page, err)
	}
	var failure *admin.Failure
	if _, err = a.client().ClusterPeers(t.Context(), "0123456789abcdef", admin.Query{Limit: 10}); !errors.As(err, &failure) || failure.Code != exitFailure {
		t.Errorf("want a node that is not there to be an error; got %v", err)
	}

	if err := b.stop(); err != nil {
		t.Fatal(err)
	}
	a.awaitStatus(t, "b to have left", func(c *admin.Cluster) bool { return len(c.Nodes) == 1 && c.Nodes[0].State == "left" })
}

func TestNodesShowEachOtherCertificates(t *testing.T) {
	authority := certificatetest.New(t)
	files := []config.Setting{keyed("cluster.tls.certificate", authority.Server), keyed("cluster.tls.key", authority.ServerKey), keyed("cluster.tls.ca", authority.File)}
	a := startNode(t, "a", files...)
	b := startNode(t, "b", append(files, keyed("cluster.routes", a.route(t)))...)
	atA, atB := enter(t, "127.0.0.2", a.addr(t)), enter(t, "127.0.0.3", b.addr(t))
	a.awaitNode(t, "b")
	b.awaitNode(t, "a")
	atA.say(t, "by TLS")
	atB.hears(t, "by TLS")
	if status := a.awaitStatus(t, "the cluster on", func(c *admin.Cluster) bool { return c.On }); !status.TLS || status.Sealed {
		t.Errorf("want it told that it is TLS that keeps strangers out; got %+v", status)
	}
}

func TestWhoIsNoNodeAsksNobody(t *testing.T) {
	d := clusterDaemon{directory: shortDirectory(t)}
	d.running = start(t, surroundings{directory: d.directory})
	d.addr(t)
	status := d.awaitStatus(t, "no cluster", func(c *admin.Cluster) bool { return !c.On })
	if status.Nodes == nil || status.Routes == nil || len(status.Nodes)+len(status.Routes)+len(status.Drops) > 0 {
		t.Errorf("want empty lists; got %+v", status)
	}
	var failure *admin.Failure
	if _, err := d.client().ClusterPeers(t.Context(), "0123456789abcdef", admin.Query{Limit: 1}); !errors.As(err, &failure) || failure.Code != exitUnavailable || failure.Way == "" {
		t.Errorf("want it said that there is no cluster; got %v", err)
	}
}

func TestAReloadJoinsMovesAndLeaves(t *testing.T) {
	a := startNode(t, "a")
	atA := enter(t, "127.0.0.2", a.addr(t))
	route := keyed("cluster.routes", a.route(t))
	b := clusterDaemon{directory: shortDirectory(t)}
	b.running = start(t, surroundings{directory: b.directory}, keyed("log.level", "debug"))
	atB := enter(t, "127.0.0.3", b.addr(t))
	reload := func(settings ...config.Setting) (admin.Reloaded, error) {
		return b.reconfigure(b.directory, settings...)
	}
	if got, err := reload(route, keyed("cluster.name", "b")); err != nil || !slices.Equal(got.Changed, []string{"cluster.name", "cluster.routes"}) || got.Restart != nil {
		t.Errorf("want the relay to be a node; got %+v, %v", got, err)
	}
	a.awaitNode(t, "b")
	atB.say(t, "joined")
	atA.hears(t, "joined")

	// A cluster that it cannot be a node of leaves everything as it is.
	address := taken(t)
	var failure *admin.Failure
	_, err := reload(route, keyed("cluster.name", "b"), keyed("peers.max", "5"), keyed("cluster.listen", address), keyed("gateway.tcp.listen", "127.0.0.1:0"))
	if !errors.As(err, &failure) || failure.Code != 69 || !strings.Contains(failure.Message, address) || failure.Way == "" {
		t.Errorf("want an error that names where it cannot listen; got %+v", err)
	}
	if status := b.status(t); !status.Cluster.On || status.Peers.Max != 10000 || len(status.Gateway.Listeners) != 0 {
		t.Errorf("want all as before; got %+v", status)
	}
	b.awaitNode(t, "a")
	a.awaitNode(t, "b")
	atB.say(t, "still there")
	atA.hears(t, "still there")

	if got, err := reload(route, keyed("cluster.name", "b"), keyed("cluster.room", "other")); err != nil || !slices.Equal(got.Changed, []string{"cluster.room"}) {
		t.Errorf("want it to be in another room; got %+v, %v", got, err)
	}
	a.awaitStatus(t, "b gone", func(c *admin.Cluster) bool {
		return !slices.ContainsFunc(c.Nodes, func(n admin.ClusterNode) bool { return n.State == "here" })
	})
	if _, err := reload(); err != nil {
		t.Error(err)
	}
	b.await(t, "node of a cluster no more.*room=other")
	if status := b.status(t); status.Cluster.On {
		t.Errorf("want the relay alone; got %+v", status.Cluster)
	}
}

func TestAClusterThatCannotListenIsAnErrorAtStart(t *testing.T) {
	wantNoStart[*ClusterError](t, keyed("cluster.listen", taken(t)))
}

func TestFilesOfTheClusterAreRead(t *testing.T) {
	authority := certificatetest.New(t)
	secret := authority.WriteText("secret", "the secret of all nodes of this test\n")
	noPEM := authority.WriteText("none.pem", "no PEM")
	load := func(settings ...config.Setting) (clusterFiles, []config.Warning, error) {
		return readClusterFiles(configured(t, settings...))
	}
	files, warnings, err := load(keyed("cluster.listen", "127.0.0.1:0"), keyed("cluster.secret_file", secret),
		keyed("cluster.tls.certificate", authority.Server), keyed("cluster.tls.key", authority.ServerKey), keyed("cluster.tls.ca", authority.File))
	if err != nil || len(warnings) > 0 || string(files.secret) != "the secret of all nodes of this test" || files.tls == nil || files.tls.RootCAs == nil || files.tls.ClientCAs == nil {
		t.Errorf("want the secret and the certificates; got %+v, %v, %v", files, warnings, err)
	}
	other := certificatetest.New(t)
	_, warnings, err = load(keyed("cluster.listen", "127.0.0.1:0"), keyed("cluster.tls.certificate", authority.Server), keyed("cluster.tls.key", authority.ServerKey), keyed("cluster.tls.ca", other.File))
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0].String(), "cluster.tls: the certificate of localhost is not one that the authorities here have signed") {
		t.Errorf("want a warning that other nodes refuse the certificate; got %v, %v", warnings, err)
	}
	files, _, err = load(keyed("cluster.url", "tls://localhost"), keyed("cluster.secret_file", secret), keyed("cluster.tls.ca", authority.File))
	if err != nil || files.tls == nil || files.tls.RootCAs == nil || files.tls.Certificates != nil {
		t.Errorf("want the authorities alone; got %+v, %v", files, err)
	}
	if files, _, err = load(); err != nil || files.secret != nil || files.tls != nil {
		t.Errorf("want nothing read without a cluster; got %+v, %v", files, err)
	}
	_, _, err = load(keyed("cluster.listen", "127.0.0.1:0"), keyed("cluster.tls.certificate", noPEM), keyed("cluster.tls.key", authority.ServerKey), keyed("cluster.tls.ca", authority.File))
	var failure *CertificateError
	if !errors.As(err, &failure) || failure.ExitCode() != 78 || !strings.HasPrefix(err.Error(), "cluster.tls: "+noPEM+": there is no PEM in it") {
		t.Errorf("want an error with exit code 78 that names the file; got %v", err)
	}
}

func TestOnlyWhatIsKnownIsAnswered(t *testing.T) {
	for _, text := range []string{"", "{}", "null", "[]", `{"peers":null}`, `{"peers":"limit=0"}`, `{"peers":"%zz"}`, `{"peers":"","bans":1}`, `{"peers":"x=1"}`} {
		if got := new(daemon).answer(t.Context(), []byte(text)); got != nil {
			t.Errorf("%s: want no answer; got %s", text, got)
		}
	}
}

// Whatever a configuration may say is good enough for the cluster.
func TestTheClusterTakesWhatTheConfigurationTakes(t *testing.T) {
	authority := certificatetest.New(t)
	secret := authority.WriteText("secret", strings.Repeat("s", 64))
	tls := []config.Setting{keyed("cluster.tls.certificate", authority.Server), keyed("cluster.tls.key", authority.ServerKey), keyed("cluster.tls.ca", authority.File)}
	var routes []config.Setting
	for i := range 256 {
		routes = append(routes, keyed("cluster.routes", fmt.Sprintf("127.0.0.1:%d", 1+i)))
	}
	for name, settings := range map[string][]config.Setting{
		"the most":       {keyed("cluster.listen", "127.0.0.1:0"), keyed("cluster.room", strings.Repeat("r", 64)), keyed("cluster.name", strings.Repeat("n", 64)), keyed("cluster.queue", "1GiB")},
		"the least":      {keyed("cluster.listen", "localhost:0"), keyed("cluster.room", "_"), keyed("cluster.queue", "256KiB")},
		"many routes":    routes,
		"a secret":       {keyed("cluster.listen", ":0"), keyed("cluster.secret_file", secret), keyed("cluster.advertise", "a.example:6222")},
		"TLS":            append([]config.Setting{keyed("cluster.listen", "0.0.0.0:0")}, tls...),
		"insecure":       {keyed("cluster.listen", "[::]:0"), keyed("cluster.insecure", "true")},
		"a URL":          {keyed("cluster.url", "nats://user:word@127.0.0.1:1,nats://[::1]:1"), keyed("cluster.secret_file", secret)},
		"a URL with TLS": append([]config.Setting{keyed("cluster.url", "tls://localhost:1")}, tls...),
		"an authority":   {keyed("cluster.url", "wss://localhost:1"), keyed("cluster.tls.ca", authority.File)},
	} {
		t.Run(name, func(t *testing.T) {
			log := new(lockedBuffer)
			r, err := relay.New(listenUDP(t, "udp", "127.0.0.1:0"), relay.Options{Logger: textLog(log)})
			if err != nil {
				t.Fatal(err)
			}
			runRelay(t, r)
			cfg := configured(t, settings...)
			files, _, err := readClusterFiles(cfg)
			if err != nil {
				t.Fatal(err)
			}
			d := &daemon{relay: r, log: textLog(log), node: &node{relay: r, log: textLog(log)}}
			d.shared = newSharedBans(d, d.node)
			if err := d.node.apply(t.Context(), d.clusterOptions(cfg, files)); err != nil {
				t.Error(err)
			}
			d.node.stop()
			if strings.Contains(log.String(), ":word@") {
				t.Errorf("want no password in the log; got %s", log)
			}
			if err := d.node.apply(t.Context(), nil); !errors.Is(err, errStopping) {
				t.Errorf("want nothing after the end; got %v", err)
			}
		})
	}
}

// What nodes ask each other is read by nodes of other versions.
func TestAQuestionHasItsForm(t *testing.T) {
	query := admin.Query{Limit: 5, Sort: "received", Descending: true}.Values().Encode()
	got, err := json.Marshal(question{Peers: &query})
	if want := `{"peers":"limit=5\u0026sort=-received"}`; err != nil || string(got) != want {
		t.Errorf("want %s; got %s, %v", want, got, err)
	}
}

func FuzzQuestions(f *testing.F) {
	for _, text := range []string{`{"peers":"limit=5"}`, `{"peers":"limit=0"}`, "{}", "null", fmt.Sprintf(`{"peers":%q}`, strings.Repeat("search=x&", 300))} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if query, ok := parseQuestion(text); ok && (query.Limit < 1 || query.Limit > 1000 || query.Offset < 0) {
			t.Errorf("%q: want a query in its bounds; got %+v", text, query)
		}
	})
}
