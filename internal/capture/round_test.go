package capture

import (
	"bytes"
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"udprelay/peers"
	"udprelay/relay"
)

// startRelay runs a relay at address, to which everyone may send.
func startRelay(t *testing.T, address string) *relay.Relay {
	t.Helper()
	at := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address))
	network := "udp4"
	if at.IP.To4() == nil {
		network = "udp"
	}
	conn, err := net.ListenUDP(network, at)
	if err != nil {
		t.Fatal(err)
	}
	everyone, err := peers.ParseFrom("any")
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(conn, relay.Options{Peers: peers.Options{
		Expiry: time.Hour,
		Access: []peers.Rule{{From: "any", Cover: everyone, May: peers.MayBoth}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the relay: %v", err)
		}
	})
	return r
}

// A pacedSender waits until what it sent was recorded, so that no buffer on the
// way decides what the test sees.
type pacedSender struct {
	*PlainSender
	t        *testing.T
	recorder *Recorder
}

func (s pacedSender) Send(p []byte) error {
	before := s.recorder.Stats().Passed
	if err := s.PlainSender.Send(p); err != nil {
		return err
	}
	await(s.t, "a datagram recorded", func() bool { return s.recorder.Stats().Passed > before })
	return nil
}

// throughRelay sends with send through a relay at address while it is recorded,
// and returns the recording.
func throughRelay(t *testing.T, address, to string, send func(*testing.T, func(context.Context) (Sender, error))) []byte {
	t.Helper()
	r := startRelay(t, address)
	recorder := newRecorder(t, Options{To: r.Addr(), Local: LocalOf(r)})
	var out bytes.Buffer
	stop := startStream(t, recorder, &out)
	attached := r.Attach(recorder)
	target := netip.AddrPortFrom(netip.MustParseAddr(to), r.Addr().Port()).String()
	send(t, func(ctx context.Context) (Sender, error) {
		s, err := DialPlain(ctx, target)
		return pacedSender{s, t, recorder}, err
	})
	attached.Detach()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if stats := recorder.Stats(); stats.Recorded != stats.Passed || stats.Dropped != 0 {
		t.Fatalf("want all recorded, got %+v", stats)
	}
	return out.Bytes()
}

func TestRecordReplayRecord(t *testing.T) {
	payloads := append(numbered(500), string(bytes.Repeat([]byte("big"), 65507/3)))
	for _, test := range []struct{ listen, to string }{{"127.0.0.1:0", "127.0.0.1"}, {"[::1]:0", "::1"}, {"[::]:0", "127.0.0.1"}} {
		t.Run(test.listen+" to "+test.to, func(t *testing.T) {
			first := throughRelay(t, test.listen, test.to, func(t *testing.T, dial func(context.Context) (Sender, error)) {
				s, err := dial(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				for _, p := range payloads {
					if err := s.Send([]byte(p)); err != nil {
						t.Fatal(err)
					}
				}
			})
			second := throughRelay(t, test.listen, test.to, func(t *testing.T, dial func(context.Context) (Sender, error)) {
				p := playerOf(first, nil)
				p.Dial = dial
				if got, err := p.Play(t.Context()); err != nil || got.Sent != uint64(len(payloads)) {
					t.Fatalf("want %d sent, got %+v, %v", len(payloads), got, err)
				}
			})
			for name, data := range map[string][]byte{"first": first, "second": second} {
				if got := played(t, name, bytes.NewReader(data)); !slices.Equal(got, payloads) {
					t.Errorf("the %s recording: want the %d payloads in their order, got %d others", name, len(payloads), len(got))
				}
				if lines := tshark(t, save(t, data), "-Y", "(ip.dst == "+v4(test.to)+" || ipv6.dst == ::1) && (udp.length > 8)"); len(lines) != len(payloads) {
					t.Errorf("the %s recording: want the relay's address in all, got it in %d", name, len(lines))
				}
			}
		})
	}
}

// v4 returns an address of IPv4, so that a filter can be written.
func v4(addr string) string {
	if netip.MustParseAddr(addr).Is4() {
		return addr
	}
	return "0.0.0.0"
}

// TestRealTiming plays to a real socket; it looks only at what must hold however
// slow the machine is: nothing leaves early.
func TestRealTiming(t *testing.T) {
	r := newRecorder(t, Options{To: relay4})
	const n = 50
	for i := range n {
		r.queue.add(&entry{payload: 1, stored: 1, from: origin4, at: int64(i) * int64(2*time.Millisecond)}, []byte("x"))
	}
	r.queue.publish()
	m := newMemory()
	p := playerOf(drained(t, r), m)
	p.Speed = 1
	got, err := p.Play(t.Context())
	if err != nil || got.Sent != n {
		t.Fatalf("want %d sent, got %+v, %v", n, got, err)
	}
	var late time.Duration
	for i, at := range m.at {
		after := at.Sub(m.at[0]) - time.Duration(i)*2*time.Millisecond
		if after < -got.Late-time.Millisecond {
			t.Errorf("datagram %d left %v early", i, -after)
		}
		late += after
	}
	t.Logf("late by %v on average, %v at most", late/n, got.Late)
}
