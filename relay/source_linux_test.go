package relay

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"udprelay/internal/nettest"
)

// exchange has each client say something and checks that the others get it.
// The clients' sockets are connected, so that they get nothing that leaves
// from another address than the one they send to.
func exchange(t *testing.T, r *Relay, clients ...*client) {
	t.Helper()
	for _, c := range clients {
		c.join(r)
	}
	for i, from := range clients {
		for n := range 3 {
			text := fmt.Sprintf("%d by %v to %v", n, from.addr, from.conn.RemoteAddr())
			from.send(text)
			for j, to := range clients {
				if j != i {
					to.wants(text)
				}
			}
		}
	}
	checkNoDrops(t, r)
}

// All of 127.0.0.0/8 is local to a Linux host.
func TestReplyLeavesFromTheLoopbackAddressThatWasAsked(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range []string{onAll4, onAll} {
			t.Run(place, func(t *testing.T) {
				r := startRelay(t, w, place, defaults())
				clients := []*client{
					newClient(t, at(r, "127.0.0.1")), newClient(t, at(r, "127.0.0.2")), newClient(t, at(r, "127.9.8.7")),
					newClientAt(t, netip.MustParseAddrPort("127.0.0.5:0"), at(r, "127.0.0.1")),
					newClientAt(t, netip.MustParseAddrPort("127.0.0.6:0"), at(r, "127.0.0.6")),
				}
				if place == onAll {
					clients = append(clients, newClient(t, at(r, "::1")))
				}
				exchange(t, r, clients...)
			})
		}
	})
}

// Addresses of lo other than 127.0.0.1, which a datagram to them leaves from
// unless it is told otherwise.
func TestReplyLeavesFromTheAddressThatWasAskedAmongMoreOnLo(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	nettest.IP(t, "address add 127.0.0.2/32 dev lo", "address add 10.99.0.1/32 dev lo", "address add fd99::1/128 dev lo nodad", "address add fd99::2/128 dev lo nodad")
	nettest.AwaitAddress(t, "fd99::1", "fd99::2")
	hosts4 := []string{"127.0.0.1", "127.0.0.2", "127.0.0.3", "10.99.0.1"}
	hosts6 := []string{"::1", "fd99::1", "fd99::2"}
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range []string{onAll4, onAll} {
			t.Run(place, func(t *testing.T) {
				r := startRelay(t, w, place, defaults())
				var clients []*client
				add := func(hosts []string) {
					for _, from := range hosts {
						for _, to := range hosts {
							clients = append(clients, newClientAt(t, netip.AddrPortFrom(netip.MustParseAddr(from), 0), at(r, to)))
						}
					}
				}
				add(hosts4)
				if place == onAll {
					add(hosts6)
				}
				exchange(t, r, clients...)
			})
		}
	})
}

// A host with one address on an interface, then several.
func TestReplyLeavesFromTheAddressOfTheInterfaceThatWasAsked(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	other.connect(t, 1)
	other.linkLocal(t)
	const zone = "%100" // cable0
	for _, second := range []bool{false, true} {
		if second {
			nettest.IP(t, "address add 10.77.0.2/24 dev cable0", "address add fd77:0::2/64 dev cable0 nodad")
			nettest.AwaitAddress(t, "fd77:0::2")
		}
		eachWay(t, func(t *testing.T, w way) {
			for _, place := range []string{onAll4, onAll} {
				t.Run(fmt.Sprintf("%s/second=%t", place, second), func(t *testing.T) {
					r := startRelay(t, w, place, defaults())
					clients := []*client{
						other.client(t, "10.77.0.11", at(r, "10.77.0.1")), other.client(t, "10.77.1.12", at(r, "10.77.1.1")),
						newClient(t, at(r, "10.77.0.1")), newClient(t, at(r, "127.0.0.1")),
					}
					if second {
						clients = append(clients, other.client(t, "10.77.0.11", at(r, "10.77.0.2")), newClient(t, at(r, "10.77.0.2")))
					}
					if place == onAll {
						clients = append(clients, other.client(t, "fd77:0::11", at(r, "fd77:0::1")), other.client(t, "fd77:1::12", at(r, "fd77:1::1")))
						local := other.client(t, "fe80::77:2"+zone, at(r, "fe80::77:1"+zone))
						local.addr = netip.AddrPortFrom(netip.MustParseAddr("fe80::77:2"+zone), local.addr.Port())
						clients = append(clients, local)
						if second {
							clients = append(clients, other.client(t, "fd77:0::11", at(r, "fd77:0::2")))
						}
					}
					exchange(t, r, clients...)
				})
			}
		})
	}
}

// The address that a peer knows may go while it listens: it still gets
// datagrams, from another address.
func TestPeerWhoseRelayAddressIsGoneStillReceives(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range []string{onAll4, onAll} {
			t.Run(place, func(t *testing.T) {
				nettest.IP(t, "address add 10.77.0.2/24 dev cable0", "address add fd77:0::2/64 dev cable0 nodad")
				nettest.AwaitAddress(t, "fd77:0::2")
				r := startRelay(t, w, place, defaults())
				stays := other.client(t, "10.77.0.11", at(r, "10.77.0.1"))
				stays.join(r)
				gone := []*client{other.listener(t, r, "10.77.0.12", at(r, "10.77.0.2"))}
				if place == onAll {
					gone = append(gone, other.listener(t, r, "fd77:0::12", at(r, "fd77:0::2")))
				}
				nettest.IP(t, "address del 10.77.0.2/24 dev cable0", "address del fd77:0::2/64 dev cable0")
				link := r.Attach(discard{})
				defer link.Detach()
				// Lone ones, and a train, in one batch; and one more.
				texts := []string{"1", "22", "333", "4444", "5555", "6666", "77"}
				var batch []Datagram
				for _, text := range texts {
					batch = append(batch, Datagram{Payload: []byte(text)})
				}
				for range 2 {
					if err := link.Bring(batch); err != nil {
						t.Fatal(err)
					}
					stays.wants(texts...)
					for _, c := range gone {
						c.wants(texts...)
					}
				}
				checkNoDrops(t, r)
				for _, c := range gone {
					if got := &r.Peers().Lookup(c.addr).Path; got.Source.Load() != nil || got.TrainLimit.Load() != 0 {
						t.Errorf("want no source address and no train limit for %v; got %v and %d", c.addr, got.Source.Load(), got.TrainLimit.Load())
					}
				}
			})
		}
	})
}

// listener returns a client on the machine that hears any address and is a
// peer of r.
func (m *machine) listener(t testing.TB, r *Relay, from string, to netip.AddrPort) *client {
	t.Helper()
	var conn *net.UDPConn
	var err error
	m.Do(func() {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client{t, conn, conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	if _, err := conn.WriteToUDPAddrPort(nil, to); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return r.Peers().Lookup(c.addr) != nil }, "want "+from+" to be a peer; it is none")
	return c
}

// Who sends to a broadcast address has asked no address that a reply can leave
// from.
func TestPeerThatJoinedByBroadcastReceives(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range []string{onAll4, onAll} {
			for _, broadcast := range []string{"10.77.0.255", "255.255.255.255"} {
				t.Run(place+"/"+broadcast, func(t *testing.T) {
					r := startRelay(t, w, place, defaults())
					speaker := other.client(t, "10.77.0.11", at(r, "10.77.0.1"))
					speaker.join(r)
					c := other.listener(t, r, "10.77.0.12", at(r, broadcast))
					for range 3 {
						speaker.send("one")
						speaker.send("two")
						c.wants("one", "two")
					}
					checkNoDrops(t, r)
				})
			}
		}
	})
}
