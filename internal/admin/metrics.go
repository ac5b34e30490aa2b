package admin

import (
	"fmt"
	"net/http"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"udprelay/relay"
)

const (
	// scrapesAtOnce is how many scrapes may be answered at a time, so that two
	// Prometheus servers and a person do not disturb each other.
	scrapesAtOnce = 4

	// scrapeTimeout is how long a scrape may take. Prometheus waits 10 s, if it
	// is not told otherwise.
	scrapeTimeout = 9 * time.Second
)

// noRule is the label of datagrams whose sender no rule covers.
const noRule = "none"

// metricsHandler answers a scrape of Prometheus with what status tells, which is
// asked once a scrape. What it tells of peers is how many there are, so that
// there are no more series than reasons and rules; one by one it tells of them,
// up to mostMetered, only if source wants that.
func metricsHandler(status func() Status, source Source) http.Handler {
	return promhttp.HandlerFor(newMetrics(status, source), promhttp.HandlerOpts{
		ErrorHandling:       promhttp.HTTPErrorOnError,
		EnableOpenMetrics:   true,
		MaxRequestsInFlight: scrapesAtOnce,
		Timeout:             scrapeTimeout,
	})
}

// newMetrics returns all metrics: those of the relay, and those of the program
// that the Go runtime and the system tell.
func newMetrics(status func() Status, source Source) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		&collector{status, source},
		&peerCollector{source: source},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return registry
}

// A collector makes metrics of a status, and of the bans of source.
type collector struct {
	status func() Status
	source Source
}

// Describe sends what metrics there are.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, m := range plainMetrics {
		to <- m.desc
	}
	for _, desc := range []*prometheus.Desc{dropsDesc, reportsDesc, refusedDesc, peersDesc, bansDesc, buildDesc, clientsDesc, endedDesc} {
		to <- desc
	}
	describeCluster(to)
}

// Collect sends the metrics as they are now.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	status := c.status()
	send := func(desc *prometheus.Desc, kind prometheus.ValueType, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(desc, kind, value, labels...)
	}
	for _, m := range plainMetrics {
		if value, known := m.value(&status); known {
			send(m.desc, m.kind, value)
		}
	}
	for _, reason := range relay.Drops() {
		send(dropsDesc, prometheus.CounterValue, float64(status.Drops[reason.String()]), reason.String())
	}
	for _, kind := range relay.Reports() {
		send(reportsDesc, prometheus.CounterValue, float64(status.Reports[kind.String()]), kind.String())
	}
	for i, rule := range status.Rules {
		name := fmt.Sprintf("access[%d]", i)
		if i == len(status.Rules)-1 {
			name = noRule
		}
		send(refusedDesc, prometheus.CounterValue, float64(rule.Refused), name)
	}
	send(peersDesc, prometheus.GaugeValue, float64(status.Peers.Learned), "learned")
	send(peersDesc, prometheus.GaugeValue, float64(status.Peers.Static), "static")
	send(bansDesc, prometheus.GaugeValue, float64(len(c.source.Bans().Bans)))
	for _, l := range status.Gateway.Listeners {
		send(clientsDesc, prometheus.GaugeValue, float64(l.Clients), l.Transport)
	}
	for reason, count := range status.Gateway.Ended {
		send(endedDesc, prometheus.CounterValue, float64(count), reason)
	}
	collectCluster(&status, send)
	send(buildDesc, prometheus.GaugeValue, 1, status.Version, runtime.Version())
}

// describe returns the description of one of our metrics.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName("udprelay", "", name), help, labels, nil)
}

// Metrics with labels, or that are not in the status.
var (
	dropsDesc   = describe("dropped_datagrams_total", "Datagrams that were dropped, by reason. Those on the way in count once, those on the way out once for every receiver.", "reason")
	reportsDesc = describe("network_reports_total", "What the network (ICMP) reported about delivered datagrams, by kind.", "kind")
	refusedDesc = describe("refused_datagrams_total", "Datagrams of senders that a rule of access keeps out, since the rules hold. The rule \"none\" stands for senders that no rule covers.", "rule")
	peersDesc   = describe("peers", "Peers that are known.", "kind")
	bansDesc    = describe("bans", "Bans that hold: addresses and prefixes that are kept out.")
	clientsDesc = describe("gateway_clients", "Clients of the gateways that are connected, by what they came.", "transport")
	endedDesc   = describe("gateway_ended_connections_total", "Connections to the gateways that were refused or have ended, by reason.", "reason")
	buildDesc   = describe("build_info", "Always 1; the labels say what is running.", "version", "goversion")
)

// A plainMetric is one without labels.
type plainMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*Status) (value float64, known bool)
}

var plainMetrics = []plainMetric{
	counter("received_datagrams_total", "Datagrams that came in, whatever became of them.", func(s *Status) uint64 { return s.Counters.Received }),
	counter("received_bytes_total", "Payload of the datagrams that came in.", func(s *Status) uint64 { return s.Counters.ReceivedBytes }),
	counter("keep_alives_total", "Datagrams that came in and were keep-alives or proofs.", func(s *Status) uint64 { return s.Counters.KeepAlives }),
	counter("relayed_datagrams_total", "Datagrams that came in and were to be sent to all other peers.", func(s *Status) uint64 { return s.Counters.Relayed }),
	counter("no_receiver_datagrams_total", "Relayed datagrams that there was no receiver for.", func(s *Status) uint64 { return s.Counters.NoReceiver }),
	counter("due_datagrams_total", "Relayed datagrams, once for every receiver that they were to reach: the delivered ones and the drops on the way out.", func(s *Status) uint64 { return s.Counters.Due }),
	counter("delivered_datagrams_total", "Datagrams given to the kernel, once for every receiver.", func(s *Status) uint64 { return s.Counters.Delivered }),
	counter("delivered_bytes_total", "Payload given to the kernel, once for every receiver.", func(s *Status) uint64 { return s.Counters.DeliveredBytes }),
	counter("answers_total", "Datagrams sent to senders that have to prove themselves.", func(s *Status) uint64 { return s.Counters.Answers }),
	counter("answer_bytes_total", "Payload sent to senders that have to prove themselves.", func(s *Status) uint64 { return s.Counters.AnswerBytes }),
	counter("stray_errors_total", "Errors of the network that match nothing that was sent; forged, or late.", func(s *Status) uint64 { return s.Counters.StrayErrors }),
	counter("peers_joined_total", "Learned peers that have come.", func(s *Status) uint64 { return s.Counters.Joined }),
	counter("peers_left_total", "Learned peers that have gone.", func(s *Status) uint64 { return s.Counters.Left }),

	counter("gateway_accepted_connections_total", "Connections to the gateways that came, those that were closed at once included.", func(s *Status) uint64 { return s.Gateway.Accepted }),
	gauge("gateway_connections", "Connections to the gateways that are open, handshakes included.", func(s *Status) (float64, bool) { return float64(s.Gateway.Connections), true }),
	gauge("gateway_connections_limit", "Connections to the gateways that there may be at most; 0: the gateways are off.", func(s *Status) (float64, bool) { return float64(s.Gateway.Limit), true }),

	gauge("senders", "Addresses that may only send. They are not peers and take no place.", func(s *Status) (float64, bool) { return float64(s.Peers.Senders), true }),
	gauge("peers_limit", "Learned peers that there may be at most; 0: no limit.", func(s *Status) (float64, bool) { return float64(s.Peers.Max), true }),
	gauge("peers_quarantined", "Peers that nothing is sent to, for the network says that they cannot be reached.", func(s *Status) (float64, bool) { return float64(s.Peers.Quarantined), true }),
	gauge("talks", "Pairs of peers that answer each other more than a thousand times per second, perhaps in a loop that changes the payload.", func(s *Status) (float64, bool) { return float64(len(s.Talks)), true }),
	gauge("talk_datagrams_per_second", "Datagrams per second from each peer of the pair that answers fastest; 0 if there is no such pair.", func(s *Status) (float64, bool) { return fastestTalk(s.Talks), true }),
	gauge("state_failing", "1 if the state file, for peers and bans, cannot be written, 0 if it can; missing if there is none.", func(s *Status) (float64, bool) { return one(s.State.Failing.Duration > 0), s.State.File != "" }),
	gauge("ready", "1 if the relay relays, 0 while it starts or stops.", func(s *Status) (float64, bool) { return one(s.Ready), true }),
	gauge("start_time_seconds", "When the daemon was started, in seconds since 1970.", func(s *Status) (float64, bool) { return float64(s.Started.UnixMilli()) / 1000, true }),

	// Where the kernel does not tell the size there is nothing to compare with.
	gauge("receive_buffer_bytes", "Size of the socket's receive buffer, as the kernel counts it.", func(s *Status) (float64, bool) { return float64(s.Buffers.Receive), s.Buffers.Receive > 0 }),
	gauge("receive_buffer_used_bytes", "What of the receive buffer waits to be received.", func(s *Status) (float64, bool) { return float64(s.Buffers.ReceiveUsed), s.Buffers.Receive > 0 }),
	gauge("send_buffer_bytes", "Size of the socket's send buffer, as the kernel counts it.", func(s *Status) (float64, bool) { return float64(s.Buffers.Send), s.Buffers.Send > 0 }),
	gauge("send_buffer_used_bytes", "What of the send buffer waits to leave.", func(s *Status) (float64, bool) { return float64(s.Buffers.SendUsed), s.Buffers.Send > 0 }),
}

func counter(name, help string, value func(*Status) uint64) plainMetric {
	return plainMetric{describe(name, help), prometheus.CounterValue, func(s *Status) (float64, bool) { return float64(value(s)), true }}
}

func gauge(name, help string, value func(*Status) (float64, bool)) plainMetric {
	return plainMetric{describe(name, help), prometheus.GaugeValue, value}
}

// fastestTalk returns the rate of the first talk, or 0.
func fastestTalk(talks []Talk) float64 {
	if len(talks) == 0 {
		return 0
	}
	return float64(talks[0].PerSecond)
}

func one(ok bool) float64 {
	if ok {
		return 1
	}
	return 0
}
