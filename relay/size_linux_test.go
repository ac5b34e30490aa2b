package relay

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/ipv4"

	"udprelay/peers"
)

// A crowd is a socket that speaks from many addresses of loopback, as if each
// were a sender of its own.
type crowd struct {
	conn *ipv4.PacketConn
	port uint16
	to   net.Addr
	all  []ipv4.Message // one for each, empty datagrams
}

func newCrowd(t testing.TB, to netip.AddrPort, count int) *crowd {
	t.Helper()
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &crowd{conn: ipv4.NewPacketConn(conn), port: uint16(conn.LocalAddr().(*net.UDPAddr).Port), to: net.UDPAddrFromAddrPort(to)}
	for i := range count {
		control := (&ipv4.ControlMessage{Src: c.addr(i).Addr().AsSlice()}).Marshal()
		c.all = append(c.all, ipv4.Message{Buffers: [][]byte{nil}, OOB: control, Addr: c.to})
	}
	return c
}

// addr returns the address of sender i.
func (c *crowd) addr(i int) netip.AddrPort {
	i += 1<<16 + 2 // none that others use
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(i >> 16), byte(i >> 8), byte(i)}), c.port)
}

// say has senders from one to before another say payload, as fast as they can.
func (c *crowd) say(t testing.TB, from, to int, payload []byte) {
	t.Helper()
	for i := from; i < to; i++ {
		c.all[i].Buffers[0] = payload
	}
	for from < to {
		n, err := c.conn.WriteBatch(c.all[from:min(from+256, to)], 0)
		if err != nil {
			t.Fatal(err)
		}
		from += n
	}
}

// join makes all of them peers of r, no more than its receive buffer holds at a
// time.
func (c *crowd) join(t testing.TB, r *Relay) {
	t.Helper()
	const window = 4096
	for from := 0; from < len(c.all); from += window / 2 {
		awaitLearned(t, r, from-window/2)
		c.say(t, from, min(from+window/2, len(c.all)), nil)
	}
	awaitLearned(t, r, len(c.all))
}

// awaitLearned waits until r has so many learned peers.
func awaitLearned(t testing.TB, r *Relay, want int) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(50 * time.Microsecond) {
		learned, _ := r.Peers().Counts()
		if learned >= want {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("want %d learned peers; got %d and no more for %v", want, learned, patience)
		}
	}
}

const hundredThousand = 100_000

// A hundred thousand peers join, are listed and kept, each is still known, and
// they go when they are silent.
func TestAHundredThousandPeers(t *testing.T) {
	for _, w := range ways[:1] {
		options := defaults()
		options.Peers.Expiry = time.Hour
		r := startRelay(t, w, on4, options)
		c := newCrowd(t, r.Addr(), hundredThousand)
		phase := func(name string, do func()) {
			began := time.Now()
			do()
			took := time.Since(began)
			t.Logf("%-16s %8v, %9.0f peers/s", name, took.Round(time.Microsecond), hundredThousand/took.Seconds())
		}
		phase("join", func() { c.join(t, r) })
		checkNoDrops(t, r)
		phase("list", func() {
			if got := len(r.Peers().Peers()); got != hundredThousand {
				t.Errorf("want %d peers listed; got %d", hundredThousand, got)
			}
		})
		var remembered []Remembered
		phase("remember", func() { remembered = r.Remember() })
		if len(remembered) != hundredThousand {
			t.Errorf("want %d peers remembered; got %d", hundredThousand, len(remembered))
		}
		phase("look up", func() {
			for i := range hundredThousand {
				if r.Peers().Lookup(c.addr(i)) == nil {
					t.Fatalf("want %v to be a peer", c.addr(i))
				}
			}
		})
		other := makeRelay(t, w, on4, options)
		phase("restore", func() {
			if got := other.Restore(remembered); got != hundredThousand {
				t.Errorf("want %d peers restored; got %d", hundredThousand, got)
			}
		})
		phase("expire", func() {
			if got := len(r.Peers().Expire(time.Now().Add(2 * options.Peers.Expiry))); got != hundredThousand {
				t.Errorf("want %d peers to expire; got %d", hundredThousand, got)
			}
		})
		phase("join again", func() { c.join(t, r) })
		checkNoDrops(t, r)
	}
}

// BenchmarkJoin has peers join by datagrams. An operation is a peer.
func BenchmarkJoin(b *testing.B) {
	const each = 50_000 // senders in a crowd
	left := b.N
	b.ResetTimer()
	b.StopTimer()
	for left > 0 {
		count := min(left, each)
		r := makeRelay(b, ways[0], on4, defaults())
		c := newCrowd(b, r.Addr(), count)
		stop := run(b, r)
		b.StartTimer()
		c.join(b, r)
		b.StopTimer()
		stop()
		left -= count
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "joined/s")
}

// BenchmarkSenders has many senders speak in turn, with no receivers: what it
// costs to find out who speaks. An operation is a datagram in, which waits in the
// receive queue when the time begins.
func BenchmarkSenders(b *testing.B) {
	const window = 4000
	for _, senders := range []int{10, 100, 1000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("senders=%d", senders), func(b *testing.B) {
			options := defaults()
			options.Peers.Access = anyoneMay(peers.MaySend)
			options.Peers.Access[0].Join = peers.JoinCookie // or they would be senders, which take no place
			r := makeRelay(b, ways[0], on4, options)
			c := newCrowd(b, r.Addr(), senders)
			next, received := 0, uint64(0)
			say := func(count int, payload []byte) {
				for received += uint64(count); count > 0; {
					n := min(count, senders-next)
					c.say(b, next, next+n, payload)
					next, count = (next+n)%senders, count-n
				}
			}
			relayAll := func() {
				for r.Stats().Received < received {
					if err := r.step(); err != nil {
						b.Fatal(err)
					}
				}
			}
			for i := range senders {
				r.Peers().Admit(c.addr(i), time.Now(), peers.JoinCookie)
			}
			payload := []byte("a datagram of some thirty bytes")
			b.ReportAllocs()
			b.ResetTimer()
			b.StopTimer()
			for left := b.N; left > 0; left -= window {
				say(min(window, left), payload)
				b.StartTimer()
				relayAll()
				b.StopTimer()
			}
			if learned, _ := r.Peers().Counts(); learned != senders || len(r.Peers().Receivers()) != 0 {
				b.Fatalf("want %d peers that may only send; got %d", senders, learned)
			}
		})
	}
}
