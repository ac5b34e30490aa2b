package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"udprelay/internal/config"
	"udprelay/internal/dnstest"
	"udprelay/internal/state"
	"udprelay/internal/testwait"
	"udprelay/peers"
	"udprelay/relay"
)

// A setting is a relay that runs, with static peers that a zone resolves.
type setting struct {
	*static
	zone  *dnstest.Zone
	relay *relay.Relay
	log   *lockedBuffer
	noted []state.Name // the addresses that names have
}

func newSetting(t *testing.T, listenOn string, static ...string) *setting {
	s := &setting{zone: dnstest.New(t), log: new(lockedBuffer)}
	wanted, err := parseWanted(t.Context(), listenOn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := wanted.listen()
	if err != nil {
		t.Fatal(err)
	}
	loopback, _ := peers.ParseFrom("loopback")
	s.relay, err = relay.New(conn, relay.Options{Peers: peers.Options{
		Expiry: time.Minute, Access: []peers.Rule{{Cover: loopback, May: peers.MayBoth}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.relay.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	cfg := new(config.Config)
	for _, address := range static {
		cfg.Peers.Static = append(cfg.Peers.Static, config.StaticPeer{Address: address})
	}
	s.static = newStatic(cfg, s.relay, s.zone.Resolver(), slog.New(slog.NewTextHandler(s.log, nil)), func(names []state.Name) { s.noted = names }, nil)
	return s
}

// want checks the static peers of the relay.
func (s *setting) want(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.addresses()); diff != "" {
		t.Fatalf("static peers (-want +got):\n%s", diff)
	}
}

func (s *setting) addresses() (got []string) {
	for _, p := range s.relay.Peers().Peers() {
		if p.Static() {
			got = append(got, p.Addr().String())
		}
	}
	slices.Sort(got)
	return got
}

func (s *setting) resolveAll(t *testing.T) { s.resolve(t.Context(), s.names()) }

func TestANameBecomesOneStaticPeer(t *testing.T) {
	s := newSetting(t, ":0", "collector.example:2055", "127.0.0.1:9")
	s.want(t, "127.0.0.1:9")
	s.zone.Set("collector.example", "127.0.0.7", "127.0.0.8", "::1")
	s.resolveAll(t)
	got := s.addresses()
	if len(got) != 2 || !strings.HasSuffix(got[1], ":2055") && !strings.HasSuffix(got[0], ":2055") {
		t.Errorf("static peers %v, want 127.0.0.1:9 and one address of collector.example", got)
	}
}

func TestANameYieldsAddressesThatTheSocketCanReach(t *testing.T) {
	for listenOn, want := range map[string]string{"127.0.0.1:0": "127.0.0.7:2055", "[::1]:0": "[::1]:2055"} {
		s := newSetting(t, listenOn, "collector.example:2055")
		s.zone.Set("collector.example", "::1", "127.0.0.7")
		s.resolveAll(t)
		s.want(t, want)
	}
}

func TestAStaticPeerFollowsItsName(t *testing.T) {
	s := newSetting(t, "127.0.0.1:0", "collector.example:2055")
	s.zone.Set("collector.example", "127.0.0.7")
	s.resolveAll(t)
	s.want(t, "127.0.0.7:2055")
	s.zone.Set("collector.example", "127.0.0.8")
	s.resolveAll(t)
	s.want(t, "127.0.0.8:2055")
}

func TestAnotherOrderOfAddressesChangesNothing(t *testing.T) {
	s := newSetting(t, "127.0.0.1:0", "collector.example:2055")
	s.zone.Set("collector.example", "127.0.0.8")
	s.resolveAll(t)
	for _, order := range [][]string{{"127.0.0.7", "127.0.0.8"}, {"127.0.0.8", "127.0.0.7"}, {"127.0.0.9", "127.0.0.7", "127.0.0.8"}} {
		s.zone.Set("collector.example", order...)
		s.resolveAll(t)
		s.want(t, "127.0.0.8:2055")
	}
}

func TestANameThatFailsKeepsItsAddressAndIsSaidOnce(t *testing.T) {
	s := newSetting(t, "127.0.0.1:0", "collector.example:2055", "never.example:1")
	s.zone.Set("collector.example", "127.0.0.7")
	s.resolveAll(t)
	s.zone.Set("collector.example")
	for range 3 {
		s.resolveAll(t)
		s.want(t, "127.0.0.7:2055")
	}
	for text, want := range map[string]int{
		`peer=collector.example:2055 error="lookup collector.example`: 1,
		`meanwhile="sending to 127.0.0.7:2055"`:                       1,
		`peer=never.example:1 error="lookup never.example`:            1,
		`meanwhile="not sending to it"`:                               1,
	} {
		if got := strings.Count(s.log.String(), text); got != want {
			t.Errorf("the log says %q %d times, want %d:\n%s", text, got, want, s.log)
		}
	}
	// When it resolves again and fails again, that is news.
	s.zone.Set("collector.example", "127.0.0.9")
	s.resolveAll(t)
	s.want(t, "127.0.0.9:2055")
	s.zone.Set("collector.example")
	s.resolveAll(t)
	if got := strings.Count(s.log.String(), `peer=collector.example:2055 error=`); got != 2 {
		t.Errorf("the log says %d times that collector.example fails, want 2:\n%s", got, s.log)
	}
}

func TestNamesAreLookedUpAgain(t *testing.T) {
	s := newSetting(t, "127.0.0.1:0", "collector.example:2055")
	s.every = time.Millisecond
	s.zone.Set("collector.example", "127.0.0.7")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx, make(chan struct{})) })
	s.await(t, "127.0.0.7:2055")
	s.zone.Set("collector.example", "127.0.0.8")
	s.await(t, "127.0.0.8:2055")
	cancel()
	running.Wait()
}

func TestASilentNameServerHoldsUpNobody(t *testing.T) {
	s := newSetting(t, "127.0.0.1:0", "dead.example:1", "collector.example:2055")
	s.zone.Silence("dead.example")
	s.zone.Set("collector.example", "127.0.0.7")
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx, make(chan struct{})) })
	testwait.Until(t, func() bool { return s.zone.Questions("dead.example") > 0 }, "want a question about dead.example")
	s.await(t, "127.0.0.7:2055") // another name
	var clients [2]*net.UDPConn  // and the datapath
	for i := range clients {
		conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(s.relay.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		clients[i] = conn
	}
	clients[0].Write(nil)
	clients[1].Write([]byte("relayed"))
	clients[0].SetReadDeadline(time.Now().Add(testwait.Patience))
	got := make([]byte, 10)
	n, err := clients[0].Read(got)
	if err != nil || string(got[:n]) != "relayed" {
		t.Errorf("received %q, %v beside a look-up that hangs, want \"relayed\"", got[:n], err)
	}
	cancel()
	running.Wait()
	if strings.Contains(s.log.String(), "dead.example") {
		t.Errorf("a look-up that was cut short by the end is no failure, but the log says:\n%s", s.log)
	}
}

func TestTheRelayIsNoStaticPeerOfItselfAndThatIsSaidOnce(t *testing.T) {
	s := newSetting(t, "127.0.0.1:0", "self.example:1", "127.0.0.1:9")
	self := s.relay.Addr()
	s.zone.Set("self.example", self.Addr().String())
	s.entries[0].port = self.Port()
	for range 3 {
		s.resolveAll(t)
		s.apply()
		s.want(t, "127.0.0.1:9")
	}
	if got := strings.Count(s.log.String(), `msg="static peer passed over`); got != 1 {
		t.Errorf("want the log to say once that the peer was passed over, got %d times:\n%s", got, s.log)
	}
}

func TestAStaticPeerWaitsForItsInterface(t *testing.T) {
	s := newSetting(t, ":0", "[fe80::1%nosuch0]:9", "127.0.0.1:9")
	s.want(t, "127.0.0.1:9")
	if !strings.Contains(s.log.String(), `peer=[fe80::1%nosuch0]:9`) {
		t.Errorf("want the log to name the peer that was passed over, got:\n%s", s.log)
	}
	s.entries[0].addr = netip.MustParseAddrPort("[fe80::1%lo]:9") // lo is there
	s.apply()
	s.want(t, "127.0.0.1:9", "[fe80::1%1]:9")
}

// await waits until the relay has just these static peers.
func (s *setting) await(t *testing.T, want ...string) {
	t.Helper()
	testwait.Until(t, func() bool { return slices.Equal(s.addresses(), want) }, func() string {
		return fmt.Sprintf("want static peers %v, got %v", want, s.addresses())
	})
}
