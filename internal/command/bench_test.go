package command

import (
	"bytes"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/internal/bench"
)

func TestBenchesThatMakeNoSense(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no port":            {[]string{"localhost"}, 64, "the port is missing"},
		"a late flag":        {[]string{"localhost:9000", "--json"}, 64, "flags go before HOST:PORT"},
		"two relays":         {[]string{"localhost:9000", "localhost:9001"}, 64, `unexpected argument "localhost:9001"`},
		"size":               {[]string{"--size", "15"}, 64, `--size 15: size "15": want 16 to 65507 bytes`},
		"a mix":              {[]string{"--size", "64:0,200:1"}, 64, `weight "0": want 1 to`},
		"peers":              {[]string{"--peers", "0"}, 64, "0 peers: want 1 to 100000"},
		"senders":            {[]string{"--senders", "-1"}, 64, "-1 senders: want 1 to"},
		"rate":               {[]string{"--rate", "-5"}, 64, "a rate of -5: want 0 to"},
		"rate, a word":       {[]string{"--rate", "fast"}, 64, `"fast"`},
		"duration":           {[]string{"--duration", "2h"}, 64, "a duration of 2h0m0s: want more than 0s, up to 1h0m0s"},
		"a flood at a rate":  {[]string{"--flood", "--rate", "5"}, 64, "a flood has no rate"},
		"latency peers":      {[]string{"--latency-peers", "100"}, 64, "100 latency peers: want 0 to 64"},
		"a pid of its own":   {[]string{"--pid", "1"}, 64, "--pid is for a relay that runs, at HOST:PORT"},
		"no pid":             {[]string{"--pid", "-1", "localhost:9000"}, 64, "--pid -1 is no process"},
		"no secret":          {[]string{"--secret-file", "", "localhost:9000"}, 64, "--secret-file names no file"},
		"a missing secret":   {[]string{"--secret-file", filepath.Join(t.TempDir(), "none"), "localhost:9000"}, 66, "no such file"},
		"the internet":       {[]string{"203.0.113.1:9000"}, 64, "hint: with the consent of those who run it, say --yes"},
		"the internet, IPv6": {[]string{"[2001:db8::1]:9000"}, 64, "2001:db8::1 is on the internet"},
		"receivers nowhere":  {[]string{"--receivers-at", "localhost", "localhost:9000"}, 64, "--receivers-at: "},
		"receivers apart":    {[]string{"--receivers-at", "localhost:9000"}, 64, "--receivers-at is for relays that run"},
		"receivers far away": {[]string{"--receivers-at", "203.0.113.1:9000", "127.0.0.1:9000"}, 64, "203.0.113.1 is on the internet"},
		"a multicast group":  {[]string{"--yes", "224.0.0.1:9000"}, 1, "224.0.0.1 is no address of one host"},
	} {
		got := runCommand(t, nil, append([]string{"bench"}, test.args...)...)
		if got.code != test.code || !strings.Contains(got.stderr, test.want) || got.stdout != "" {
			t.Errorf("%s: want code %d and %q, got %+v", name, test.code, test.want, got)
		}
	}
}

func TestEnvironmentOfTheRelayOfABenchHasNothingOfAnother(t *testing.T) {
	got := benchEnviron([]string{"PATH=/bin", "UDPRELAY_LISTEN=:1", "UDPRELAY_CONFIG=x", "NOTIFY_SOCKET=/run/x", "UDPRELAYS=2"})
	want := []string{"PATH=/bin", "UDPRELAYS=2", "UDPRELAY_PEERS_MAX_PER_ADDRESS=0", "UDPRELAY_PEERS_JOINS_PER_SECOND=0", "UDPRELAY_PEERS_JOINS_PER_SECOND_PER_ADDRESS=0"}
	if !slices.Equal(got, want) {
		t.Errorf("want %q, got %q", want, got)
	}
}

func TestLocalhostIsTheIPv4OneForABench(t *testing.T) {
	for address, want := range map[string]string{"127.0.0.1:7": "127.0.0.1:7", "[::1]:8": "[::1]:8", "localhost:9": "127.0.0.1:9", "[::ffff:127.0.0.2]:9": "127.0.0.2:9"} {
		if got, err := relayAddress(t.Context(), address); err != nil || got.String() != want {
			t.Errorf("%s: want %s, got %v, %v", address, want, got, err)
		}
	}
}

// fullResult has everything that a table shows.
func fullResult() *bench.Result {
	drops := uint64(294489)
	return &bench.Result{
		Relay: netip.MustParseAddrPort("127.0.0.1:9000"), Peers: 100, Senders: 3, Sizes: "64:50,200:30,1400:20", Pace: "rate", Rate: 2500.5, Seconds: 5.04,
		Interrupted: true, Sent: 12345, SentPerSecond: 2499.6, Due: 1259190, Delivered: 1133271, DeliveredPerSecond: 226654.2, Lost: 125919, LossRatio: 0.1,
		LeastDelivered: 11000, MostDelivered: 11112,
		Latency: &bench.Times{Count: 98760, P50: 317_000, P90: 567_000, P99: 2_500_000, P999: 99_960_000, Max: 5_520_000_000},
		Spread:  &bench.Times{Count: 12345, P50: 900, P90: 9_994, P99: 9_996, P999: 999_600, Max: 2_170_000},
		Generator: bench.Generator{ProcessorShare: 0.37, BenchSeconds: 2.5, Limit: true,
			Late: &bench.Times{Count: 12345, P50: 40_600, P90: 125_000, P99: 624_000, P999: 2_130_000, Max: 2_500_000}},
		Process: &bench.Process{PID: 4711, ProcessorSeconds: 0.6, PerDelivery: 521.4, Resident: 19_300_000, MostResident: 20_100_000, QueueDrops: &drops},
		Notes:   []string{"others send to this relay, too"},
	}
}

func TestTableOfABench(t *testing.T) {
	golden(t, "bench-full.txt", benchTable(fullResult(), false))
	window := &bench.Result{Relay: netip.MustParseAddrPort("127.0.0.1:40000"), Peers: 1, Senders: 1, Sizes: "200", Pace: "window", Window: 200, Seconds: 5, Sent: 100, Due: 100, Delivered: 100}
	golden(t, "bench-window.txt", benchTable(window, true))
}

func TestBarOfABench(t *testing.T) {
	var screen bytes.Buffer
	bar := &benchBar{to: &screen, duration: time.Second}
	bar.end() // of nothing
	if screen.Len() > 0 {
		t.Errorf("want nothing, got %q", &screen)
	}
	for _, s := range []bench.Snapshot{
		{Phase: bench.Joining, Joined: 37, Peers: 100},
		{Phase: bench.Joining, Joined: 100, Peers: 100},
		{Phase: bench.Sending, Elapsed: time.Second / 2, SentRate: 1234, DeliveredRate: 123_400},
		{Phase: bench.Draining, Elapsed: 2 * time.Second, Due: 1000, Came: 990},
	} {
		bar.show(s)
	}
	bar.end()
	rest := screen.String()
	for _, want := range []string{"37 of 100 peers joined", "100 of 100 peers joined", "\r\x1b[K", "in 1.23k/s, out 123k/s", "waiting for what is under way, 10", "\r\x1b[K"} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("want %q in %q, and the others before it", want, &screen)
		}
		rest = after
	}
	if rest != "" {
		t.Errorf("want the bar taken away, got %q", rest)
	}
}

func TestWarningsOfARelayAreKeptInBounds(t *testing.T) {
	var none *warnings
	if got := none.list(); got != nil {
		t.Errorf("want nothing, got %q", got)
	}
	var w warnings
	for _, line := range []string{"time=1 level=INFO msg=fine\n", "\n", "time=1 level=WARN msg=\x1b[31mbad\n"} {
		if n, err := w.Write([]byte(line)); n != len(line) || err != nil {
			t.Errorf("want all written, got %d, %v", n, err)
		}
	}
	if got := w.list(); !slices.Equal(got, []string{`time=1 level=WARN msg=\x1b[31mbad`}) {
		t.Errorf("want the warning, got %q", got)
	}
	for range 20 {
		_, _ = w.Write([]byte("level=ERROR msg=worse\n"))
	}
	if got := w.list(); len(got) != mostWarnings+1 || got[mostWarnings] != "... and 11 lines more" {
		t.Errorf("want %d and a count, got %q", mostWarnings, got)
	}
}
