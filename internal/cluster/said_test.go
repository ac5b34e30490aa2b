//go:build !nocluster

package cluster

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/internal/testlog"
)

// lets returns what a server takes that lets the user relay in, who may do so
// much; nil: all.
func lets(password string, may *server.Permissions) *server.Options {
	return &server.Options{Port: -1, Users: []*server.User{{Username: "relay", Password: password, Permissions: may}}}
}

func allBut(subjects ...string) *server.SubjectPermission {
	return &server.SubjectPermission{Allow: []string{">"}, Deny: subjects}
}

// What stands against a node at NATS is told, in Stats and in the log, and no
// password is.
func TestTroubleWithNATSIsTold(t *testing.T) {
	ours, theirs := certificatetest.New(t), certificatetest.New(t)
	secured, _ := startTLS(t, ours, -1)
	refusing := runNATS(t, lets("right", nil)).Addr().String()
	plain, _ := startNATS(t, -1)
	silent, _ := silence(t)
	away, both := unused(t), unused(t)
	strange := theirs.Serving()
	strange.RootCAs = ours.Pool // so that it is the server that refuses
	at := func(o *server.Options) string { return "nats://relay:right@" + runNATS(t, o).Addr().String() }
	all := "want publish and subscribe on udprelay.test.>"
	for _, test := range []struct {
		name      string
		options   Options
		connected bool
		want      string
	}{
		{"nobody is there", Options{URL: "nats://relay:right@" + away}, false, away + ": connection refused"},
		{"nobody is at either", Options{URL: "nats://relay:right@" + away + ",nats://relay:right@" + both}, false, ": connection refused"},
		{"no such name", Options{URL: "nats://relay:right@nobody.invalid:4222"}, false, "lookup of nobody.invalid"},
		{"a wrong password", Options{URL: "nats://relay:wrong@" + refusing}, false, "authorization violation: want a user and password"},
		{"a wrong password, and nobody at the other", Options{URL: "nats://relay:wrong@" + refusing + ",nats://relay:wrong@" + away}, false, "authorization violation: want a user and password"},
		{"no password", Options{URL: "nats://" + refusing}, false, "authorization violation"},
		{"nothing is said", Options{URL: silent}, false, strings.TrimPrefix(silent, "nats://") + " takes the connection and says nothing: it hangs, or wants TLS"},
		{"no NATS", Options{URL: "nats://" + listen(t, "220 mail.example ESMTP\r\n")}, false, "what answers is no NATS server"},
		{"no TLS there", Options{URL: plain, TLS: &tls.Config{RootCAs: ours.Pool}}, false, "TLS: the server has none"},
		{"certificate of another", Options{URL: secured, TLS: theirs.Serving()}, false, "TLS: its certificate is refused: x509: certificate signed by unknown authority"},
		{"certificate of another ca", Options{URL: secured, TLS: strange}, false, "that its ca has signed"},
		{"no publishing", Options{URL: at(lets("right", &server.Permissions{Publish: allBut("udprelay.test.control")}))}, true,
			"no permission to publish on udprelay.test.control: " + all},
		{"no subscribing", Options{URL: at(lets("right", &server.Permissions{Subscribe: allBut("udprelay.test.data")}))}, true,
			"no permission to subscribe to udprelay.test.data: " + all},
		{"short messages only", Options{URL: at(&server.Options{Port: -1, MaxPayload: 8192})}, true, "takes only short messages, longer ones are dropped: want a greater max_payload there: 67584 bytes, not 8192"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel() // it waits most of the time
			n := startNode(t, test.options)
			await(t, "it is told that "+test.want, func() bool {
				s := n.Stats()
				return s.Connected == test.connected && strings.Contains(s.Trouble, test.want)
			})
			await(t, "it is logged", func() bool { return n.log.Has(test.want) })
			trouble := n.Stats().Trouble
			if n.log.Has("relay:right") || n.log.Has("relay:wrong") || strings.Contains(trouble, "relay:") {
				t.Errorf("want no password told; got %q", trouble)
			}
		})
	}
}

// A connection that is lost and made again says so, each time, and what stood
// against the node is over then.
func TestTroubleWithNATSComesAndGoes(t *testing.T) {
	t.Parallel() // it waits most of the time
	address := unused(t)
	_, port, _ := splitHostPort(address)
	ours := certificatetest.New(t)
	n := startNode(t, Options{Name: "one", URL: "nats://relay:right@" + address, TLS: ours.Serving()})
	troubled := func(want string) {
		t.Helper()
		await(t, "it is told that "+want, func() bool {
			s := n.Stats()
			return !s.Connected && strings.Contains(s.Trouble, want)
		})
		await(t, "it is logged", func() bool { return n.log.Has(want) })
	}
	serve := func(a *certificatetest.Authority, password string) *server.Server {
		o := lets(password, nil)
		o.Port, o.TLSConfig, o.TLSTimeout = port, a.Serving(), 5
		return runNATS(t, o)
	}
	const first, again = `level=INFO msg="cluster: connected to NATS"`, `level=INFO msg="cluster: connected to NATS again"`
	troubled("connection refused")
	s := serve(ours, "right")
	await(t, "it is connected", func() bool { return n.Stats().Connected })
	await(t, "that is logged", func() bool { return len(n.log.Lines(first)) == 1 })
	for round, wrong := range []struct {
		authority *certificatetest.Authority
		password  string
		want      string
	}{
		{ours, "another", "authorization violation"},
		{certificatetest.New(t), "right", "unknown authority"},
	} {
		for range 2 * logBurst { // so much that the log is limited
			n.troubles.warn("noise")
		}
		stopServer(s)
		await(t, "it is noticed", func() bool { return !n.Stats().Connected })
		s = serve(wrong.authority, wrong.password)
		troubled(wrong.want)
		stopServer(s)
		s = serve(ours, "right")
		await(t, "it is connected again", func() bool { s := n.Stats(); return s.Connected && s.Trouble == "" })
		await(t, "that is logged", func() bool { return len(n.log.Lines(again)) == round+1 })
	}
	if got := len(n.log.Lines("authorization violation")); got != 1 {
		t.Errorf("want it logged once; got %d lines", got)
	}
}

// A permission that is missing is logged once, though it is missed each second.
func TestMissingPermissionsAreLoggedOnce(t *testing.T) {
	may := &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{">"}}}
	n := startNode(t, Options{URL: "nats://relay:right@" + runNATS(t, lets("right", may)).Addr().String()})
	await(t, "a beat is refused", func() bool { return n.log.Has("udprelay.test.control") })
	n.tap.bring(t, said("refused"))
	await(t, "a datagram is refused", func() bool { return n.log.Has("publish on udprelay.test.data") })
	for range 20 {
		n.failed(nil, nil, fmt.Errorf("%w: %s", nats.ErrPermissionViolation, `Permissions Violation for Publish to "udprelay.test.data"`))
	}
	if got := len(n.log.Lines("publish on udprelay.test.data")); got != 1 {
		t.Errorf("want one line; got %d", got)
	}
	if got := n.Stats().Trouble; !strings.Contains(got, "udprelay.test.control") {
		t.Errorf("want what was noticed first; got %q", got)
	}
}

func TestWhatIsForbidden(t *testing.T) {
	const end = ": want publish and subscribe on udprelay.r.>"
	for text, want := range map[string]string{
		`Permissions Violation for Publish to "udprelay.r.data"`:         "publish on udprelay.r.data",
		`Permissions Violation for Subscription to "udprelay.r.control"`: "subscribe to udprelay.r.control",
		`Permissions Violation for Subscription to "udprelay.r.node.aa"`: "subscribe to udprelay.r.node.aa",
		`Permissions Violation for Publish to "udprelay.r.node.bb"`:      "publish on udprelay.r.node.*",
		`Permissions Violation`:                                                      "publish on udprelay.r.>",
		`Permissions Violation for Publish to "x`:                                    "publish on udprelay.r.>",
		"Permissions Violation for Publish to \"udprelay.r.\x1b[31mdata\" and so on": "publish on udprelay.r.[31mdata",
	} {
		if got := forbidden(errors.New(text), "r", "udprelay.r.node.aa"); got != "no permission to "+want+end {
			t.Errorf("%q: want %q; got %q", text, want+end, got)
		}
	}
}

// The text of an error stays the same while the error does.
func TestErrorsOfCertificatesHaveNoTime(t *testing.T) {
	now := time.Now()
	for want, cert := range map[string]*x509.Certificate{
		"it has expired at 2020-01-02 03:04:05 +0000 UTC: want a new one": {NotAfter: time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)},
		"it is valid only from ": {NotBefore: now.Add(time.Hour), NotAfter: now.Add(2 * time.Hour)},
	} {
		err := fmt.Errorf("tls: %w", &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{
			Cert: cert, Reason: x509.Expired, Detail: "current time " + now.String(),
		}})
		for _, got := range []string{refusal(err, time.Second), (&connection{}).reason(fmt.Errorf("%w: %w", nats.ErrTLS, err))} {
			if !strings.HasPrefix(got, "TLS: its certificate is refused: "+want) || strings.Contains(got, "current time") {
				t.Errorf("want %q; got %q", want, got)
			}
		}
	}
}

func TestAlertsSayWhatIsWanted(t *testing.T) {
	for alert, want := range map[tls.AlertError]string{
		42: "its ca has signed", 46: "its ca has signed", 48: "its ca has signed", 116: "its ca has signed",
		45: "it refuses the certificate of this node: tls: expired certificate",
	} {
		if got := refusal(&net.OpError{Op: "remote error", Err: alert}, time.Second); !strings.Contains(got, want) {
			t.Errorf("alert %d: want %q; got %q", alert, want, got)
		}
	}
	if got := refusal(io.EOF, time.Second); !strings.Contains(got, "it hangs up") {
		t.Errorf("want it said that it hangs up; got %q", got)
	}
}

// What is dropped is logged: the first time at once, then once a minute, and in
// the end.
func TestDropsAreLogged(t *testing.T) {
	out, now := new(testlog.Log), time.Now()
	l := dropLog{log: out.Logger()}
	var dropped [drops]uint64
	l.say(&dropped, now, true)
	if out.String() != "" {
		t.Errorf("want nothing logged where nothing is dropped; got %s", out.String())
	}
	for i, test := range []struct {
		reason      Drop
		after       time.Duration
		last        bool
		count, want string // "": no line
	}{
		{DropLost, 0, false, "count=1 total=1", `level=WARN msg="cluster: datagrams dropped" reason=lost`},
		{DropLost, sayDropsEvery - 1, false, "", ""},
		{DropLost, sayDropsEvery, false, "count=2 total=3", "hint="},
		{DropLost, sayDropsEvery + 1, true, "count=1 total=4", "reason=lost"},
		{DropUnknownVersion, sayDropsEvery + 1, false, "count=1 total=1", `level=WARN msg="cluster: messages dropped" reason=unknown_version count=1 total=1 hint="a node speaks another version`},
		{DropWrongSecret, sayDropsEvery + 1, false, "count=1 total=1", "want the same on all"},
		{DropDuplicate, sayDropsEvery + 1, false, "count=1 total=1", "level=DEBUG"},
	} {
		out.Reset()
		dropped[test.reason]++
		l.say(&dropped, now.Add(test.after), test.last)
		if got := out.String(); test.want == "" && got != "" || !strings.Contains(got, test.want) || !strings.Contains(got, test.count) || strings.Count(got, "\n") > 1 {
			t.Errorf("%d: want %q and %q; got %q", i, test.want, test.count, got)
		}
	}
	for _, reason := range Drops() {
		if hints[reason] == "" && reason != DropTooBig && reason != DropDuplicate && reason != DropUnproven && reason != DropUnasked {
			t.Errorf("want %v explained", reason)
		}
	}
}

func TestNodesLogWhatIsDropped(t *testing.T) {
	url, _ := startNATS(t, -1)
	n := startNode(t, Options{URL: url})
	await(t, "the node is connected", func() bool { return n.Stats().Connected })
	if err := n.conn.FlushTimeout(patience); err != nil { // the server knows what it subscribes to
		t.Fatal(err)
	}
	inject(t, url, n.dataSubject, "UDR\x02 of which nothing is known")
	await(t, "it is logged", func() bool { return n.log.Has("reason=unknown_version count=1 total=1") })
	inject(t, url, n.dataSubject, "UDR\x02 of which nothing is known")
	await(t, "another is dropped", func() bool { return n.dropped(DropUnknownVersion) == 2 })
	n.Close()
	if !n.log.Has("reason=unknown_version count=1 total=2") {
		t.Errorf("want the rest logged in the end; got %s", n.log.String())
	}
}

func TestHowMuchItMattersThatANodeGoes(t *testing.T) {
	for want, c := range map[string]change{
		"is here INFO": {here: true}, "has left INFO": {left: true}, "is gone WARN": {},
	} {
		if got := fmt.Sprint(c, " ", c.level()); got != want {
			t.Errorf("want %q; got %q", want, got)
		}
	}
}

// Only what NATS says of routes that are not configured is logged: of the others
// the watch says more.
func TestConfiguredRoutesAreToldOfOnce(t *testing.T) {
	out := new(testlog.Log)
	l := newServerLog(out.Logger(), []string{"192.0.2.1:6222", "relay.example:7222", "[2001:db8::1]:6222"})
	dialed := func(address string) error {
		return &net.OpError{Op: "dial", Addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(address)), Err: errors.New("connection refused")}
	}
	for _, test := range []struct {
		err  error
		want string
	}{
		{dialed("192.0.2.1:6222"), "DEBUG"},
		{dialed("192.0.2.1:6223"), "WARN"},
		{dialed("192.0.2.2:6222"), "WARN"},
		{dialed("192.0.2.7:7222"), "DEBUG"}, // perhaps of the name
		{dialed("[2001:db8::1]:6222"), "DEBUG"},
		{&net.DNSError{Name: "relay.example"}, "DEBUG"},
		{&net.DNSError{Name: "other.example"}, "WARN"},
		{errors.New("something else"), "WARN"},
	} {
		out.Reset()
		l.limited.lines = 0
		l.Errorf("Error trying to connect to route (attempt %v): %v", 1, test.err)
		if !out.Has("level=" + test.want) {
			t.Errorf("%v: want it at %s; got %q", test.err, test.want, out.String())
		}
	}
	missing := unused(t)
	n := startNode(t, Options{Routes: []string{missing}})
	await(t, "it is logged once", func() bool { return n.log.Has("a route is missing") })
	if got := len(n.log.Lines("level=WARN")); got != 1 {
		t.Errorf("want one line; got %s", n.log.String())
	}
}

func TestWithoutListenNobodyIsMeantToCome(t *testing.T) {
	c, err := Start(t.Context(), startRelay(t), Options{Room: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.Addr(); got != nil {
		t.Errorf("want no address; got %v", got)
	}
	if !c.Stats().Connected || c.Stats().Trouble != "" {
		t.Errorf("want a node nevertheless; got %+v", c.Stats())
	}
}

// The first of a kind is logged whatever was before, and of no more kinds than
// are remembered.
func TestFirstOfAKindIsLogged(t *testing.T) {
	out := new(testlog.Log)
	l := newLimitedLog(out.Logger(), logBurst)
	for range 2 * logBurst {
		l.warn("noise")
	}
	for i := range 2 * maxFirsts {
		l.first(fmt.Sprint(i), "first", "kind", i)
		l.first(fmt.Sprint(i), "first", "kind", i)
		l.once(fmt.Sprint(i), "first", "kind", i)
	}
	if got := len(out.Lines("first")); got != maxFirsts || !out.Has(fmt.Sprint("kind=", maxFirsts-1)) {
		t.Errorf("want %d lines; got %d", maxFirsts, got)
	}
}

// A route that was there and is not says that much at once.
func TestALostRouteSaysSo(t *testing.T) {
	r := &wanted{address: "192.0.2.1:6222"}
	if got := r.why(); got != "" {
		t.Errorf("want nothing known of a route that was never there; got %q", got)
	}
	there := &server.RouteInfo{RemoteID: "ID", RemoteName: "one-00112233aabbccdd"}
	r.there(there)
	const lost = "the connection is lost"
	if got := r.why(); got != lost {
		t.Errorf("want %q; got %q", lost, got)
	}
	fine, now := answer{id: "ID", server: there.RemoteName}, time.Now()
	for i, want := range []string{lost, lost, "it does not let this node in: want the same secret on both"} {
		if r.heard(fine, "SELF", now); r.why() != want {
			t.Errorf("answer %d: want %q; got %q", i, want, r.why())
		}
	}
	r.there(there)
	if r.heard(answer{err: "connection refused"}, "SELF", now); r.why() != "connection refused" {
		t.Errorf("want what is known; got %q", r.why())
	}
	r.there(there)
	if r.err != "" {
		t.Errorf("want nothing against a route that is there; got %q", r.err)
	}
}

// Who is silent may miss something, who has left or is here again does not.
func TestSilentNodesAreMissing(t *testing.T) {
	now := time.Now()
	ours, theirs := digest(1), digest(2)
	table := &nodes{byID: make(map[nodeID]*node)}
	heard := func(id byte, b beat, ago time.Duration) {
		b.Shared = cmp.Or(b.Shared, &theirs)
		table.beat(nodeID{id}, nil, 1, &b, now.Add(-ago), 0)
	}
	const silent = 2 * goneAfter
	heard(1, beat{Name: "silent"}, silent)
	heard(2, beat{Name: "silent"}, 2*silent) // an earlier start of it
	heard(3, beat{Name: "left", Leaving: true}, silent)
	heard(4, beat{Name: "back"}, silent)
	heard(5, beat{Name: "back", Shared: &ours}, 0)
	heard(6, beat{Name: "agrees", Shared: &ours}, silent)
	heard(7, beat{Name: "agrees"}, 2*silent) // an earlier start of it
	list, hope := table.missing(uint64(ours), now)
	if len(list) != 1 || list[0].Name != "silent" || list[0].ID != "0100000000000000" || !list[0].Gone || hope {
		t.Errorf("want silent alone, not waited for; got %+v, %t", list, hope)
	}
	heard(8, beat{Name: "slow"}, 0)
	list, hope = table.missing(uint64(ours), now)
	if len(list) != 2 || list[1].Name != "slow" || !hope {
		t.Errorf("want slow waited for; got %+v, %t", list, hope)
	}
}
