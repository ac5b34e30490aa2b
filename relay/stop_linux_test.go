package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/peers"
)

// batchForMany returns a batch that takes a sender, which does not really send,
// at least five calls, and the relay for it.
func batchForMany(t *testing.T) (*Relay, *trainSender, *batch) {
	t.Helper()
	r := makeRelay(t, ways[0], on4, defaults())
	var far []netip.AddrPort
	for port := range uint16(5 * maxMessages) {
		far = append(far, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 100+port))
	}
	r.SetStatic(far)
	b := newBatch()
	b.datagrams = append(b.datagrams, Datagram{Payload: []byte("x")})
	b.origins = append(b.origins, nil)
	return r, r.receiving.sender.first.(*trainSender), b
}

// A stop in the middle of a batch cuts it off for nobody.
func TestABatchThatIsBeingSentIsSentWholeWhenTheRelayStops(t *testing.T) {
	r, out, b := batchForMany(t)
	calls := 0
	out.sendmmsg = func(headers []mmsghdr) (int, unix.Errno) {
		if calls++; calls == 2 {
			r.socket.interrupt(time.Now().Add(patience))
		}
		return len(headers), 0
	}
	link := newRecorder("link")
	r.Attach(link)
	if err := r.relay(b, out, nil, new(tally)); err != nil {
		t.Fatal(err)
	}
	if got := r.Stats().Delivered; got != 5*maxMessages {
		t.Errorf("want %d delivered; got %d", 5*maxMessages, got)
	}
	link.wants(t, "x")
	checkNoDrops(t, r)
	if err := r.step(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("want nothing received after a stop; got %v", err)
	}
}

// A batch for very many peers takes seconds; who stops the relay does not have
// to wait for all of it.
func TestABatchForManyPeersDoesNotHoldUpTheStopForLong(t *testing.T) {
	r, out, b := batchForMany(t)
	calls := 0
	out.sendmmsg = func(headers []mmsghdr) (int, unix.Errno) {
		if calls++; calls == 2 {
			r.socket.interrupt(time.Now())
		}
		return len(headers), 0
	}
	link := newRecorder("link")
	r.Attach(link)
	for range 2 { // the second has no time at all
		if err := r.relay(b, out, nil, new(tally)); err != nil {
			t.Fatal(err)
		}
		link.wants(t, "x")
	}
	s := r.Stats()
	const want = firstMessages + 2*firstMessages
	if s.Delivered != want || s.Dropped[DropStopped] != 10*maxMessages-want || calls != 2 {
		t.Errorf("want %d delivered in 2 calls, %d dropped as stopped; got %d calls, %s", want, 10*maxMessages-want, calls, show(s))
	}
}

func TestWhatIsBroadcastIsAnsweredFromTheRelaysAddress(t *testing.T) {
	for _, place := range []string{onAll, onAll4} {
		t.Run(place, func(t *testing.T) {
			r, err := New(listen(t, place), defaults())
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- r.Run(ctx) }()
			defer func() {
				cancel()
				<-ended
			}()
			client, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			// All of lo's network: 127.255.255.255.
			to := netip.AddrPortFrom(netip.MustParseAddr("127.255.255.255"), r.Addr().Port())
			if _, err := client.WriteToUDPAddrPort([]byte("x"), to); err != nil {
				t.Fatal(err)
			}
			var p *peers.Peer
			await(t, func() bool {
				p = r.Peers().Lookup(client.LocalAddr().(*net.UDPAddr).AddrPort())
				return p != nil && p.Path.Source.Load() != nil
			}, "want the sender to become a peer with a source; it did not")
			if got := p.Path.Source.Load().Addr; got != localhost4 {
				t.Errorf("want the peer to know the relay by %v; got %v", localhost4, got)
			}
		})
	}
}
