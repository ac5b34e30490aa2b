package bench

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"udprelay/internal/client"
	"udprelay/internal/programtest"
)

// startRelay starts udprelay serve, without limits for peers but those of flags
// and environ.
func startRelay(t *testing.T, environ []string, flags ...string) *Relay {
	t.Helper()
	command := append([]string{programtest.Program(t), "serve", "--listen", "127.0.0.1:0", "--admin-socket", "none", "--admin-http", "none", "--state-file", "none"}, flags...)
	environ = append([]string{"UDPRELAY_PEERS_MAX_PER_ADDRESS=0", "UDPRELAY_PEERS_JOINS_PER_SECOND=0", "UDPRELAY_PEERS_JOINS_PER_SECOND_PER_ADDRESS=0"}, environ...)
	r, err := Start(t.Context(), nil, command, environ)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
	})
	return r
}

func TestCountsOfARealRelayAreExact(t *testing.T) {
	relay := startRelay(t, nil)
	var phases []Phase
	r, err := Run(t.Context(), Config{
		Relay: relay.Addr, PID: relay.PID, Peers: 20, Senders: 3, Rate: 500, Duration: time.Second, LatencyPeers: 4,
	}, func(s Snapshot) {
		phases = append(phases, s.Phase)
		if s.Phase == Sending && (s.Joined != 23 || s.Peers != 23) {
			t.Errorf("want all 23 joined, got %+v", s)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent != 500 || r.SentBytes != 500*200 || r.Due != 500*22 || r.Delivered != r.Due || r.Lost != 0 || r.Surplus != 0 || r.LossRatio != 0 {
		t.Errorf("want 500 datagrams, each delivered to 22, got %+v", r)
	}
	if r.LeastDelivered != 500 || r.MostDelivered != 500 || r.Foreign != 0 || r.Refused != 0 || len(r.Notes) != 0 || r.Interrupted {
		t.Errorf("want 500 for each receiver and nothing else, got %+v", r)
	}
	wantOrder(t, "latency", r.Latency, 2000)
	wantOrder(t, "spread", r.Spread, 500)
	wantOrder(t, "late", r.Generator.Late, 500)
	if r.Seconds < 1 || r.SentPerSecond > 500 || r.Generator.ProcessorSeconds <= 0 || r.Generator.BenchSeconds < r.Generator.ProcessorSeconds {
		t.Errorf("want times of a second that are plausible, got %+v", r)
	}
	p := r.Process
	if p == nil || p.PID != relay.PID || p.PerDelivery < 50 || p.ProcessorSeconds <= 0 || p.Resident < 1<<20 || p.MostResident < p.Resident || p.QueueDrops == nil || *p.QueueDrops != 0 {
		t.Errorf("want the relay's process measured, got %+v", p)
	}
	if len(phases) < 2 || phases[0] != Joining || phases[len(phases)-1] == Joining {
		t.Errorf("want progress, got %v", phases)
	}
}

func wantOrder(t *testing.T, what string, got *Times, count int64) {
	t.Helper()
	if got == nil || got.Count != count || got.P50 <= 0 || got.P50 > got.P90 || got.P90 > got.P99 || got.P99 > got.P999 || got.P999 > got.Max || got.Max > time.Minute {
		t.Errorf("%s: want %d times, the quantiles in order, got %+v", what, count, got)
	}
}

func TestAllPacesAddUp(t *testing.T) {
	defer func(before time.Duration) { overtime = before }(overtime)
	overtime = 0 // so that the generator has no time for a rate that is too high
	mix, err := ParseMix("16:3,40-400,1400")
	if err != nil {
		t.Fatal(err)
	}
	long, err := ParseMix("65507")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"window":          {Peers: 10, Senders: 2, LatencyPeers: 3},
		"window, trains":  {Peers: 10, Senders: 1, Trains: true},
		"one receiver":    {Peers: 1, Senders: 1, LatencyPeers: 8},
		"flood, trains":   {Peers: 10, Senders: 1, Flood: true, Trains: true},
		"flood, a mix":    {Peers: 10, Senders: 3, Flood: true, Mix: mix, LatencyPeers: 2},
		"trains, a mix":   {Peers: 10, Senders: 3, Trains: true, Mix: mix},
		"a rate too high": {Peers: 2, Senders: 1, Rate: MostRate},
		"long datagrams":  {Peers: 2, Senders: 2, Mix: long, LatencyPeers: 1},
	} {
		relay := startRelay(t, nil)
		c.Relay, c.PID, c.Duration = relay.Addr, relay.PID, 200*time.Millisecond
		r := mustRun(t, c)
		if r.Sent == 0 || r.Delivered == 0 || r.Due != r.Sent*uint64(c.Peers+c.Senders-1) || r.Delivered+r.Lost != r.Due || r.Surplus != 0 {
			t.Errorf("%s: want delivered and lost to be what was due, got %+v", name, r)
		}
		if shortest := r.SentBytes / r.Sent; shortest < LeastSize || shortest > MostSize {
			t.Errorf("%s: want sizes that can be, got %d bytes for %d", name, r.SentBytes, r.Sent)
		}
		if c.Rate == MostRate && !r.Generator.Limit {
			t.Errorf("%s: want the generator to be the limit, got %+v", name, r.Generator)
		}
		if c.LatencyPeers > 0 && c.Peers > 2 && (r.Latency == nil || r.LatencyPeers != c.LatencyPeers) {
			t.Errorf("%s: want latency of %d peers, got %+v of %d", name, c.LatencyPeers, r.Latency, r.LatencyPeers)
		}
		if r.LatencyPeers == 0 && r.Latency != nil {
			t.Errorf("%s: want no latency, got %+v", name, r.Latency)
		}
	}
}

// Receivers at another node of a cluster get all that senders say.
func TestReceiversAtAnotherNode(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	route := free.Addr().String()
	free.Close()
	a := startRelay(t, []string{"UDPRELAY_CLUSTER_LISTEN=" + route})
	b := startRelay(t, []string{"UDPRELAY_CLUSTER_ROUTES=" + route})
	r, err := Run(t.Context(), Config{
		Relay: a.Addr, ReceiversAt: b.Addr, Peers: 20, Senders: 3, Rate: 500, Duration: time.Second, LatencyPeers: 4,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Sent != 500 || r.Due != 500*22 || r.Delivered != r.Due || r.Lost != 0 || r.Surplus != 0 {
		t.Errorf("want 500 datagrams, each delivered to 22, got %+v", r)
	}
	wantOrder(t, "latency", r.Latency, 2000)
	bad := Config{Relay: a.Addr, ReceiversAt: netip.MustParseAddrPort("0.0.0.0:9"), Peers: 1, Senders: 1, Duration: time.Second}
	if err := bad.Check(); err == nil || !strings.Contains(err.Error(), "0.0.0.0 is no address of one host") {
		t.Errorf("want it refused; got %v", err)
	}
}

func TestWhatOthersSendIsToldApart(t *testing.T) {
	relay := startRelay(t, nil)
	other, err := client.Dial(t.Context(), relay.Addr.String(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	const count = 7
	said := false
	r, err := Run(t.Context(), Config{Relay: relay.Addr, Peers: 5, Senders: 1, Rate: 100, Duration: time.Second, LatencyPeers: 1}, func(s Snapshot) {
		for range count {
			if s.Phase == Sending && !said {
				if err := other.Send([]byte("what somebody else has to say")); err != nil {
					t.Error(err)
				}
			}
		}
		said = said || s.Phase == Sending
	})
	if err != nil || r.Foreign != count || r.Delivered != 500 || r.Lost != 0 || r.Surplus != 0 || len(r.Notes) != 1 {
		t.Errorf("want 500 delivered and %d others, with a note, got %+v, %v", count, r, err)
	}
}

func TestARelayThatLetsInOnlySome(t *testing.T) {
	relay := startRelay(t, []string{"UDPRELAY_PEERS_MAX=5"})
	_, err := Run(t.Context(), Config{Relay: relay.Addr, Peers: 10, Senders: 1, Rate: 100, Duration: time.Second}, nil)
	if some := (*JoinError)(nil); !errors.As(err, &some) || some.Joined != 4 || some.Peers != 10 {
		t.Errorf("want 4 of 10 receivers to join, besides the sender; got %v", err)
	}
}

func TestPeersProveThemselves(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, secret, 0o600); err != nil {
		t.Fatal(err)
	}
	cookie := startRelay(t, nil, "--allow", "loopback=cookie")
	secretive := startRelay(t, nil, "--allow", "loopback=secret", "--secret-file", file)
	for _, test := range []struct {
		name   string
		relay  *Relay
		secret []byte
		in     bool
	}{
		{"a cookie", cookie, nil, true},
		{"a cookie, with a secret", cookie, secret, true},
		{"a secret", secretive, secret, true},
		{"no secret", secretive, nil, false},
		{"another secret", secretive, []byte("fedcba9876543210fedcba9876543210"), false},
	} {
		r, err := Run(t.Context(), Config{Relay: test.relay.Addr, Peers: 3, Senders: 2, Rate: 100, Duration: 100 * time.Millisecond, Secret: test.secret}, nil)
		wrong := (*client.ProofError)(nil)
		switch {
		case test.in && (err != nil || r.Delivered != 40 || r.Lost != 0):
			t.Errorf("%s: want all delivered, got %d and %d lost, %v", test.name, r.Delivered, r.Lost, err)
		case !test.in && (!errors.As(err, &wrong) || !wrong.Refused || wrong.Secret != (test.secret != nil)):
			t.Errorf("%s: want a refused proof, got %v", test.name, err)
		}
	}
}

func TestARelayThatDiesMeanwhile(t *testing.T) {
	relay := startRelay(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := Run(ctx, Config{Relay: relay.Addr, PID: relay.PID, Peers: 3, Senders: 1, Rate: 100, Duration: time.Hour}, func(s Snapshot) {
		if s.Phase == Sending && ctx.Err() == nil {
			relay.process.Signal(syscall.SIGTERM)
			<-relay.Done
			cancel()
		}
	})
	if err != nil || !r.Interrupted || r.Process != nil || !strings.Contains(strings.Join(r.Notes, "\n"), "the relay has ended meanwhile") {
		t.Errorf("want a result that says so, got %+v, %v", r, err)
	}
}

func TestRelaysThatDoNotStart(t *testing.T) {
	_, err := Start(t.Context(), nil, []string{programtest.Program(t), "serve", "--nix"}, nil)
	if failure := (*StartError)(nil); !errors.As(err, &failure) || !strings.Contains(failure.Said, "unknown flag --nix") {
		t.Errorf("want what it said, got %v", err)
	}
	if _, err = Start(t.Context(), nil, []string{filepath.Join(t.TempDir(), "none")}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("want %v, got %v", os.ErrNotExist, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = Start(ctx, nil, []string{"sleep", "1000"}, os.Environ()); !errors.Is(err, context.Canceled) {
		t.Errorf("want %v, got %v", context.Canceled, err)
	}
}

func TestWhatARelaySaysAfterItsStartIsPassedOn(t *testing.T) {
	var log bytes.Buffer
	r, err := Start(t.Context(), &log, []string{"sh", "-c", "echo level=INFO msg=listening address='[::]:7' >&2; echo more >&2; exit 3"}, os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	if want := netip.MustParseAddrPort("127.0.0.1:7"); r.Addr != want {
		t.Errorf("want %v, where [::] is reached, got %v", want, r.Addr)
	}
	<-r.Done
	if err := r.Stop(); err == nil || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("want why it has ended, got %v", err)
	}
	if got := log.String(); got != "more\n" {
		t.Errorf("want what it said, got %q", got)
	}
}
