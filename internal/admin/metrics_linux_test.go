package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
	"udprelay/relay"
)

// promtool runs a command of promtool, which must find nothing wrong.
func promtool(t *testing.T, input string, arguments ...string) {
	t.Helper()
	testneed.Tool(t, "promtool")
	command := exec.Command("promtool", arguments...)
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, out)
	}
}

func TestPromtoolFindsNothingInTheMetrics(t *testing.T) {
	recorder := httptest.NewRecorder()
	metricsHandler(told(busy()), meteredPeers(3)).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	promtool(t, recorder.Body.String(), "check", "metrics")
}

func TestPromtoolAgreesWithTheAlerts(t *testing.T) {
	promtool(t, "", "check", "rules", monitoringDir+alertRules)
	promtool(t, "", "test", "rules", monitoringDir+alertTests)
}

// A later is a daemon whose counts are what a test has stored last.
type later struct {
	metered
	status atomic.Pointer[Status]
	now    atomic.Pointer[[]*Peer]
}

func (l *later) Status() Status { return *l.status.Load() }

func (l *later) Peers(int, int) ([]*Peer, int) {
	all := *l.now.Load()
	return all, len(all)
}

// A promServer is a running Prometheus.
type promServer struct{ address string }

// startPrometheus runs a Prometheus that scrapes target, and has the shipped
// rules, until the test ends.
func startPrometheus(t *testing.T, target string) *promServer {
	t.Helper()
	testneed.Tool(t, "prometheus")
	rules, err := filepath.Abs(monitoringDir + alertRules)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf(`global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%q]
scrape_configs:
  - {job_name: udprelay, static_configs: [{targets: [%q]}]}
`, rules, target)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, "prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:0")
	logged, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	address, ended := make(chan string, 1), make(chan struct{})
	var lines []string
	go func() {
		defer close(ended)
		listening := regexp.MustCompile(`Listening on"? address=(\S+)`)
		for log := bufio.NewScanner(logged); log.Scan(); {
			lines = append(lines, log.Text())
			if match := listening.FindStringSubmatch(log.Text()); match != nil {
				select {
				case address <- match[1]:
				default:
				}
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = command.Wait() // it was killed
		if t.Failed() {
			t.Logf("the log of prometheus:\n%s", strings.Join(lines, "\n"))
		}
	})
	select {
	case at := <-address:
		return &promServer{at}
	case <-ended:
		t.Fatal("prometheus has ended")
	case <-time.After(testwait.Patience):
		t.Fatal("prometheus does not listen")
	}
	return nil
}

// ask asks the API of p for path, and puts the data of the answer into data.
func (p *promServer) ask(path string, data any) error {
	response, err := client.Get("http://" + p.address + path)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	var body struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil {
		return fmt.Errorf("%s: %w", response.Status, err)
	}
	if body.Status != "success" {
		return fmt.Errorf("%s: %s", response.Status, body.Error)
	}
	return json.Unmarshal(body.Data, data)
}

// values returns what a query has as its result now, as text.
func (p *promServer) values(query string) (values []string, err error) {
	var data struct {
		Result []struct{ Value [2]any }
	}
	err = p.ask("/api/v1/query?query="+url.QueryEscape(query), &data)
	for _, result := range data.Result {
		values = append(values, fmt.Sprint(result.Value[1]))
	}
	return values, err
}

// until asks the query until its result is as wanted.
func (p *promServer) until(t *testing.T, query string, wanted func(values []string) bool) {
	t.Helper()
	deadline := time.Now().Add(testwait.Patience)
	for {
		values, err := p.values(query)
		if err == nil && wanted(values) {
			return
		}
		if time.Now().After(deadline) {
			var targets struct{ ActiveTargets []struct{ LastError string } }
			_ = p.ask("/api/v1/targets", &targets)
			t.Fatalf("%s: got %v, %v; scrapes: %v", query, values, err, targets)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func only(want string) func([]string) bool {
	return func(values []string) bool { return len(values) == 1 && values[0] == want }
}

func some(values []string) bool { return len(values) > 0 }

func TestPrometheusScrapesTheRelay(t *testing.T) {
	source := &later{}
	source.now.Store(&meteredPeers(3).peers)
	source.bans = meteredPeers(0).bans
	now := busy()
	now.Started = Time{time.Now()}
	source.status.Store(&now)
	base, stop := over(t, source, nil)
	p := startPrometheus(t, strings.TrimPrefix(base, "http://"))

	p.until(t, `up{job="udprelay"}`, only("1"))
	p.until(t, `udprelay_received_datagrams_total`, only("101"))
	p.until(t, `udprelay_dropped_datagrams_total{reason="rule"}`, only("400"))
	p.until(t, `udprelay_peer_delivered_bytes_total{peer="10.0.0.2:9"}`, only("504"))
	p.until(t, `count(udprelay_peer_dropped_datagrams_total{reason="rule"})`, only("3"))
	p.until(t, `udprelay_bans`, only("2"))
	p.until(t, `count(udprelay_dropped_datagrams_total)`, only(fmt.Sprint(len(relay.Drops()))))

	for i, query := range documentedSums(t) {
		want := []float64{101 - 103 - 104, 113 - 105}[i]
		for n, reason := range relay.Drops() {
			if reason != relay.DropReceiveQueueFull && reason.OnTheWayOut() == (i == 1) {
				want -= float64(400 + n)
			}
		}
		p.until(t, query, only(fmt.Sprint(want)))
	}

	next := busy()
	next.Started = now.Started
	c := &next.Counters
	for _, n := range []*uint64{&c.Received, &c.ReceivedBytes, &c.KeepAlives, &c.Relayed, &c.NoReceiver, &c.Due, &c.Delivered, &c.DeliveredBytes, &c.Answers, &c.AnswerBytes, &c.StrayErrors, &c.Joined, &c.Left} {
		*n += 1000
	}
	for reason := range next.Drops {
		next.Drops[reason] += 1000
	}
	for i := range next.Rules {
		next.Rules[i].Refused += 1000
	}
	clusterGrows(&next.Cluster, func(n *uint64, _ string) { *n += 1000 })
	grown := meteredPeers(3).peers
	for _, peer := range grown {
		for _, n := range []*uint64{&peer.Received, &peer.ReceivedBytes, &peer.Delivered, &peer.DeliveredBytes} {
			*n += 1000
		}
		for reason := range peer.Dropped {
			peer.Dropped[reason] += 1000
		}
	}
	source.now.Store(&grown)
	next.Ready = false
	source.status.Store(&next)
	p.until(t, `udprelay_received_datagrams_total`, only("1101"))
	p.until(t, `udprelay_ready`, only("0"))

	d := dashboardJSON(t)
	for where, query := range d.queries() {
		query = strings.NewReplacer("$instance", ".*", "$__rate_interval", "10m").Replace(query)
		t.Run(where, func(t *testing.T) { p.until(t, query, some) })
	}

	t.Run("alerts", func(t *testing.T) {
		p.until(t, `ALERTS{alertname="UdprelayNotReady",severity="critical"}`, some)
		stop()
		p.until(t, `ALERTS{alertname="UdprelayDown",severity="critical"}`, some)
		var data struct {
			Groups []struct {
				Rules []struct{ Name, Health, LastError string }
			}
		}
		if err := p.ask("/api/v1/rules", &data); err != nil {
			t.Fatal(err)
		}
		healthy := 0
		for _, group := range data.Groups {
			for _, rule := range group.Rules {
				if healthy++; rule.Health != "ok" {
					t.Errorf("%s is %s: %s", rule.Name, rule.Health, rule.LastError)
				}
			}
		}
		if want := len(alerts(t)); healthy != want {
			t.Errorf("want %d rules, got %d", want, healthy)
		}
	})
}
