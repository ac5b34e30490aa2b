package bench

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"udprelay/internal/testwait"
)

func mustRun(t *testing.T, c Config) Result {
	t.Helper()
	r, err := Run(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTimeThatARelayHoldsDatagramsIsLatency(t *testing.T) {
	f := (&fake{hold: 20 * time.Millisecond}).start(t)
	r := mustRun(t, Config{Relay: f.addr, Peers: 5, Senders: 1, Rate: 200, Duration: 500 * time.Millisecond, LatencyPeers: 3})
	if r.Latency == nil || r.Latency.P50 < 20*time.Millisecond || r.Latency.Count != 300 {
		t.Errorf("want 300 latencies of 20 ms and more, got %+v", r.Latency)
	}
	if r.Sent != 100 || r.Delivered != 500 || r.Lost != 0 {
		t.Errorf("want 100 sent and 500 delivered, got %d, %d, %d lost", r.Sent, r.Delivered, r.Lost)
	}
}

// A relay that stands still for 200 ms makes late all that was to leave
// meanwhile, not only the datagram that it stood still at. At 1,000 a second, a
// half of those 200 are late by 100 ms and more.
func TestAStallMakesLateAllThatWasToLeaveMeanwhile(t *testing.T) {
	const stall = 200 * time.Millisecond
	f := (&fake{stall: func(number int) time.Duration {
		if number == 300 {
			return stall
		}
		return 0
	}}).start(t)
	r := mustRun(t, Config{Relay: f.addr, Peers: 4, Senders: 1, Rate: 1000, Duration: time.Second, LatencyPeers: 2})
	if r.Lost != 0 || r.Latency == nil || r.Latency.Count != 2*int64(r.Sent) {
		t.Fatalf("want the latency of all %d at two peers, got %+v, %d lost", r.Sent, r.Latency, r.Lost)
	}
	for name, pair := range map[string][2]time.Duration{
		"p90": {r.Latency.P90, stall / 2 * 8 / 10}, "p99": {r.Latency.P99, stall * 8 / 10},
		"p99.9": {r.Latency.P999, stall * 9 / 10}, "max": {r.Latency.Max, stall},
	} {
		if pair[0] < pair[1] {
			t.Errorf("%s: want %v or more, got %v", name, pair[1], pair[0])
		}
	}
}

func TestLossIsCountedExactly(t *testing.T) {
	tenth := func(number int) bool { return number%10 == 9 }
	for name, c := range map[string]Config{
		"at a rate":   {Peers: 5, Senders: 1, Rate: 1000, Duration: time.Second, LatencyPeers: 2},
		"two senders": {Peers: 5, Senders: 2, Rate: 1000, Duration: time.Second},
		"in a window": {Peers: 5, Senders: 1, Duration: 200 * time.Millisecond, LatencyPeers: 2},
	} {
		f := (&fake{lose: tenth}).start(t)
		c.Relay = f.addr
		r := mustRun(t, c)
		f.mu.Lock()
		lost, seen, speakers := uint64(f.lost), uint64(f.seen), len(f.speakers)
		f.mu.Unlock()
		due := uint64(c.Peers + c.Senders - 1)
		if r.Sent != seen || r.Due != seen*due || r.Lost != lost*due || r.Delivered != (seen-lost)*due {
			t.Errorf("%s: want %d sent, %d of them lost for each of %d; got %d sent, %d due, %d lost, %d delivered", name, seen, lost, due, r.Sent, r.Due, r.Lost, r.Delivered)
		}
		if speakers != c.Senders {
			t.Errorf("%s: want %d senders to take turns, got %d", name, c.Senders, speakers)
		}
		if c.Rate > 0 && (r.Sent != 1000 || r.LossRatio != 0.1) {
			t.Errorf("%s: want 1,000 sent and a tenth lost, got %d and %v", name, r.Sent, r.LossRatio)
		}
		if c.Rate == 0 && (r.Sent == 0 || r.Pace != "window" || r.Window != 124) {
			t.Errorf("%s: want datagrams sent in a window of 124, got %d, %s, %d", name, r.Sent, r.Pace, r.Window)
		}
	}
}

// A relay that swallows all for a time must not end what is sent in a window.
func TestAWindowGoesOnWhenAllThatIsUnderWayIsLost(t *testing.T) {
	f := (&fake{lose: func(number int) bool { return number < 600 }}).start(t)
	r := mustRun(t, Config{Relay: f.addr, Peers: 3, Senders: 1, Duration: time.Second})
	if r.Lost != 1800 || r.Delivered == 0 {
		t.Errorf("want 600 datagrams lost, and then others delivered, got %d deliveries lost, %d made", r.Lost, r.Delivered)
	}
}

func TestDatagramsThatComeTwiceAreNoGain(t *testing.T) {
	f := (&fake{twice: true}).start(t)
	r := mustRun(t, Config{Relay: f.addr, Peers: 2, Senders: 1, Rate: 100, Duration: 100 * time.Millisecond})
	if r.Lost != 0 || r.Surplus != r.Due || len(r.Notes) != 1 {
		t.Errorf("want as much surplus as was due and a note, got %d of %d, %q", r.Surplus, r.Due, r.Notes)
	}
}

func TestStaticReceiversSayNothing(t *testing.T) {
	var receivers []netip.AddrPort
	for range 4 {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		receivers = append(receivers, conn.LocalAddr().(*net.UDPAddr).AddrPort())
		conn.Close()
	}
	f := (&fake{only: slices.Clone(receivers)}).start(t)
	r := mustRun(t, Config{Relay: f.addr, Static: receivers, Senders: 2, Rate: 500, Duration: 200 * time.Millisecond, LatencyPeers: 2})
	if !r.Static || r.Peers != 4 || r.Sent != 100 || r.Delivered != 400 || r.Lost != 0 || r.Latency == nil || r.Latency.Count != 200 {
		t.Errorf("want 100 sent to each of 4 static receivers, got %+v", r)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.empties != 0 {
		t.Errorf("want no keep-alive, got %d", f.empties)
	}
}

// A relay that passes on empty datagrams does not ask for proofs by that.
func TestEmptyDatagramsOfAnOpenRelayMeanNothing(t *testing.T) {
	f := (&fake{empty: true}).start(t)
	r := mustRun(t, Config{Relay: f.addr, Open: true, Peers: 20, Senders: 2, Rate: 500, Duration: 200 * time.Millisecond})
	if r.Sent != 100 || r.Delivered != 2100 || r.Lost != 0 {
		t.Errorf("want 100 sent to each of 21, got %+v", r)
	}
}

func TestKeepAlivesGoOn(t *testing.T) {
	const want = 40
	f := (&fake{}).start(t)
	heard := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.empties
	}
	ctx, cancel := context.WithTimeout(t.Context(), testwait.Patience)
	defer cancel()
	joined := -1
	_, err := Run(ctx, Config{Relay: f.addr, Peers: 3, Senders: 1, Rate: 10, Duration: time.Hour, KeepAlive: 20 * time.Millisecond}, func(s Snapshot) {
		switch {
		case s.Phase == Sending && joined < 0:
			joined = heard()
		case s.Phase == Sending && heard() >= joined+want:
			cancel()
		}
	})
	if got := heard() - joined; err != nil || joined < 0 || got < want {
		t.Errorf("want %d keep-alives while it goes on, got %d, %v", want, got, err)
	}
}

func TestNobodyRelays(t *testing.T) {
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	closed := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	conn.Close()
	for name, test := range map[string]struct {
		relay   netip.AddrPort
		refused bool
	}{
		"nothing listens": {closed, true},
		"silence":         {(&fake{mute: true}).start(t).addr, false},
	} {
		_, err := Run(t.Context(), Config{Relay: test.relay, Peers: 3, Senders: 1, Rate: 100, Duration: time.Second}, nil)
		if none := (*NoRelayError)(nil); !errors.As(err, &none) || none.Refused != test.refused || none.Addr != test.relay {
			t.Errorf("%s: want no relay, refused %v; got %v", name, test.refused, err)
		}
	}
}

func TestItCanBeStoppedAtAnyTime(t *testing.T) {
	muted := (&fake{mute: true}).start(t)
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := Run(ctx, Config{Relay: muted.addr, Peers: 3, Senders: 1, Duration: time.Hour}, func(Snapshot) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("while peers join: want %v, got %v", context.Canceled, err)
	}
	for name, c := range map[string]Config{
		"rate":   {Rate: 100},
		"slowly": {Rate: 0.01},
		"window": {},
	} {
		f := (&fake{}).start(t)
		c.Relay, c.Peers, c.Senders, c.Duration = f.addr, 3, 1, time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		r, err := Run(ctx, c, func(s Snapshot) {
			if s.Phase == Sending && s.Sent > 0 {
				cancel()
			}
		})
		if err != nil || !r.Interrupted || r.Sent == 0 || r.Lost != 0 || r.Generator.Limit && name != "rate" { // it may be late on a busy machine
			t.Errorf("%s: want a result of what was sent, got %v, %+v", name, err, r)
		}
		cancel()
	}
}
