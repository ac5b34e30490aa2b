package relay

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/peers"
)

// A batch for very many peers takes seconds; who stops the relay should not
// have to wait for all of it.
func TestABatchForManyPeersDoesNotHoldUpTheStop(t *testing.T) {
	conn := listen(t, on4)
	r, err := New(conn, defaults())
	if err != nil {
		t.Fatal(err)
	}
	defer r.socket.close()
	var far []netip.AddrPort
	for port := range uint16(5 * maxMessages) {
		far = append(far, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), 1+port))
	}
	r.SetStatic(far)
	out := r.receiving.sender.(*trainSender)
	calls := 0
	out.sendmmsg = func(headers []mmsghdr) (int, unix.Errno) {
		if calls++; calls == 2 {
			r.socket.interrupt()
		}
		return len(headers), 0
	}
	b := newBatch()
	b.datagrams = append(b.datagrams, Datagram{Payload: []byte("x")})
	b.origins = append(b.origins, nil)
	err = r.relay(b, out, nil, new(tally))
	if !errors.Is(err, net.ErrClosed) || calls != 2 {
		t.Errorf("want net.ErrClosed after the call that was under way, the second; got %v after %d", err, calls)
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
			for deadline := time.Now().Add(patience); p == nil || p.Path.Source.Load() == nil; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("want the sender to become a peer with a source; it did not")
				}
				p = r.Peers().Lookup(client.LocalAddr().(*net.UDPAddr).AddrPort())
			}
			if got := p.Path.Source.Load().Addr; got != localhost4 {
				t.Errorf("want the peer to know the relay by %v; got %v", localhost4, got)
			}
		})
	}
}
