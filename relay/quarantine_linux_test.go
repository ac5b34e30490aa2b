package relay

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/internal/nettest"
	"udprelay/internal/testneed"
)

// A flow brings numbered datagrams all the time, two trains' worth at once.
type flow struct {
	stop chan struct{}
	done chan struct{}
	n    int // brought; the test's once done is closed
}

func startFlow(t testing.TB, r *Relay) *flow {
	t.Helper()
	f := &flow{stop: make(chan struct{}), done: make(chan struct{})}
	a := r.Attach(discard{})
	go func() {
		defer close(f.done)
		defer a.Detach()
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-f.stop:
				return
			case <-tick.C:
			}
			var batch []Datagram
			for range 4 {
				batch = append(batch, Datagram{Payload: []byte(mark(f.n, 100+f.n/2%2))})
				f.n++
			}
			if err := a.Bring(batch); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	t.Cleanup(f.end)
	return f
}

func (f *flow) end() {
	select {
	case <-f.stop:
	default:
		close(f.stop)
	}
	<-f.done
}

// wantsAll fails the test unless c got all of the flow, which has ended.
func (f *flow) wantsAll(c *client) {
	c.t.Helper()
	for n := range f.n {
		c.wants(mark(n, 100+n/2%2))
	}
}

// wantsSome fails the test unless something comes to c.
func wantsSome(c *client) {
	c.t.Helper()
	c.receive()
}

func awaitHeld(t testing.TB, r *Relay, addr netip.AddrPort, want bool, why string) {
	t.Helper()
	p := r.Peers().Lookup(addr)
	if p == nil {
		t.Fatalf("want %v to be a peer; it is none", addr)
	}
	ok := func() bool {
		return held(p, r.since(time.Now())) == want
	}
	await(t, ok, func() string {
		return fmt.Sprintf("%s: want %v held: %t; got held until %v", why, addr, want, time.Duration(p.Path.HoldUntil.Load()))
	})
}

// room16 gives c a receive buffer for all that a test sends.
func room16(t testing.TB, c *client) *client {
	t.Helper()
	roomFor(t, c.conn, 16<<20)
	return c
}

// A machine that is gone does not answer ARP or neighbour discovery, and the
// kernel says so after three seconds.
func TestPeerWhoseMachineGoesAwayIsHeldUntilItIsBack(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	const zone = "%100" // cable0
	// The kernel tells of 50 datagrams at once, of all neighbours together.
	os.WriteFile("/proc/sys/net/ipv4/icmp_msgs_burst", []byte("100000"), 0)
	os.WriteFile("/proc/sys/net/ipv4/icmp_msgs_per_sec", []byte("100000"), 0)
	other.linkLocal(t)
	type room struct {
		name       string
		relay      *Relay
		flow       *flow
		live, gone []*client
	}
	var rooms []*room
	addresses := []string{"10.77.0.12/24", "fd77:0::12/64", "fe80::77:2/64"}
	for _, w := range ways[:2] { // at once, for it takes time
		for _, listen := range []string{onAll, onAll4} {
			r := startRelay(t, w, listen, defaults())
			m := &room{name: w.name + " on " + listen, relay: r}
			m.live = append(m.live, other.client(t, "10.77.0.11", at(r, "10.77.0.1")))
			m.gone = append(m.gone, other.client(t, "10.77.0.12", at(r, "10.77.0.1")))
			if listen == onAll {
				local := other.client(t, "fe80::77:2"+zone, at(r, "fe80::77:1"+zone))
				local.addr = netip.AddrPortFrom(netip.MustParseAddr("fe80::77:2"+zone), local.addr.Port())
				m.live = append(m.live, other.client(t, "fd77:0::11", at(r, "fd77:0::1")))
				m.gone = append(m.gone, other.client(t, "fd77:0::12", at(r, "fd77:0::1")), local)
			}
			for _, c := range append(m.live, m.gone...) {
				room16(t, c).join(r)
			}
			rooms = append(rooms, m)
		}
	}
	for _, m := range rooms {
		m.flow = startFlow(t, m.relay)
		for _, c := range m.gone {
			wantsSome(c)
		}
	}
	for _, address := range addresses {
		other.IP(t, "address del "+address+" dev cable0")
		nettest.IP(t, "neigh flush to "+netip.MustParsePrefix(address).Addr().String()+" dev cable0")
	}
	for _, m := range rooms {
		for _, c := range m.gone {
			awaitHeld(t, m.relay, c.addr, true, m.name+", machine gone")
		}
	}
	for _, address := range addresses {
		ip := netip.MustParsePrefix(address).Addr()
		other.IP(t, "address add "+address+" dev cable0"+map[bool]string{true: " nodad"}[ip.Is6()])
		if ip.IsLinkLocalUnicast() {
			ip = ip.WithZone("100")
		}
		other.AwaitAddress(t, ip.String())
	}
	// A machine that was away looks for its neighbours, and so tells them of itself.
	other.IP(t, "neigh flush dev cable0")
	for _, m := range rooms {
		for i, c := range m.gone {
			c.drain()
			if i == 0 { // the others say nothing
				c.send("")
				awaitHeld(t, m.relay, c.addr, false, m.name+", heard")
			}
			wantsSome(c)
		}
		m.flow.end()
		for _, c := range m.live {
			m.flow.wantsAll(c)
		}
		if s := m.relay.Stats(); s.Dropped[DropQuarantined] == 0 {
			t.Errorf("%s: want drops as quarantined; got %s", m.name, show(s))
		}
	}
}

// routed makes a machine that is reached by way of another: here cable0, a
// router, and a cable to networks 10.88.0.0/24 and fd88::/64.
func routed(t testing.TB) (router, far *machine) {
	t.Helper()
	router, far = newMachine(t), newMachine(t)
	router.connect(t, 0)
	nettest.IP(t, "route add 10.88.0.0/24 via 10.77.0.11", "route add fd88::/64 via fd77:0::11")
	router.Do(func() {
		for name, value := range map[string]string{"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv4/icmp_ratelimit": "0", "ipv6/icmp/ratelimit": "0"} {
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
				t.Errorf("make a router: %v", err)
			}
		}
	})
	router.IP(t,
		fmt.Sprintf("link add cable5 index 205 type veth peer name cable5 index 205 netns %d", far.Thread()),
		"address add 10.88.0.1/24 dev cable5", "address add fd88::1/64 dev cable5 nodad", "link set cable5 up")
	var commands []string
	for i := 11; i <= 19; i++ {
		commands = append(commands, fmt.Sprintf("address add 10.88.0.%d/24 dev cable5", i), fmt.Sprintf("address add fd88::%d/64 dev cable5 nodad", i))
	}
	far.IP(t, append(commands, "link set cable5 up", "route add default via 10.88.0.1", "route add default via fd88::1")...)
	router.AwaitUp(t, "cable5")
	far.AwaitUp(t, "cable5")
	router.AwaitAddress(t, "fd88::1")
	for i := 11; i <= 19; i++ {
		far.AwaitAddress(t, fmt.Sprintf("fd88::%d", i))
	}
	return router, far
}

// A router says at once that there is no way.
func TestPeerThatARouterCannotReachIsHeld(t *testing.T) {
	testneed.Tool(t, "nft")
	if !nettest.Inside(t) {
		return
	}
	router, far := routed(t)
	router.Run(t, "nft add table ip test")
	router.Run(t, "nft add chain ip test out { type filter hook forward priority 0; }")
	reject := "nft add rule ip test out ip daddr %s reject with icmp type "
	// Of an IPv4 route without a way Linux tells once a second at most.
	bad := []struct {
		host, lose, mend string
		static           bool
	}{
		{"10.88.0.12", "ip route add unreachable %s", "ip route del unreachable %s", false},
		{"10.88.0.13", reject + "admin-prohibited", "nft flush chain ip test out", false},
		{"10.88.0.14", reject + "host-unreachable", "nft flush chain ip test out", true},
		{"10.88.0.15", reject + "net-unreachable", "nft flush chain ip test out", true},
		{"fd88::12", "ip route add unreachable %s", "ip route del unreachable %s", false},
		{"fd88::13", "ip route add prohibit %s", "ip route del prohibit %s", false},
		{"fd88::14", "ip route add unreachable %s", "ip route del unreachable %s", true},
		{"fd88::15", "ip route add prohibit %s", "ip route del prohibit %s", true},
	}
	type room struct {
		relay                 *Relay
		flow                  *flow
		live, learned, static []*client
	}
	var rooms []*room
	for _, w := range ways[:2] { // at once, for it takes time
		m := &room{relay: startRelay(t, w, onAll, defaults())}
		newClient := func(host string) *client {
			near := "10.77.0.1"
			if netip.MustParseAddr(host).Is6() {
				near = "fd77:0::1"
			}
			return room16(t, far.client(t, host, at(m.relay, near)))
		}
		m.live = append(m.live, newClient("10.88.0.11"), newClient("fd88::11"))
		var static []netip.AddrPort
		for _, b := range bad {
			c := newClient(b.host)
			if b.static { // these never say a word
				m.static = append(m.static, c)
				static = append(static, c.addr)
			} else {
				m.learned = append(m.learned, c)
			}
		}
		for _, c := range slices.Concat(m.live, m.learned) {
			// The first may be lost while routers and neighbours find each other.
			await(t, func() bool { c.conn.Write(nil); return m.relay.Peers().Lookup(c.addr) != nil }, "want "+c.addr.String()+" to be a peer; it is none")
		}
		m.relay.SetStatic(static)
		awaitFlow(t, m.relay, slices.Concat(m.live, m.learned, m.static))
		m.flow = startFlow(t, m.relay)
		rooms = append(rooms, m)
	}
	for _, b := range bad {
		router.Run(t, format(b.lose, b.host))
	}
	for _, m := range rooms {
		for _, c := range slices.Concat(m.learned, m.static) {
			awaitHeld(t, m.relay, c.addr, true, "no way")
		}
	}
	for _, b := range bad {
		router.Run(t, format(b.mend, b.host))
	}
	for _, m := range rooms {
		for _, c := range slices.Concat(m.learned, m.static) {
			c.drain()
		}
		for _, c := range slices.Concat(m.learned, m.static) { // none of them says a word
			wantsSome(c)
		}
		m.flow.end()
		for _, c := range m.live {
			m.flow.wantsAll(c)
		}
		if s := m.relay.Stats(); s.Dropped[DropQuarantined] == 0 {
			t.Errorf("want drops as quarantined; got %s", show(s))
		}
	}
}

// format puts host into a line that may have room for it.
func format(line, host string) string { return strings.ReplaceAll(line, "%s", host) }

// awaitFlow brings datagrams until all clients get some, and the rest of them.
func awaitFlow(t testing.TB, r *Relay, clients []*client) {
	t.Helper()
	link := r.Attach(discard{})
	defer link.Detach()
	for _, c := range clients {
		await(t, func() bool { bring(t, link, "hello"); return c.drain() > 0 }, "want something at "+c.addr.String()+"; got nothing")
	}
	bring(t, link, "the end of the beginning")
	for _, c := range clients {
		for c.receive() != "the end of the beginning" {
		}
	}
}

func TestLearnedPeerThatClosesItsSocketIsForgotten(t *testing.T) {
	for _, w := range ways[:2] {
		for _, place := range []string{on4, on6, onAll} {
			t.Run(w.name+"/"+place, func(t *testing.T) {
				t.Parallel() // it takes a second
				r := startRelay(t, w, place, defaults())
				live := newPeers(t, r, near(r), 2)
				leaving := newPeer(t, r, near(r))
				f := startFlow(t, r)
				wantsSome(leaving)
				left := time.Now()
				leaving.conn.Close()
				await(t, func() bool { return r.Peers().Lookup(leaving.addr) == nil }, "want a peer that closed its socket forgotten; it is there")
				if after := time.Since(left); after < refusingTime {
					t.Errorf("want it forgotten after %v at the least; got %v", refusingTime, after)
				}
				f.end()
				for _, c := range live {
					f.wantsAll(c)
					if r.Peers().Lookup(c.addr) == nil {
						t.Errorf("want live peer %v there; it is forgotten", c.addr)
					}
				}
				checkNoDrops(t, r)
			})
		}
	}
}

func TestStaticPeerThatIsRestartedGetsEverythingAgain(t *testing.T) {
	for _, w := range ways[:2] {
		for _, place := range []string{on4, on6} {
			t.Run(w.name+"/"+place, func(t *testing.T) {
				r := startRelay(t, w, place, defaults())
				live := newPeer(t, r, near(r))
				static := newClient(t, near(r))
				r.SetStatic([]netip.AddrPort{static.addr})
				link := r.Attach(discard{})
				defer link.Detach()
				n := 0
				say := func(count int) (texts []string) {
					for range count {
						texts = append(texts, mark(n, 100))
						n++
					}
					bring(t, link, texts...)
					live.wants(texts...)
					return texts
				}
				for range 3 {
					static.wants(say(5)...)
					static.conn.Close()
					for range 200 {
						say(5)
					}
					static = newClientAt(t, static.addr, near(r))
					static.wants(say(5)...) // also what meets the last errors
					static.wants(say(1)...)
				}
				checkNoDrops(t, r)
			})
		}
	}
}
