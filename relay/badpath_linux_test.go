package relay

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"udprelay/internal/nettest"
	"udprelay/internal/testneed"
)

// A fault is what happens to the way to a peer. Lines are for ip or nft; %s is
// the peer's address and %d the family as those tools write it.
type fault struct {
	name  string
	begin []string
	end   []string
	far   int // the cable that the peer is at
	drop  Drop
	whole bool // the peer gets everything all the same
}

var faults = []fault{
	{name: "smaller MTU", begin: []string{"ip link set cable1 mtu MTU"}, end: []string{"ip link set cable1 mtu 1500", "ip address replace fd77:1::1/64 dev cable1 nodad"}, far: 1, whole: true},
	{name: "firewall", begin: []string{"nft add rule inet test out IP daddr ADDRESS drop"}, end: []string{"nft flush chain inet test out"}, drop: DropFiltered},
	{name: "unreachable", begin: []string{"ip route add unreachable ADDRESS"}, end: []string{"ip route del unreachable ADDRESS"}, drop: DropUnreachable},
	{name: "prohibit", begin: []string{"ip route add prohibit ADDRESS"}, end: []string{"ip route del prohibit ADDRESS"}, drop: DropUnreachable},
	{name: "blackhole", begin: []string{"ip route add blackhole ADDRESS"}, end: []string{"ip route del blackhole ADDRESS"}, drop: DropUnreachable},
	{name: "no route", begin: []string{"ip route del PREFIX dev cable1"}, end: []string{"ip route add PREFIX dev cable1"}, far: 1, drop: DropUnreachable},
	{name: "interface down", begin: []string{"ip link set cable1 down"}, end: []string{"ip link set cable1 up", "ip address replace fd77:1::1/64 dev cable1 nodad"}, far: 1, drop: DropUnreachable},
}

// families are the networks that peers are in, and what the relay listens on.
var families = []struct {
	name, listen, prefix, tool, mtu string
	size                            int // of datagrams that fit the cable but not the mtu
}{
	{"IPv4", onAll4, "10.77.", "ip", "576", 1000},
	{"IPv4 dual-stack", onAll, "10.77.", "ip", "576", 1000},
	{"IPv6", onAll, "fd77:", "ip6", "1280", 1400},
}

func TestBadPathCostsOnlyItsPeer(t *testing.T) {
	testneed.Tool(t, "nft")
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	other.connect(t, 1)
	nettest.Run(t, "nft add table inet test")
	nettest.Run(t, "nft add chain inet test out { type filter hook output priority 0; }")
	eachWay(t, func(t *testing.T, w way) {
		for _, family := range families {
			addr := func(cable, host int) string {
				if family.tool == "ip" {
					return fmt.Sprintf("10.77.%d.%d", cable, host)
				}
				return fmt.Sprintf("fd77:%d::%d", cable, host)
			}
			for i, f := range faults {
				t.Run(family.name+"/"+f.name, func(t *testing.T) {
					r := startRelay(t, w, family.listen, defaults())
					var clients []*client
					bad := i % 4 // each place in the order of receivers has its turn
					for n := range 4 {
						cable := 0
						if n == bad {
							cable = f.far
						}
						c := other.client(t, addr(cable, 11+n), at(r, addr(cable, 1)))
						c.join(r)
						clients = append(clients, c)
					}
					words := strings.NewReplacer("ADDRESS", clients[bad].addr.Addr().String(), "MTU", family.mtu, "IP", family.tool,
						"PREFIX", netip.PrefixFrom(clients[bad].addr.Addr(), map[string]int{"ip": 24, "ip6": 64}[family.tool]).Masked().String())
					for _, line := range f.begin {
						nettest.Run(t, words.Replace(line))
					}
					defer func() {
						for _, line := range f.end {
							nettest.Run(t, words.Replace(line))
						}
						nettest.AwaitUp(t, "cable1")
						other.AwaitUp(t, "cable1")
						nettest.AwaitAddress(t, "fd77:1::1")
					}()
					checkBadPath(t, r, clients, bad, f, family.size)
				})
			}
		}
	})
}

// checkBadPath brings batches, which leave in trains where there are some, and
// checks who gets what.
func checkBadPath(t *testing.T, r *Relay, clients []*client, bad int, f fault, size int) {
	link := r.Attach(discard{})
	defer link.Detach()
	var trains spy
	makesTrains := trains.watch(newCrew(nil, link.entrance.sender))
	for n := range 3 {
		var batch []Datagram
		var payloads []string
		add := func(size, count int) {
			for i := range count {
				text := fmt.Sprintf("batch %d datagram %d size %d ", n, i, size)
				payloads = append(payloads, text+strings.Repeat("x", size-len(text)))
				batch = append(batch, Datagram{Payload: []byte(payloads[len(payloads)-1])})
			}
		}
		add(size, 16)
		add(100, 5)
		add(200, 1)
		add(size, 3)
		if err := link.Bring(batch); err != nil {
			t.Fatal(err)
		}
		for i, c := range clients {
			if i != bad || f.whole {
				c.wants(payloads...)
			}
		}
	}
	stats := r.Stats()
	const each = 3 * 25
	want := Stats{Received: each + 4, ReceivedBytes: stats.ReceivedBytes, KeepAlives: 4, Relayed: each, Due: 4 * each, Delivered: 4 * each, DeliveredBytes: stats.DeliveredBytes}
	if !f.whole {
		want.Delivered -= each
		want.Dropped[f.drop] = each
	}
	if stats != want {
		t.Errorf("want %s; got %s", show(want), show(stats))
	}
	if whom := r.counters.lastDropped(f.drop); !f.whole && whom != clients[bad].addr {
		t.Errorf("want the drops to name %v; got %v", clients[bad].addr, whom)
	}
	for i, c := range clients {
		// The peer knows the relay by the same address when its way is mended.
		if source := r.Peers().Lookup(c.addr).Path.Source.Load(); source == nil {
			t.Errorf("want the source address for %v remembered (the way of %v is bad); it is forgotten", c.addr, clients[bad].addr)
		}
		limit := r.Peers().Lookup(c.addr).Path.TrainLimit.Load()
		switch {
		case i != bad && limit != 0:
			t.Errorf("want no train limit for a peer whose way is good; got %d", limit)
		case i == bad && f.whole && makesTrains && limit != uint32(size):
			t.Errorf("want train limit %d for the peer with the smaller MTU; got %d", size, limit)
		}
	}
	if makesTrains && trains.trains.Load() == 0 {
		t.Error("want trains; got none")
	}
}
