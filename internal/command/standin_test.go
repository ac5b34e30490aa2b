package command

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"udprelay/internal/admin"
)

// A relayOf is a relay that tells what a test has put into it.
type relayOf struct {
	admin.Source // for what is not asked of it
	status       admin.Status
	peers        []*admin.Peer
	bans         admin.BanList
	why          admin.Why
	control      admin.Control // nil: answering
	asked        atomic.Int64  // for the status or the peers

	others map[string]func(admin.Query) (admin.PeerPage, error) // nodes of its cluster, by ID

	mu    sync.Mutex
	after func([]*admin.Peer) []*admin.Peer // what becomes of the peers when they are told
}

func (r *relayOf) Status() admin.Status {
	status := r.status
	status.Counters.Received += uint64(r.asked.Add(1))
	return status
}

func (r *relayOf) Peers(offset, limit int) ([]*admin.Peer, int) {
	r.asked.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.peers)
	if r.after != nil {
		r.peers = r.after(r.peers)
	}
	from := all[min(offset, len(all)):]
	return from[:min(limit, len(from))], len(all)
}

func (r *relayOf) ClusterPeers(_ context.Context, node string, query admin.Query) (admin.PeerPage, error) {
	ask := r.others[node]
	if ask == nil {
		return admin.PeerPage{}, &admin.Failure{Message: "there is no node " + node, Code: 1}
	}
	return ask(query)
}

func (r *relayOf) Bans() admin.BanList { return r.bans }

func (r *relayOf) Why(netip.AddrPort) admin.Why { return r.why }

// stand has r answer at socket until stop, or the test, ends it.
func stand(t *testing.T, socket string, r *relayOf) (stop func()) {
	t.Helper()
	listener, err := admin.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	if r.control == nil {
		r.control = answering{}
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() {
		served <- admin.Serve(ctx, listener, r, r.control, slog.New(slog.DiscardHandler))
	}()
	stopped := false
	stop = func() {
		if cancel(); !stopped {
			stopped = true
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// runCommand runs a command that leaves its input alone.
func runCommand(t *testing.T, environ []string, args ...string) outcome {
	t.Helper()
	defaults, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := Run(append([]string{"udprelay"}, args...), World{
		Stdin:         failing{t},
		Stdout:        &stdout,
		Stderr:        &stderr,
		Environ:       environ,
		DefaultConfig: defaults,
	})
	return outcome{code, stdout.String(), stderr.String()}
}

var update = flag.Bool("update", false, "write the files of testdata anew")

// golden compares lines with a file of testdata.
func golden(t *testing.T, name string, lines []string) {
	t.Helper()
	name = filepath.Join("testdata", name)
	got := strings.Join(lines, "\n") + "\n"
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// noon is when the relays of tests say what they do.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// before returns a time before noon as peers tell it.
func before(d time.Duration) *admin.Time { return &admin.Time{Time: noon.Add(-d)} }

// busyStatus is that of a relay that has seen everything.
func busyStatus() admin.Status {
	return admin.Status{
		Version: "1.2.3", Started: *before(51*time.Hour + 50*time.Second), Now: *before(0), Uptime: admin.Seconds{Duration: 51*time.Hour + 50*time.Second},
		Listen: "[::]:9000", Way: "sendmmsg, in trains of up to 64 datagrams (UDP_SEGMENT)", Ready: true,
		Peers: admin.PeerCount{Learned: 1234, Static: 2, Receivers: 1230, Max: 10000, Quarantined: 3, Banned: 1, Senders: 5},
		Counters: admin.Counters{
			Received: 1234567, ReceivedBytes: 1234567890, KeepAlives: 34560, Relayed: 1200000,
			Delivered: 14400000, DeliveredBytes: 14400000000, Answers: 12, AnswerBytes: 1200, StrayErrors: 4, Joined: 1300, Left: 66,
		},
		Drops: map[string]uint64{"rule": 7, "table_full": 0, "receive_queue_full": 1234567890, "no_buffer": 1500, "gone_wild": 3},
		Rules: []admin.Rule{
			{From: "loopback", May: "both", Join: "open", Peers: 3},
			{From: "203.0.113.0/24", May: "nothing", Refused: 1500},
			{From: "any", May: "both", Join: "cookie", Refused: 7},
			{From: "", May: "nothing", Refused: 2},
		},
		Rates:   admin.Rates{Received: 1234.5, ReceivedBytes: 1234567, Delivered: 14800, DeliveredBytes: 12.3e6, Dropped: 0.02},
		Talks:   []admin.Talk{{A: netip.MustParseAddrPort("192.0.2.7:50001"), B: netip.MustParseAddrPort("192.0.2.19:50001"), PerSecond: 47123}},
		Buffers: admin.Buffers{Receive: 8 << 20, ReceiveUsed: 1536, Send: 16 << 20},
		State: admin.State{File: "/var/lib/udprelay/peers", Failing: admin.Seconds{Duration: 4 * time.Minute},
			Error: "save peers to /var/lib/udprelay/peers: no space left on device", Hint: "make room on the file system of /var/lib/udprelay"},
		Gateway: admin.Gateway{
			Listeners:   []admin.GatewayListener{{Transport: "tcp", Listen: "[::]:9000", Clients: 11}, {Transport: "wss", Listen: "192.0.2.1:9443", Clients: 1}},
			Connections: 13, Limit: 1000, Accepted: 1713,
			Ended: map[string]uint64{"left": 40, "stuck": 2, "not_let_in": 1500, "bad_proof": 158, "too_many": 0},
		},
	}
}

// somePeers are peers of every kind.
func somePeers() []admin.Peer {
	return []admin.Peer{
		{Address: netip.MustParseAddrPort("192.0.2.1:2055"), Static: true, Name: "collector.example:2055", May: "both", JoinedBy: "static",
			Joined: *before(51 * time.Hour), State: "quarantined", Delivered: 1234567, DeliveredBytes: 1234567890,
			Dropped: map[string]uint64{"quarantined": 1500, "no_buffer": 3, "too_big": 3}, DroppedTotal: 1506},
		{Address: netip.MustParseAddrPort("203.0.113.200:40000"), Static: true, Name: "203.0.113.200:40000", May: "receive", JoinedBy: "static",
			Joined: *before(51 * time.Hour), Heard: before(26 * time.Hour), State: "ok", Received: 1, ReceivedBytes: 40, Delivered: 999, DeliveredBytes: 40999},
		{Address: netip.MustParseAddrPort("192.0.2.7:50001"), May: "both", JoinedBy: "open", Joined: *before(90 * time.Minute), Heard: before(3 * time.Second), Expires: before(-57 * time.Second),
			State: "ok", Received: 12345, ReceivedBytes: 1234500, Delivered: 1000, DeliveredBytes: 999500,
			ReceivedRate: 1234, ReceivedBytesRate: 123400, DeliveredRate: 0.02, DeliveredBytesRate: 12.34},
		{Address: netip.MustParseAddrPort("[2001:db8::7]:50001"), May: "both", JoinedBy: "cookie", Joined: *before(50 * time.Second), Heard: before(49 * time.Second), Expires: before(-11 * time.Second),
			State: "silent", ReceivedRate: 5.55, DeliveredRate: 99.96},
		{Address: netip.MustParseAddrPort("192.0.2.7:50001"), Transport: "tcp", May: "both", JoinedBy: "connection", Joined: *before(70 * time.Second), Heard: before(69 * time.Second),
			State: "failing", Delivered: 2000, DeliveredBytes: 400000, DeliveredRate: 20, Dropped: map[string]uint64{"queue_full": 70}, DroppedTotal: 70},
	}
}
