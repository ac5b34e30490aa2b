package relay

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/internal/nettest"
	"udprelay/internal/testneed"
)

// A deadRoom is a relay with live peers at another machine, and dead ones of
// all kinds.
type deadRoom struct {
	relay *Relay
	live  []*client
}

// newDeadRoom starts a relay. The dead peers are static: learned ones that
// nobody can answer for come from forged senders, see forgedPeers.
func newDeadRoom(t *testing.T, w way, other *machine, listen, host, near string, live int, options Options) *deadRoom {
	t.Helper()
	r := startRelay(t, w, listen, options)
	d := &deadRoom{relay: r}
	for n := range live {
		c := other.client(t, fmt.Sprintf("%s%d", host, 11+n), at(r, near))
		roomFor(t, c.conn, 16<<20)
		c.join(r)
		d.live = append(d.live, c)
	}
	return d
}

// pace brings count datagrams at a rate a second, a few at a time.
func pace(t testing.TB, r *Relay, count, rate int) {
	t.Helper()
	a := r.Attach(discard{})
	defer a.Detach()
	const tick = 5 * time.Millisecond
	each := rate / int(time.Second/tick)
	next := time.Now()
	for sent := 0; sent < count; {
		var batch []Datagram
		for range min(each, count-sent) {
			batch = append(batch, Datagram{Payload: fmt.Appendf(nil, "datagram %8d of the pace %s", sent, strings.Repeat("x", 170))})
			sent++
		}
		if err := a.Bring(batch); err != nil {
			t.Fatal(err)
		}
		next = next.Add(tick)
		time.Sleep(time.Until(next))
	}
}

// Each live peer gets at least 99.9 % of what is sent, whoever else is dead.
func TestDeadPeersCostTheLivingNothing(t *testing.T) {
	testneed.Tool(t, "nft")
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	nettest.Run(t, "nft add table inet test")
	nettest.Run(t, "nft add chain inet test out { type filter hook output priority 0; }")
	nettest.Run(t, "nft add rule inet test out ip daddr 10.77.0.201 drop")
	nettest.Run(t, "nft add rule inet test out ip6 daddr fd77:0::201 drop")
	// A firewall at the other end, that says nothing.
	other.Run(t, "nft add table inet test")
	other.Run(t, "nft add chain inet test in { type filter hook input priority 0; }")
	other.Run(t, "nft add rule inet test in udp dport 9999 drop")
	for _, test := range []struct {
		name         string
		listen, host string
		dead, buffer int
	}{
		{"IPv4, ten dead", onAll4, "10.77.0.", 10, 8 << 20},
		{"IPv6, ten dead", onAll, "fd77:0::", 10, 8 << 20},
		{"IPv4 dual-stack, a hundred dead", onAll, "10.77.0.", 100, 8 << 20},
		{"IPv4, ten dead, the system's own buffer", onAll4, "10.77.0.", 10, 208 << 10},
		{"IPv6, ten dead, the system's own buffer", onAll, "fd77:0::", 10, 208 << 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := defaults()
			options.SendBuffer = test.buffer
			d := newDeadRoom(t, ways[0], other, test.listen, test.host, test.host+"1", 3, options)
			peer := func(host string, port uint16) netip.AddrPort {
				return netip.AddrPortFrom(netip.MustParseAddr(host), port)
			}
			unroutable := "198.51.100.1"
			if strings.Contains(test.host, ":") {
				unroutable = "2001:db8::1"
			}
			static := []netip.AddrPort{
				peer(unroutable, 9000),      // no route
				peer(test.host+"201", 9000), // a firewall here
				peer(test.host+"14", 1),     // refuses
				peer(test.host+"15", 9999),  // a firewall there
			}
			for n := range test.dead {
				static = append(static, peer(fmt.Sprintf("%s%d", test.host, 50+n), 9000)) // nobody there
			}
			d.relay.SetStatic(static)
			const count, rate = 20_000, 5_000
			before := make([]int, len(d.live))
			done := make(chan struct{})
			go func() { defer close(done); pace(t, d.relay, count, rate) }()
			drain := func() {
				for i, c := range d.live {
					before[i] += c.drain()
				}
			}
			for waiting := true; waiting; {
				select {
				case <-done:
					waiting = false
				case <-time.After(20 * time.Millisecond):
				}
				drain()
			}
			await(t, func() bool {
				drain()
				return slices.Min(before) >= count*999/1000
			}, func() string {
				return fmt.Sprintf("want at least 99.9 %% of %d datagrams at each live peer; got %v; %s", count, before, show(d.relay.Stats()))
			})
			// A neighbour that does not answer fails after three seconds or more.
			await(t, func() bool {
				pace(t, d.relay, 1, 1000)
				drain()
				return d.relay.Stats().Dropped[DropQuarantined] > 0
			}, func() string { return "want datagrams dropped as quarantined; got " + show(d.relay.Stats()) })
			s := d.relay.Stats()
			t.Logf("live peers got %v of %d; %s", before, count, show(s))
			if s.Dropped[DropUnreachable] == 0 || s.Dropped[DropFiltered] == 0 {
				t.Errorf("want drops as unreachable and filtered; got %s", show(s))
			}
			for n := range test.dead {
				p := d.relay.Peers().Lookup(peer(fmt.Sprintf("%s%d", test.host, 50+n), 9000))
				if p.Path.HoldUntil.Load() == math.MaxInt64 {
					t.Errorf("want static peer %v tried again; it is given up", p.Addr())
				}
			}
		})
	}
}
