package relay

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

// hostWith returns a host whose interfaces have these addresses.
func hostWith(prefixes ...string) *host {
	var list []net.Addr
	for _, prefix := range prefixes {
		p := netip.MustParsePrefix(prefix)
		list = append(list, &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	list = append(list, &net.UnixAddr{Name: "no address of IP"})
	return newHost(list)
}

func TestRelayKnowsItselfUnderEachOfItsAddresses(t *testing.T) {
	usual := hostWith("127.0.0.1/8", "::1/128", "192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64", "fe80::1/64")
	for _, test := range []struct {
		bound string
		own   []string
		other []string
	}{
		{
			"[::]:9000",
			[]string{"127.0.0.1", "127.0.0.2", "127.255.255.254", "::1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "fe80::1", "fe80::1%eth0", "fe80::1%7", "0.0.0.0", "::"},
			[]string{"192.0.2.3", "2001:db8::2", "fe80::2%eth0", "126.0.0.1", "128.0.0.1", "::2"},
		},
		{"0.0.0.0:9000", []string{"127.0.0.1", "127.0.0.2", "192.0.2.1", "192.0.2.2"}, []string{"192.0.2.3"}},
		{"192.0.2.1:9000", []string{"192.0.2.1"}, []string{"192.0.2.2", "127.0.0.1", "::1"}},
		{"127.0.0.1:9000", []string{"127.0.0.1"}, []string{"127.0.0.2", "192.0.2.1", "::1"}},
		{"[::1]:9000", []string{"::1"}, []string{"127.0.0.1", "2001:db8::1"}},
		{"[fe80::1%eth0]:9000", []string{"fe80::1%eth0", "fe80::1%7", "fe80::1"}, []string{"fe80::2%eth0"}},
	} {
		o := &own{bound: netip.MustParseAddrPort(test.bound)}
		o.host.Store(usual)
		check := func(text string, port uint16, want bool) {
			addr := netip.AddrPortFrom(netip.MustParseAddr(text), port)
			if got := o.contains(addr); got != want {
				t.Errorf("bound to %s: want %v to be the relay itself: %t; got %t", test.bound, addr, want, got)
			}
		}
		for _, text := range test.own {
			check(text, 9000, true)
			check(text, 9001, false)
			check(text, 0, false)
		}
		for _, text := range test.other {
			check(text, 9000, false)
		}
	}
}

func TestRelayNeverBecomesItsOwnPeer(t *testing.T) {
	r := makeRelay(t, ways[0], onAll, defaults())
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	itself := []netip.AddrPort{at(r, "127.0.0.1"), at(r, "127.8.8.8"), at(r, "::1")}
	for _, addr := range addrs {
		ip, _ := netip.AddrFromSlice(addr.(*net.IPNet).IP)
		itself = append(itself, netip.AddrPortFrom(ip.Unmap(), r.Addr().Port()))
	}
	b := newBatch()
	for _, addr := range itself {
		b.datagrams = append(b.datagrams, Datagram{Payload: []byte("echo"), From: addr})
		b.sources = append(b.sources, nil)
	}
	var counts tally
	r.admit(b, time.Now(), &counts)
	if got := counts.Dropped[DropNeverAPeer]; got != uint64(len(itself)) || len(b.datagrams) != 0 || len(r.Peers().Peers()) != 0 {
		t.Errorf("want %d datagrams of the relay itself dropped; got %s, %d peers", len(itself), show(counts.Stats), len(r.Peers().Peers()))
	}
	// Nor does the configuration make it one.
	added, _ := r.Peers().SetStatic(itself, time.Now())
	if len(added) != 0 {
		t.Errorf("want no static peers; got %v", added[0].Addr())
	}
}

// What the kernel chooses by itself need not be told.
func TestSourceAddressIsLeftOutOnlyWhereTheKernelChoosesIt(t *testing.T) {
	one := hostWith("127.0.0.1/8", "::1/128", "192.0.2.1/24", "2001:db8::1/64", "fe80::1/64", "fe80::2/64")
	two := hostWith("127.0.0.1/8", "::1/128", "192.0.2.1/24", "198.51.100.1/24", "2001:db8::1/64", "2001:db8::2/64", "fe80::1/64")
	none := hostWith("127.0.0.1/8", "::1/128")
	onLo := hostWith("127.0.0.1/8", "127.0.0.2/32", "::1/128", "192.0.2.1/24")
	for _, test := range []struct {
		host         *host
		name         string
		source, peer string
		want         bool
	}{
		{one, "one", "192.0.2.1", "203.0.113.9", true},
		{one, "one", "192.0.2.1", "192.0.2.1", true},
		{one, "one", "192.0.2.1", "127.0.0.1", false},
		{one, "one", "127.0.0.1", "192.0.2.1", false},
		{one, "one", "127.0.0.1", "127.0.0.1", true},
		{one, "one", "127.0.0.1", "127.0.0.9", true},
		{one, "one", "127.0.0.2", "127.0.0.1", false},
		{one, "one", "127.0.0.2", "127.0.0.2", false},
		{one, "one", "::1", "::1", true},
		{one, "one", "2001:db8::1", "2001:db8:1::9", true},
		{one, "one", "2001:db8::1", "::1", false},
		{one, "one", "2001:db8::1", "fe80::9%2", false},
		{one, "one", "fe80::1", "fe80::9%2", false},
		{one, "one", "192.0.2.7", "203.0.113.9", false},
		{two, "two", "192.0.2.1", "203.0.113.9", false},
		{two, "two", "198.51.100.1", "203.0.113.9", false},
		{two, "two", "2001:db8::1", "2001:db8:1::9", false},
		{two, "two", "127.0.0.1", "127.0.0.1", true},
		{none, "none", "192.0.2.1", "203.0.113.9", false},
		{none, "none", "2001:db8::1", "2001:db8:1::9", false},
		{onLo, "more on lo", "127.0.0.1", "127.0.0.2", false},
		{onLo, "more on lo", "127.0.0.2", "127.0.0.2", false},
		{onLo, "more on lo", "::1", "::1", true},
		{onLo, "more on lo", "192.0.2.1", "203.0.113.9", true},
	} {
		if got := test.host.chooses(netip.MustParseAddr(test.source), netip.MustParseAddr(test.peer)); got != test.want {
			t.Errorf("host with %s: want the kernel to choose %s for %s: %t; got %t", test.name, test.source, test.peer, test.want, got)
		}
	}
}

func TestSourcesAreMadeOnceAndBounded(t *testing.T) {
	var s sources
	made := 0
	control := func(l local) []byte { made++; return []byte(l.addr.String()) }
	of := func(text string, link uint32) *peers.Source {
		return s.of(local{netip.MustParseAddr(text), link}, control)
	}
	first := of("192.0.2.1", 0)
	for _, test := range []struct {
		addr string
		link uint32
		made int
	}{
		{"192.0.2.1", 0, 1}, {"2001:db8::1", 0, 2}, {"192.0.2.1", 0, 2}, {"2001:db8::1", 0, 2}, {"192.0.2.2", 0, 3},
		{"fe80::1", 2, 4}, {"fe80::1", 3, 5}, {"fe80::1", 2, 5},
	} {
		got := of(test.addr, test.link)
		if got == nil || got.Addr.String() != test.addr || string(got.Control) != test.addr {
			t.Fatalf("want the source of %s; got %v", test.addr, got)
		}
		if made != test.made {
			t.Fatalf("want %d sources to be made after %s; got %d", test.made, test.addr, made)
		}
	}
	if got := of("192.0.2.1", 0); got != first {
		t.Fatalf("want the same source for the same address; got %p and %p", first, got)
	}
	for _, text := range []string{"255.255.255.255", "224.0.0.1", "ff02::1", "0.0.0.0", "::"} {
		if got := of(text, 0); got != nil {
			t.Fatalf("want no source for %s; got %v", text, got)
		}
	}
	if got := s.of(local{}, control); got != nil {
		t.Fatalf("want no source where the kernel does not say; got %v", got)
	}
	for i := range 3 * maxSources {
		text := fmt.Sprintf("127.1.%d.%d", i>>8, i&255)
		if got := of(text, 0); got == nil || got.Addr.String() != text {
			t.Fatalf("want a source for %s, also beyond %d; got %v", text, maxSources, got)
		}
		if len(s.known) > maxSources {
			t.Fatalf("want at most %d sources to be kept; got %d", maxSources, len(s.known))
		}
	}
}

func TestTheBroadcastAddressesOfItsNetworksAreNoPeers(t *testing.T) {
	o := &own{bound: netip.MustParseAddrPort("[::]:9000")}
	o.host.Store(hostWith("127.0.0.1/8", "192.0.2.1/25", "198.51.100.0/31", "203.0.113.7/32", "2001:db8::1/64"))
	for text, want := range map[string]bool{
		"192.0.2.127": true, "127.255.255.255": true,
		"192.0.2.255": false, "198.51.100.1": false, "203.0.113.7": false, "203.0.113.255": false, "2001:db8::ffff:ffff:ffff:ffff": false,
	} {
		addr := netip.AddrPortFrom(netip.MustParseAddr(text), 5555)
		if got := o.contains(addr); got != want {
			t.Errorf("want %v to be no peer: %t; got %t", addr, want, got)
		}
	}
}
