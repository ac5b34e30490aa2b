package relay

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"udprelay/internal/plainloop"
)

// BenchmarkFanOut has one peer speak to many, as fast as datagrams are taken.
// An operation is a datagram in. The receivers cost nothing, see [sink].
//
// Baseline is the loop of ReadFromUDP and WriteToUDP.
func BenchmarkFanOut(b *testing.B) {
	for _, w := range append(ways, way{name: "baseline"}) {
		for _, with := range []struct{ peers, size int }{{100, 200}, {100, 1400}, {1000, 200}} {
			b.Run(fmt.Sprintf("%s/peers=%d/size=%d", w.name, with.peers, with.size), func(b *testing.B) {
				sinks := newSinks(b, "127.0.0.1", with.peers)
				to := benchServer(b, w)
				for _, s := range sinks { // become peers
					if _, err := s.conn.WriteToUDPAddrPort(nil, to); err != nil {
						b.Fatal(err)
					}
				}
				fanOut(b, newClient(b, to), sinks, bytes.Repeat([]byte{'x'}, with.size))
			})
		}
	}
}

// benchServer starts what is to be measured and returns its address.
func benchServer(b *testing.B, w way) netip.AddrPort {
	if w.make != nil {
		return startRelay(b, w, on4, defaults()).Addr()
	}
	conn := listen(b, on4)
	roomFor(b, conn, 8<<20)
	served := make(chan struct{})
	go func() { defer close(served); plainloop.Serve(conn) }()
	b.Cleanup(func() { conn.Close(); <-served })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// window is how many datagrams may be under way to the relay: enough that it
// never waits, few enough for its receive buffer.
const window = 512

// fanOut sends b.N datagrams and waits until all sinks have got them.
func fanOut(b *testing.B, speaker *client, sinks []*sink, payload []byte) {
	begin := make([]uint32, len(sinks))
	got := func(i int) int { return int(sinks[i].count() - begin[i]) }
	send := func(count int) {
		for i, s := range sinks {
			begin[i] = s.count()
		}
		for sent := 0; sent < count; sent++ {
			if sent%(window/2) == 0 {
				awaitCount(b, func() int { return got(len(sinks) - 1) }, sent-window/2)
			}
			if _, err := speaker.conn.Write(payload); err != nil {
				b.Fatal(err)
			}
		}
		for i := range sinks {
			awaitCount(b, func() int { return got(i) }, count)
		}
	}
	// What the sinks joined with is relayed by the baseline: have it gone.
	send(window)
	await(b, func() bool {
		before := sinks[0].count()
		time.Sleep(20 * time.Millisecond)
		return sinks[0].count() == before
	}, "want the sinks to come to rest")

	b.ResetTimer()
	send(b.N)
	b.StopTimer()
	for i := range sinks {
		if n := got(i); n != b.N {
			b.Fatalf("want %d datagrams at sink %d; got %d", b.N, i, n)
		}
	}
	delivered := float64(b.N) * float64(len(sinks))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/delivered, "ns/delivered")
	b.ReportMetric(delivered/b.Elapsed().Seconds(), "delivered/s")
}

// awaitCount waits until count has reached want.
func awaitCount(b *testing.B, count func() int, want int) {
	for began := time.Now(); count() < want; time.Sleep(50 * time.Microsecond) {
		if time.Since(began) > patience {
			b.Fatalf("want %d datagrams; got %d and no more for %v", want, count(), patience)
		}
	}
}
