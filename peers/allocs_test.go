package peers_test

import (
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

func TestEveryDatagramButTheFirstCostsNoAllocation(t *testing.T) {
	full := openTable(4, 3)
	known := []string{"192.0.2.1:1", "[2001:db8::1]:1", "[fe80::1%eth0]:1", "192.0.2.2:1"}
	for _, from := range known {
		wantHeard(t, full, from, start, peers.Joined)
	}
	crowded := openTable(0, 1)
	wantHeard(t, crowded, "[2001:db8::1]:1", start, peers.Joined)
	local := peers.New(peers.Options{
		Expiry: time.Minute,
		Access: []peers.Rule{rule("loopback", peers.MayBoth), rule("private", peers.MayBoth), rule("link-local", peers.MayNothing)},
		Own:    func(addr netip.AddrPort) bool { return addr == ownAddr },
	}, start)
	local.SetStatic(addrs("192.0.2.1:1"), start)

	asking := peers.New(peers.Options{
		Expiry: time.Minute,
		Access: []peers.Rule{joinRule("192.0.2.0/24", peers.JoinCookie), joinRule("2001:db8::/32", peers.JoinSecret)},
	}, start)
	hasty := peers.New(peers.Options{Expiry: time.Minute, Access: anyBoth, JoinsPerSecond: 1}, start)
	hastyAddress := peers.New(peers.Options{Expiry: time.Minute, Access: anyBoth, JoinsPerSecondPerAddress: 1}, start)
	for _, from := range []string{"192.0.2.1:1", "192.0.2.1:2"} {
		hasty.Heard(addr(from), at(0))
		hastyAddress.Heard(addr(from), at(0))
		hasty.Heard(addr(from), at(1)) // the rate is used up for a second
		hastyAddress.Heard(addr(from), at(1))
	}

	sending := peers.New(peers.Options{Expiry: time.Minute, Access: []peers.Rule{rule("any", peers.MaySend)}}, start)
	for _, from := range []string{"192.0.2.9:1", "[fe80::1%eth0]:1"} {
		wantHeard(t, sending, from, start, peers.Joined)
	}

	for _, test := range []struct {
		name  string
		table *peers.Table
		from  string
		want  peers.Verdict
	}{
		{"known, IPv4", full, known[0], peers.Known},
		{"known, IPv6", full, known[1], peers.Known},
		{"known, IPv6 with zone", full, known[2], peers.Known},
		{"known, static", local, "192.0.2.1:1", peers.Known},
		{"known, a sender", sending, "192.0.2.9:9", peers.Known},
		{"known, a sender by IPv6 with zone", sending, "[fe80::1%eth0]:9", peers.Known},
		{"never a sender, echo", sending, "192.0.2.9:7", peers.NeverAPeer},
		{"refused by rule, IPv4", local, "192.0.2.2:1", peers.RefusedByRule},
		{"refused by rule, IPv6", local, "[2001:db8::1]:1", peers.RefusedByRule},
		{"refused by rule, IPv6 with zone", local, "[fe80::1%eth0]:1", peers.RefusedByRule},
		{"table full", full, "192.0.2.9:1", peers.TableFull},
		{"address full", crowded, "[2001:db8::2]:1", peers.AddressFull},
		{"needs a cookie", asking, "192.0.2.1:1", peers.NeedsCookie},
		{"needs the secret", asking, "[2001:db8::1]:1", peers.NeedsSecret},
		{"all join too fast", hasty, "192.0.2.9:1", peers.JoinsTooFast},
		{"its address joins too fast", hastyAddress, "192.0.2.1:9", peers.JoinsTooFast},
		{"never a peer, echo", local, "192.0.2.2:7", peers.NeverAPeer},
		{"never a peer, port 0", local, "192.0.2.2:0", peers.NeverAPeer},
		{"never a peer, IPv6 with zone", local, "[ff02::1%eth0]:1", peers.NeverAPeer},
		{"never a peer, the relay itself", local, ownAddr.String(), peers.NeverAPeer},
	} {
		t.Run(test.name, func(t *testing.T) {
			from, now := addr(test.from), start
			var got peers.Verdict
			allocs := testing.AllocsPerRun(1000, func() {
				now = now.Add(time.Microsecond) // so that each refreshes
				if test.table == sending && from.Port() != 7 {
					from = netip.AddrPortFrom(from.Addr(), from.Port()+1)
				}
				_, got = test.table.Heard(from, now)
			})
			if got != test.want {
				t.Fatalf("Heard(%v): want %q, got %q", from, test.want, got)
			}
			if allocs != 0 {
				t.Errorf("Heard: want no allocation, got %v", allocs)
			}
			if allocs := testing.AllocsPerRun(1000, func() { test.table.Lookup(from) }); allocs != 0 {
				t.Errorf("Lookup: want no allocation, got %v", allocs)
			}
		})
	}
	if allocs := testing.AllocsPerRun(1000, func() { full.Receivers(); full.Peers(); full.Counts(); full.Expire(start) }); allocs != 0 {
		t.Errorf("Receivers, Peers, Counts and an Expire of nobody: want no allocation, got %v", allocs)
	}
}
