package bench

import (
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// keysOf returns the keys of a JSON value, with those of the objects in it.
func keysOf(prefix string, value any) (keys []string) {
	object, _ := value.(map[string]any)
	for key, inner := range object {
		keys = append(append(keys, prefix+key), keysOf(prefix+key+".", inner)...)
	}
	slices.Sort(keys)
	return keys
}

func TestJSONIsStable(t *testing.T) {
	drops := uint64(1)
	text, err := json.Marshal(Result{Latency: &Times{}, Process: &Process{QueueDrops: &drops}, Notes: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(`
		delivered delivered_per_second due foreign
		generator generator.bench_seconds generator.late generator.limit generator.processor_seconds generator.processor_share
		interrupted latency latency.count latency.max_ns latency.p50_ns latency.p90_ns latency.p99_9_ns latency.p99_ns latency_peers
		least_delivered loss_ratio lost most_delivered notes pace peers rate_per_second refused relay
		relay_process relay_process.most_resident_bytes relay_process.pid relay_process.processor_ns_per_delivery
		relay_process.processor_seconds relay_process.receive_queue_drops relay_process.resident_bytes
		seconds sender_trains senders sent sent_bytes sent_per_second sizes spread static surplus window`)
	slices.Sort(want)
	if diff := cmp.Diff(want, keysOf("", value)); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func TestTimesOfAHistogram(t *testing.T) {
	if got := timesOf(newHistogram()); got != nil {
		t.Errorf("want nothing of nothing, got %v", got)
	}
	h := newHistogram()
	for i := range 1000 {
		note(h, int64(i+1)*int64(time.Millisecond))
	}
	note(h, -5)
	note(h, math.MaxInt64)
	got := timesOf(h)
	for name, pair := range map[string][2]time.Duration{
		"p50": {500 * time.Millisecond, got.P50}, "p90": {900 * time.Millisecond, got.P90}, "p99": {990 * time.Millisecond, got.P99},
		"p99.9": {time.Second, got.P999}, "max": {2 * time.Minute, got.Max},
	} {
		want, is := pair[0], pair[1]
		if is < want-want/200 || is > want+want/200 {
			t.Errorf("%s: want %v, got %v", name, want, is)
		}
	}
	if got.Count != 1002 {
		t.Errorf("want all 1002 counted, got %d", got.Count)
	}
}

func TestConfigsThatMakeNoSense(t *testing.T) {
	good := Config{Relay: netip.MustParseAddrPort("127.0.0.1:9"), Peers: 1, Senders: 1, Duration: time.Second}
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*Config){
		"is no address of a relay":               func(c *Config) { c.Relay = netip.AddrPort{} },
		"127.0.0.1:0 is no address of a relay":   func(c *Config) { c.Relay = netip.MustParseAddrPort("127.0.0.1:0") },
		"224.0.0.1 is no address of one host":    func(c *Config) { c.Relay = netip.MustParseAddrPort("224.0.0.1:9") },
		"ff02::1 is no address of one host":      func(c *Config) { c.Relay = netip.MustParseAddrPort("[ff02::1]:9") },
		":: is no address of one host":           func(c *Config) { c.Relay = netip.MustParseAddrPort("[::]:9") },
		"0 peers: want 1 to 100000":              func(c *Config) { c.Peers = 0 },
		"100001 peers":                           func(c *Config) { c.Peers = 100_001 },
		"0 senders: want":                        func(c *Config) { c.Senders = 0 },
		"a rate of -1":                           func(c *Config) { c.Rate = -1 },
		"a rate of NaN":                          func(c *Config) { c.Rate = math.NaN() },
		"a rate of +Inf":                         func(c *Config) { c.Rate = math.Inf(1) },
		"a duration of 0s":                       func(c *Config) { c.Duration = 0 },
		"a duration of 2h0m0s":                   func(c *Config) { c.Duration = 2 * time.Hour },
		"0.5 datagrams a second are none in 1s":  func(c *Config) { c.Rate = 0.5 },
		"a flood has no rate, and 5 is one":      func(c *Config) { c.Rate, c.Flood = 5, true },
		"a window of -1":                         func(c *Config) { c.Window = -1 },
		"65 latency peers: want 0 to 64":         func(c *Config) { c.LatencyPeers = 65 },
		"keep-alives every -1ns: want 0s":        func(c *Config) { c.KeepAlive = -1 },
		"255.255.255.255 is no address of one h": func(c *Config) { c.Relay = netip.MustParseAddrPort("255.255.255.255:9") },
	} {
		c := good
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
