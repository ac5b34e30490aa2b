package peers_test

import (
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

// hastyTable lets everyone in, but no faster than that.
func hastyTable(perSecond, perSecondPerAddress int, apart ...string) *peers.Table {
	for {
		table := peers.New(peers.Options{
			Expiry: time.Hour, Access: anyBoth, JoinsPerSecond: perSecond, JoinsPerSecondPerAddress: perSecondPerAddress,
		}, start)
		var ips []netip.Addr
		for _, a := range addrs(apart...) {
			ips = append(ips, a.Addr())
		}
		if table.JoinRateTellsApart(ips...) {
			return table
		}
	}
}

func TestNoMoreJoinInASecondThanMay(t *testing.T) {
	table := hastyTable(3, 0)
	for i := range 3 {
		wantHeard(t, table, nth(i).String(), at(0), peers.Joined)
	}
	wantHeard(t, table, nth(3).String(), at(0), peers.JoinsTooFast)
	wantAdmitted(t, table, nth(3).String(), at(0), peers.JoinsTooFast)
	wantCounts(t, table, 3, 0)
	if p := table.Lookup(nth(3)); p != nil {
		t.Errorf("want who joins too fast to be no peer, got %v", p.Addr())
	}
	wantHeard(t, table, nth(0).String(), at(0), peers.Known) // who is there joins no more

	// A third of a second later there is room for one.
	wantHeard(t, table, nth(3).String(), at(time.Second/3+1), peers.Joined)
	wantHeard(t, table, nth(4).String(), at(time.Second/3+1), peers.JoinsTooFast)
	// And after a second or an hour for three, no more.
	for i, after := range []time.Duration{2 * time.Second, time.Minute} {
		for k := range 3 {
			wantHeard(t, table, nth(10*i+10+k).String(), at(after), peers.Joined)
		}
		wantHeard(t, table, nth(10*i+13).String(), at(after), peers.JoinsTooFast)
	}
}

func TestNoMoreJoinFromOneAddressThanMay(t *testing.T) {
	for _, test := range []struct {
		name, first, second string
		want                peers.Verdict
	}{
		{"ports of an IPv4 address", "192.0.2.1:1", "192.0.2.1:2", peers.JoinsTooFast},
		{"neighbours in IPv4", "192.0.2.1:1", "192.0.2.0:1", peers.Joined},
		{"loopback", "127.0.0.1:1", "127.1.2.3:1", peers.JoinsTooFast},
		{"one /64", "[2001:db8::]:1", "[2001:db8::ffff:ffff:ffff:ffff]:1", peers.JoinsTooFast},
		{"two /64", "[2001:db8:0:1::]:1", "[2001:db8:0:0:ffff:ffff:ffff:ffff]:1", peers.Joined},
		{"neighbours on a link", "[fe80::1%eth0]:1", "[fe80::2%eth0]:1", peers.Joined},
		{"one link-local address on two links", "[fe80::1%eth0]:1", "[fe80::1%eth1]:1", peers.JoinsTooFast},
	} {
		t.Run(test.name, func(t *testing.T) {
			table := hastyTable(0, 1, test.first, test.second)
			wantHeard(t, table, test.first, at(0), peers.Joined)
			wantHeard(t, table, test.second, at(0), test.want)
			wantHeard(t, table, test.first, at(0), peers.Known)
			if test.want == peers.Joined {
				return
			}
			wantHeard(t, table, test.second, at(1), peers.Joined)
			third := netip.AddrPortFrom(addr(test.second).Addr(), 1000).String()
			wantHeard(t, table, third, at(time.Second), peers.JoinsTooFast)
			wantHeard(t, table, third, at(time.Second+1), peers.Joined)
		})
	}
}

func TestAddressThatJoinsTooFastTakesNothingFromTheOthers(t *testing.T) {
	const hasty, calm = "192.0.2.1", "192.0.2.2:1"
	table := hastyTable(3, 2, hasty+":1", calm)
	for _, port := range []string{":1", ":2"} {
		wantHeard(t, table, hasty+port, at(0), peers.Joined)
	}
	for port := range uint16(1000) {
		wantHeard(t, table, netip.AddrPortFrom(netip.MustParseAddr(hasty), 1024+port).String(), at(0), peers.JoinsTooFast)
	}
	wantHeard(t, table, calm, at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.2:2", at(0), peers.JoinsTooFast) // now all have used up what is for all
	wantCounts(t, table, 3, 0)
}

// Who is refused for another reason, or asked for a proof, has not joined.
func TestOnlyJoiningUsesUpTheRates(t *testing.T) {
	table := peers.New(peers.Options{
		Expiry: time.Hour, Max: 2, MaxPerAddress: 1, JoinsPerSecond: 2, JoinsPerSecondPerAddress: 1,
		Access: []peers.Rule{rule("198.51.100.1", peers.MayNothing), joinRule("192.0.2.0/24", peers.JoinCookie), rule("any", peers.MayBoth)},
	}, start)
	refused := func() {
		t.Helper()
		for range 10 {
			wantHeard(t, table, "192.0.2.1:1", at(0), peers.NeedsCookie)
			wantHeard(t, table, "198.51.100.1:1", at(0), peers.RefusedByRule)
			wantHeard(t, table, "192.0.2.1:7", at(0), peers.NeverAPeer)
		}
	}
	table.SetStatic(addrs("203.0.113.1:1", "203.0.113.1:2", "203.0.113.1:3"), at(0))
	refused()
	wantAdmitted(t, table, "192.0.2.1:1", at(0), peers.Joined)
	for range 10 {
		wantHeard(t, table, "192.0.2.1:1", at(0), peers.Known)
		wantAdmitted(t, table, "192.0.2.1:2", at(0), peers.AddressFull)
	}
	for a := netip.MustParseAddr("192.0.2.2"); ; a = a.Next() { // one that does not share the bucket of the first
		if table.JoinRateTellsApart(a, netip.MustParseAddr("192.0.2.1")) {
			wantAdmitted(t, table, netip.AddrPortFrom(a, 1).String(), at(0), peers.Joined)
			break
		}
	}
	wantCounts(t, table, 2, 3)
}

// A flood that the rates hold back must not be able to keep a peer that is there
// from staying: it is known.
func TestJoinRatesDoNotTouchWhoIsThere(t *testing.T) {
	table := hastyTable(1, 1)
	p := wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	for i := range 1000 {
		table.Heard(nth(i), at(time.Duration(i)*time.Millisecond))
		wantHeard(t, table, "192.0.2.1:1", at(time.Duration(i)*time.Millisecond), peers.Known)
	}
	wantLastHeard(t, table, p, at(999*time.Millisecond))
}
