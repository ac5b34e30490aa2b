//go:build !nocluster

package cluster

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"udprelay/internal/certificate/certificatetest"
)

// awaitRoute waits until the route of that address is as ok wants it, and
// returns it.
func (n *testNode) awaitRoute(t testing.TB, address, what string, ok func(Route) bool) (r Route) {
	t.Helper()
	await(t, fmt.Sprintf("the route to %s %s", address, what), func() bool {
		routes := n.Stats().Routes
		i := slices.IndexFunc(routes, func(r Route) bool { return r.Address == address })
		if i < 0 {
			return false
		}
		r = routes[i]
		return ok(r)
	})
	return r
}

func (n *testNode) awaitConnected(t testing.TB, address string) Route {
	t.Helper()
	return n.awaitRoute(t, address, "is connected", func(r Route) bool { return r.Connected })
}

// unused returns an address where nobody listens.
func unused(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Of two nodes that have each other in their routes, one connection is kept:
// that of one of the two. Both know that their route is there.
func TestRoutesToEachOtherAreConnected(t *testing.T) {
	t.Parallel() // it waits most of the time
	addresses := []string{unused(t), unused(t), unused(t)}
	var list []*testNode
	for i, address := range addresses {
		list = append(list, startNode(t, Options{
			Name: fmt.Sprint("node", i), Listen: address, Secret: []byte("secret"),
			Routes: addresses, // its own too
		}))
	}
	awaitNodes(t, list...)
	for i, n := range list {
		for j, address := range addresses {
			if i == j {
				continue
			}
			r := n.awaitConnected(t, address)
			if r.Node != fmt.Sprint("node", j) || r.NodeID != fmt.Sprintf("%x", list[j].node) || r.Error != "" || r.Since.IsZero() {
				t.Errorf("want the route to node%d; got %+v", j, r)
			}
		}
		await(t, "the route to itself is not shown, and no other", func() bool { return len(n.Stats().Routes) == 2 })
		for _, what := range []string{"missing", "level=WARN"} {
			if i == len(list)-1 && n.log.Has(what) { // the others were there before all were
				t.Errorf("want nothing told of the route to itself; got %s", n.log.String())
			}
		}
	}
	await(t, "round trips are known", func() bool {
		return !slices.ContainsFunc(list[0].Stats().Routes, func(r Route) bool { return r.RTT <= 0 })
	})

	list[2].Close()
	r := list[0].awaitRoute(t, addresses[2], "is missing", func(r Route) bool { return !r.Connected && strings.Contains(r.Error, "refused") })
	if r.Node != "node2" || r.Pending != 0 || !r.Since.IsZero() {
		t.Errorf("want the node known, and nobody there; got %+v", r)
	}
	again := startNode(t, Options{Name: "again", Listen: addresses[2], Secret: []byte("secret")})
	if r := list[0].awaitConnected(t, addresses[2]); r.Node != "again" || r.NodeID != again.ID() {
		t.Errorf("want the new node; got %+v", r)
	}
}

// Why a route is missing is told, in Stats and in the log.
func TestMissingRoutesSayWhy(t *testing.T) {
	ours, theirs := certificatetest.New(t), certificatetest.New(t)
	strange := theirs.Serving()
	strange.RootCAs = ours.Pool // so that it is the other side that refuses
	silent := listen(t, "")
	address := func(o Options) string { return startNode(t, o).Addr().String() }
	elsewhere := runNATS(t, &server.Options{Port: -1})
	for _, test := range []struct {
		name    string
		options Options
		address string
		want    string
	}{
		{"nobody is there", Options{}, unused(t), "connection refused"},
		{"no such name", Options{}, "nobody.invalid:6222", "lookup of nobody.invalid"},
		{"another secret", Options{Secret: []byte("one")}, address(Options{Secret: []byte("another")}), "want the same secret"},
		{"no secret", Options{}, address(Options{Secret: []byte("another")}), "it wants a secret"},
		{"certificate of another", Options{TLS: theirs.Serving()}, address(Options{TLS: ours.Serving()}), "its certificate is refused"},
		{"certificate of another ca", Options{TLS: strange}, address(Options{TLS: ours.Serving()}), "TLS: it wants a certificate that its ca has signed"},
		{"TLS there only", Options{}, address(Options{TLS: ours.Serving()}), "want TLS here too"},
		{"TLS here only", Options{TLS: ours.Serving()}, address(Options{}), "want it on all nodes or on none"},
		{"no NATS", Options{}, listen(t, "220 mail.example ESMTP\r\n"), `it says "220 mail.example ESMTP"`},
		{"nothing is said", Options{}, silent, "takes the connection and says nothing: it hangs, or wants TLS"},
		{"nothing is said by TLS", Options{TLS: ours.Serving()}, silent, "TLS: it takes the connection and says nothing: it hangs"},
		{"NATS that is no node", Options{}, elsewhere.Addr().String(), "want url for that"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.options.Routes = []string{test.address}
			n := startNode(t, test.options)
			r := n.awaitRoute(t, test.address, "says "+test.want, func(r Route) bool { return strings.Contains(r.Error, test.want) })
			if r.Connected || !r.Since.IsZero() || r.RTT != 0 {
				t.Errorf("want a route that is not connected; got %+v", r)
			}
			await(t, "it is logged", func() bool { return n.log.Has("a route is missing") })
		})
	}
}

// listen returns where something listens that says a text, and no more, to whom
// connects, until the test ends.
func listen(t testing.TB, text string) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var conns []net.Conn
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conns = append(conns, conn)
			fmt.Fprint(conn, text)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
		for _, conn := range conns {
			conn.Close()
		}
	})
	return l.Addr().String()
}

// The others of the cluster are told of the address that is advertised.
func TestOthersConnectToWhatIsAdvertised(t *testing.T) {
	hidden, secret := unused(t), []byte("secret")
	way := startProxy(t, hidden)
	list := startNodes(t, 2, Options{Secret: secret})
	advertised := way.listener.Addr().String()
	list = append(list, startNode(t, Options{
		Name: "hidden", Secret: secret, Routes: []string{list[0].Addr().String()}, Listen: hidden, Advertise: advertised,
	}))
	awaitNodes(t, list...)
	// The first was connected to by the hidden one, and has told the other.
	if r := list[1].awaitConnected(t, advertised); r.Node != "hidden" || r.NodeID != list[2].ID() {
		t.Errorf("want the node that advertises; got %+v", r)
	}
	talk(t, udpPeersOf(t, list, 1))
}

func TestNodeOfAServerName(t *testing.T) {
	for server, want := range map[string][2]string{
		"one-00112233aabbccdd":   {"one", "00112233aabbccdd"},
		"a-b-00112233aabbccdd":   {"a-b", "00112233aabbccdd"},
		"-00112233aabbccdd":      {"", "00112233aabbccdd"},
		"one-00112233aabbccd":    {"one-00112233aabbccd", ""},
		"one-00112233aabbccddee": {"one-00112233aabbccddee", ""},
		"NDXYZ":                  {"NDXYZ", ""},
		"a\x1bb":                 {"ab", ""},
		"":                       {"", ""},
	} {
		if name, id := nodeOf(server); name != want[0] || id != want[1] {
			t.Errorf("%q: want %q; got %q, %q", server, want, name, id)
		}
	}
}

// An answer that has nothing against a route is not held against it at once: it
// may be about to be connected.
func TestAnswersOfMissingRoutes(t *testing.T) {
	now := time.Now()
	fine := answer{id: "ID", server: "one-00112233aabbccdd"}
	r := &wanted{}
	for i, test := range []struct {
		answer answer
		err    string
	}{
		{answer{err: "connection refused"}, "connection refused"},
		{fine, "connection refused"}, {fine, "connection refused"},
		{fine, "it does not let this node in: want the same secret on both"},
		{answer{err: "no answer"}, "no answer"},
	} {
		r.heard(test.answer, "SELF", now)
		if r.err != test.err || !r.next.Equal(now.Add(probeEvery)) {
			t.Errorf("answer %d: want %q; got %+v", i, test.err, r)
		}
	}
	if r.server != fine.server {
		t.Errorf("want it remembered who was there; got %q", r.server)
	}
	r.heard(answer{id: "SELF"}, "SELF", now)
	if r.err != "" || !r.next.Equal(now.Add(probeSelf)) {
		t.Errorf("want nothing against a route to itself; got %+v", r)
	}
}

// What a server says of itself may be anything.
func FuzzProbe(f *testing.F) {
	for _, line := range []string{
		"", "INFO ", "INFO {}\r\n", `INFO {"server_id":"X","server_name":"one-00112233aabbccdd","cluster":"udprelay"}`,
		`INFO {"server_id":"X","cluster":"udprelay","auth_required":true}`, `INFO {"server_id":"X","cluster":"c\u001b"}`, "-ERR 'no'", "INFO [",
	} {
		f.Add([]byte(line))
	}
	p := newProber(&Options{})
	f.Fuzz(func(t *testing.T, line []byte) {
		a := p.judge(line)
		if a.id == "" && a.err == "" {
			t.Fatalf("want a server or an error; got %+v", a)
		}
		if len(a.err) > 512 || strings.ContainsFunc(a.err, func(r rune) bool { return r < ' ' }) {
			t.Fatalf("want an error that can be shown; got %q", a.err)
		}
	})
}
