package admin

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"pgregory.net/rapid"

	"udprelay/internal/testwait"
	"udprelay/relay"
)

// busy is the status of a daemon that has done everything, each as often as no
// other.
func busy() Status {
	status := Status{
		Version: "1.2.3", Ready: true, Started: Time{time.UnixMilli(1_700_000_000_500)},
		Peers:    PeerCount{Learned: 12, Static: 2, Receivers: 13, Max: 10000, Quarantined: 3, Senders: 7},
		Counters: Counters{Received: 101, ReceivedBytes: 102, KeepAlives: 103, Relayed: 104, NoReceiver: 112, Due: 113, Delivered: 105, DeliveredBytes: 106, Answers: 107, AnswerBytes: 108, StrayErrors: 109, Joined: 110, Left: 111},
		Drops:    map[string]uint64{},
		Reports:  map[string]uint64{},
		Rules:    []Rule{{From: "loopback", Refused: 201}, {From: "private", Refused: 202}, {Refused: 203}},
		Gateway:  Gateway{Listeners: []GatewayListener{{"tcp", "[::]:9003", 4}, {"wss", "[::]:9004", 5}}, Connections: 11, Limit: 1000, Accepted: 601, Ended: map[string]uint64{"left": 602, "stuck": 603}},
		Talks:    []Talk{{PerSecond: 47123}, {PerSecond: 1200}},
		Buffers:  Buffers{Receive: 301, ReceiveUsed: 302, Send: 303, SendUsed: 304},
		State:    State{File: "/var/lib/udprelay/peers", Failing: Seconds{time.Minute}, Error: "no space left on device"},
		Cluster:  busyCluster(),
	}
	for i, reason := range relay.Drops() {
		status.Drops[reason.String()] = uint64(400 + i)
	}
	for i, kind := range relay.Reports() {
		status.Reports[kind.String()] = uint64(450 + i)
	}
	return status
}

func told(status Status) func() Status { return func() Status { return status } }

func (d *daemonOf) MetricsPerPeer() bool { return false }

// A metered is a daemon that wants metrics of each peer.
type metered struct{ daemonOf }

func (*metered) MetricsPerPeer() bool { return true }

// meteredPeers is a daemon with so many peers that have done everything, of which
// the last one is static, and two bans.
func meteredPeers(n int) *metered {
	m := &metered{daemonOf{bans: BanList{Bans: make([]Ban, 2)}}}
	for i := range n {
		p := &Peer{
			Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 9), Static: i == n-1,
			Received: 501, ReceivedBytes: 502, Delivered: 503, DeliveredBytes: 504, Dropped: make(map[string]uint64),
		}
		for i, reason := range relay.Drops() {
			p.Dropped[reason.String()] = uint64(600 + i)
		}
		m.peers = append(m.peers, p)
	}
	return m
}

// ours returns a registry with the metrics of a status alone; it finds metrics
// that contradict their description.
func ours(status Status, source Source) *prometheus.Registry {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&collector{told(status), source}, &peerCollector{source: source})
	return registry
}

// gathered returns the values of all series, by name and labels.
func gathered(t rapid.TB, from prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetName() + "=" + label.GetValue()
			}
			switch family.GetType() {
			case dto.MetricType_COUNTER:
				values[name] = m.GetCounter().GetValue()
			case dto.MetricType_GAUGE:
				values[name] = m.GetGauge().GetValue()
			}
		}
	}
	return values
}

func TestMetricsTellTheStatus(t *testing.T) {
	values := gathered(t, ours(busy(), &daemonOf{bans: BanList{Bans: make([]Ban, 2)}}))
	want := map[string]float64{
		"received_datagrams_total": 101, "received_bytes_total": 102, "keep_alives_total": 103, "relayed_datagrams_total": 104,
		"no_receiver_datagrams_total": 112, "due_datagrams_total": 113, "bans": 2,
		"delivered_datagrams_total": 105, "delivered_bytes_total": 106, "answers_total": 107, "answer_bytes_total": 108,
		"stray_errors_total": 109, "peers_joined_total": 110, "peers_left_total": 111,
		"peers kind=learned": 12, "peers kind=static": 2, "peers_limit": 10000, "talks": 2, "talk_datagrams_per_second": 47123, "peers_quarantined": 3, "senders": 7,
		"refused_datagrams_total rule=access[0]": 201, "refused_datagrams_total rule=access[1]": 202, "refused_datagrams_total rule=none": 203,
		"receive_buffer_bytes": 301, "receive_buffer_used_bytes": 302, "send_buffer_bytes": 303, "send_buffer_used_bytes": 304,
		"start_time_seconds": 1_700_000_000.5, "ready": 1, "state_failing": 1,
		"gateway_clients transport=tcp": 4, "gateway_clients transport=wss": 5, "gateway_connections": 11, "gateway_connections_limit": 1000, "gateway_accepted_connections_total": 601,
		"gateway_ended_connections_total reason=left": 602, "gateway_ended_connections_total reason=stuck": 603,
	}
	for i, reason := range relay.Drops() {
		want["dropped_datagrams_total reason="+reason.String()] = float64(400 + i)
	}
	for i, kind := range relay.Reports() {
		want["network_reports_total kind="+kind.String()] = float64(450 + i)
	}
	for name, value := range want {
		if got, there := values["udprelay_"+name]; !there || got != value {
			t.Errorf("%s: want %v, got %v (there: %v)", name, value, got, there)
		}
		delete(values, "udprelay_"+name)
	}
	for name, value := range busyClusterSeries() {
		if got, there := values[name]; !there || got != value {
			t.Errorf("%s: want %v, got %v (there: %v)", name, value, got, there)
		}
		delete(values, name)
	}
	left := slices.Collect(maps.Keys(values))
	if len(left) != 1 || !strings.HasPrefix(left[0], "udprelay_build_info goversion=go") || !strings.HasSuffix(left[0], " version=1.2.3") || values[left[0]] != 1 {
		t.Errorf("want build_info and nothing else to be left, got %v", left)
	}
}

func TestEachReasonIsThereBeforeItHappens(t *testing.T) {
	values := gathered(t, ours(Status{}, &daemonOf{}))
	for _, reason := range relay.Drops() {
		if got, there := values["udprelay_dropped_datagrams_total reason="+reason.String()]; !there || got != 0 {
			t.Errorf("%s: want 0, got %v (there: %v)", reason, got, there)
		}
	}
	for name := range values {
		if strings.Contains(name, "buffer_") && strings.HasSuffix(name, "_bytes") {
			t.Errorf("want no %s where the kernel does not tell", name)
		}
	}
}

func TestMetricsFollowTheConventions(t *testing.T) {
	problems, err := testutil.GatherAndLint(newMetrics(told(busy()), meteredPeers(3)))
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	families, err := ours(busy(), meteredPeers(3)).Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if counts := family.GetType() == dto.MetricType_COUNTER; counts != strings.HasSuffix(family.GetName(), "_total") {
			t.Errorf("%s is a %s", family.GetName(), family.GetType())
		}
	}
}

// What can be in the labels is what there is of reasons and rules; peers make no
// series, unless they are asked for.
func TestSeriesAreBounded(t *testing.T) {
	const rules = 1000 // as many as a configuration may have
	status := busy()
	ours := func(status Status) *prometheus.Registry { return ours(status, &daemonOf{}) }
	small := len(gathered(t, ours(status)))
	status.Peers = PeerCount{Learned: 1_000_000, Static: 10_000, Receivers: 1_010_000, Max: 1_000_000, Quarantined: 500_000}
	if got := len(gathered(t, ours(status))); got != small {
		t.Errorf("a million peers make %d series of %d", got, small)
	}
	status.Drops["something new"] = 7
	if got := len(gathered(t, ours(status))); got != small {
		t.Errorf("a reason that is none makes %d series of %d", got, small)
	}
	status.Rules = make([]Rule, rules+1)
	if got, want := len(gathered(t, ours(status))), small-3+rules+1; got != want {
		t.Errorf("%d rules: want %d series, got %d", rules, want, got)
	}
	status.Cluster = Cluster{}
	if alone, want := len(gathered(t, ours(status))), small+rules+1-3-len(busyClusterSeries()); alone != want {
		t.Errorf("without a cluster: want %d series, got %d", want, alone)
	}
	alone := busy()
	alone.Cluster = Cluster{}
	if all := len(gathered(t, newMetrics(told(alone), &daemonOf{}))); all < 60 || all > 110 {
		t.Errorf("docs/monitoring.md says that there are about 90 series, and there are %d", all)
	}
}

// What a daemon counts only grows, and so must what is told of it.
func TestCountersNeverGoBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before := busy()
		grows := func(n *uint64, name string) { *n += rapid.Uint64Range(0, 1<<62).Draw(t, name) }
		after := before
		after.Drops, after.Rules = maps.Clone(before.Drops), slices.Clone(before.Rules)
		c := &after.Counters
		for name, n := range map[string]*uint64{"received": &c.Received, "received_bytes": &c.ReceivedBytes, "keep_alives": &c.KeepAlives, "relayed": &c.Relayed, "no_receiver": &c.NoReceiver, "due": &c.Due, "delivered": &c.Delivered,
			"delivered_bytes": &c.DeliveredBytes, "answers": &c.Answers, "answer_bytes": &c.AnswerBytes, "stray_errors": &c.StrayErrors, "joined": &c.Joined, "left": &c.Left} {
			grows(n, name)
		}
		after.Gateway.Ended = maps.Clone(before.Gateway.Ended)
		for reason, n := range after.Gateway.Ended {
			grows(&n, reason)
			after.Gateway.Ended[reason] = n
		}
		grows(&after.Gateway.Accepted, "accepted")
		clusterGrows(&after.Cluster, grows)
		for i := range after.Rules {
			grows(&after.Rules[i].Refused, "refused")
		}
		for _, reason := range relay.Drops() {
			n := after.Drops[reason.String()]
			grows(&n, reason.String())
			after.Drops[reason.String()] = n
		}
		after.Reports = maps.Clone(before.Reports)
		for kind, n := range before.Reports {
			grows(&n, kind)
			after.Reports[kind] = n
		}
		after.Peers, after.Ready = PeerCount{}, false // these may go back
		first, second := gathered(t, ours(before, &daemonOf{})), gathered(t, ours(after, &daemonOf{}))
		counters := 0
		for name, value := range first {
			if metric, _, _ := strings.Cut(name, " "); strings.HasSuffix(metric, "_total") {
				if counters++; second[name] < value {
					t.Errorf("%s goes from %v to %v", name, value, second[name])
				}
			}
		}
		if want := 13 + 3 + 1 + 2 + len(relay.Drops()) + len(relay.Reports()) + 4 + len(before.Cluster.Drops) + 3*2; counters != want {
			t.Errorf("want %d counters, got %d", want, counters)
		}
	})
}

func TestAScrapeAsksOnce(t *testing.T) {
	asked := 0
	handler := metricsHandler(func() Status { asked++; return busy() }, &daemonOf{})
	for accept, want := range map[string]struct{ kind, line string }{
		"": {"text/plain; version=0.0.4", "\nudprelay_received_datagrams_total 101\n"},
		"application/openmetrics-text;version=1.0.0": {"application/openmetrics-text; version=1.0.0", "\nudprelay_received_datagrams_total 101.0\n"},
	} {
		asked = 0
		request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		request.Header.Set("Accept", accept)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		body := recorder.Body.String()
		if kind := recorder.Header().Get("Content-Type"); recorder.Code != http.StatusOK || !strings.HasPrefix(kind, want.kind) || !strings.Contains(body, want.line) {
			t.Errorf("accept %q: want %s with %q, got %d, %s: %s", accept, want.kind, want.line, recorder.Code, kind, body)
		}
		if ends := strings.HasSuffix(body, "# EOF\n"); ends != (accept != "") {
			t.Errorf("accept %q: ends with # EOF: %v", accept, ends)
		}
		for _, name := range []string{"go_goroutines", "go_info{"} {
			if !strings.Contains(body, "\n"+name) {
				t.Errorf("want %s", name)
			}
		}
		if asked != 1 {
			t.Errorf("want the status to be asked for once, got %d times", asked)
		}
	}
}

// A daemon that hangs holds no more than a few scrapes.
func TestScrapesAreBounded(t *testing.T) {
	release := make(chan struct{})
	var asked atomic.Int64
	handler := metricsHandler(func() Status {
		asked.Add(1)
		<-release
		return busy()
	}, &daemonOf{})
	server := httptest.NewServer(handler)
	defer server.Close()
	answers := make(chan int, scrapesAtOnce)
	scrape := func() (int, string) {
		response, err := client.Get(server.URL)
		if err != nil {
			return 0, err.Error()
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
	for range scrapesAtOnce {
		go func() {
			code, _ := scrape()
			answers <- code
		}()
	}
	ctx, cancel := context.WithTimeout(context.Background(), testwait.Patience)
	defer cancel()
	for asked.Load() < scrapesAtOnce {
		select {
		case <-ctx.Done():
			close(release)
			t.Fatalf("want %d scrapes under way, got %d", scrapesAtOnce, asked.Load())
		case <-time.After(time.Millisecond):
		}
	}
	if code, body := scrape(); code != http.StatusServiceUnavailable {
		t.Errorf("want 503 for one too many, got %d: %s", code, body)
	}
	close(release)
	for range scrapesAtOnce {
		if code := <-answers; code != http.StatusOK {
			t.Errorf("want 200 for those that waited, got %d", code)
		}
	}
	if code, body := scrape(); code != http.StatusOK {
		t.Errorf("want 200 when there is room again, got %d: %s", code, body)
	}
}
