package client

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"udprelay/internal/client/relaytest"
	"udprelay/internal/dnstest"
	"udprelay/internal/nettest"
	"udprelay/internal/testneed"
)

// hasty are times that a test can wait for. An outage ends only with a datagram.
var hasty = &reachTimes{
	renewAfter: 20 * time.Millisecond, mostRenew: 100 * time.Millisecond,
	overAfter: time.Hour, overHeard: 20 * time.Millisecond, leastSilence: 50 * time.Millisecond,
}

// dialHastily joins the relay relay.test on the port of address.
func dialHastily(t *testing.T, zone *dnstest.Zone, address string, secret []byte) *Client {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return dial(t, "relay.test:"+port, Options{KeepAlive: 10 * time.Millisecond, Secret: secret, resolver: zone.Resolver(), times: hasty})
}

// fromAnotherPort returns the first datagram at relay that is not from before.
func fromAnotherPort(t *testing.T, relay *relaytest.Relay, before relaytest.Datagram) relaytest.Datagram {
	t.Helper()
	for {
		if got := relay.Next(t); got.From != before.From {
			return got
		}
	}
}

// talk has relay send datagrams to a peer so often that its silence counts.
func talk(t *testing.T, relay *relaytest.Relay, c *Client, received <-chan string, to relaytest.Datagram) {
	t.Helper()
	for i := range regular {
		relay.Send(t, to.From, fmt.Sprint(i))
		await(t, received, "a datagram")
	}
}

// A relay moves to another address behind its name, of another family, too; or
// only one of several is gone.
func TestARelayIsFollowedToAnotherAddress(t *testing.T) {
	for name, found := range map[string][]string{"IPv4": {"127.0.0.2"}, "IPv6": {"::1"}, "the other one": {"127.0.0.1", "127.0.0.2"}} {
		t.Run(name, func(t *testing.T) {
			next := found[len(found)-1]
			zone := dnstest.New(t)
			zone.Set("relay.test", "127.0.0.1")
			first := relaytest.Start(t)
			_, port, _ := net.SplitHostPort(first.Addr)
			second := relaytest.StartAt(t, net.JoinHostPort(next, port))
			c := dialHastily(t, zone, first.Addr, nil)
			received := receiving(t, c)
			first.Next(t)
			zone.Set("relay.test", found...)
			first.Close()
			joined := second.Next(t)
			if joined.Payload != "" {
				t.Errorf("want it to join with an empty datagram; got %q", joined.Payload)
			}
			second.Send(t, joined.From, "welcome")
			if got := await(t, received, "a datagram from the new address"); got != "welcome" {
				t.Errorf("want %q; got %q", "welcome", got)
			}
			if got := c.Relay(); got != second.Addr || c.RemoteAddr().String() != second.Addr {
				t.Errorf("want the address %s; got %s, %v", second.Addr, got, c.RemoteAddr())
			}
			if err := c.Send([]byte("to the new one")); err != nil {
				t.Fatal(err)
			}
			if got := second.NextPayload(t); got != "to the new one" {
				t.Errorf("want the payload at the new address; got %q", got)
			}
			if got := c.Reach().At; got != first.Addr {
				t.Errorf("want the errors at %s; got %s", first.Addr, got)
			}
			eventually(t, "the outage over", func() bool { return !c.Reach().Failing })
		})
	}
}

// A relay that is restarted finds its peers at the ports that it may remember.
func TestARefusedClientKeepsItsPort(t *testing.T) {
	zone := dnstest.New(t)
	zone.Set("relay.test", "127.0.0.1")
	relay := relaytest.Start(t)
	c := dialHastily(t, zone, relay.Addr, nil)
	receiving(t, c)
	before := relay.Next(t)
	asked := zone.Questions("relay.test")
	relay.Close()
	eventually(t, "several looks", func() bool { return zone.Questions("relay.test") > asked+5 })
	relay = relaytest.StartAt(t, relay.Addr)
	if got := relay.Next(t); got.From != before.From {
		t.Errorf("want it from %v as before; got %v", before.From, got.From)
	}
}

// A client proves itself from the new port, and what it sends meanwhile arrives.
func TestAProofIsGivenFromTheNewPort(t *testing.T) {
	secret := []byte("right")
	relay := relaytest.StartProving(t, relaytest.ProvingOptions{Secret: secret})
	zone := dnstest.New(t)
	zone.Set("relay.test", "127.0.0.2") // where nothing listens
	c := dialHastily(t, zone, relay.Addr, secret)
	receiving(t, c)
	await(t, c.Refused(), "a refusal")
	zone.Set("relay.test", "127.0.0.1")
	eventually(t, "it at the other address", func() bool { return c.Relay() == relay.Addr })
	send(t, c, "first", "second")
	for _, want := range []string{"first", "second"} {
		if got := relay.Next(t); got != want {
			t.Errorf("want %q relayed; got %q", want, got)
		}
	}
	if h := c.Health(); !h.WantsProof || h.PayloadsLost > 0 {
		t.Errorf("want a proof and nothing lost; got %+v", h)
	}
}

// Where datagrams came regularly, silence makes a client take another port.
func TestSilenceMakesAClientTakeAnotherPort(t *testing.T) {
	zone := dnstest.New(t)
	zone.Set("relay.test", "127.0.0.1")
	relay := relaytest.Start(t)
	c := dialHastily(t, zone, relay.Addr, nil)
	received := receiving(t, c)
	first := relay.Next(t)
	talk(t, relay, c, received, first)
	next := fromAnotherPort(t, relay, first)
	if reach := c.Reach(); !reach.Silent || reach.Failing {
		t.Errorf("want silence, and no error; got %+v", reach)
	}
	for ; c.Reach().Silent; next = relay.Next(t) {
		relay.Send(t, next.From, "here")
	}
	if got := await(t, received, "a datagram at the new port"); got != "here" {
		t.Errorf("want %q; got %q", "here", got)
	}
}

// A NAT goes on with a mapping to an address that it does not have any more.
func TestAStaleNATMappingIsLeft(t *testing.T) {
	testneed.Tool(t, "nft")
	testneed.Tool(t, "sysctl")
	if !nettest.Inside(t) {
		return
	}
	nat, far := nettest.NewMachine(t), nettest.NewMachine(t)
	nettest.IP(t, fmt.Sprintf("link add eth type veth peer name in netns %d", nat.Thread()),
		"address add 10.0.0.2/24 dev eth", "link set eth up")
	nat.IP(t, "address add 10.0.0.1/24 dev in", "link set in up",
		fmt.Sprintf("link add out type veth peer name eth netns %d", far.Thread()),
		"address add 203.0.113.1/24 dev out", "address add 203.0.113.2/24 dev out", "link set out up")
	far.IP(t, "address add 203.0.113.9/24 dev eth", "link set eth up")
	nettest.AwaitUp(t, "eth")
	nat.AwaitUp(t, "in", "out")
	far.AwaitUp(t, "eth")
	nettest.IP(t, "route add default via 10.0.0.1")
	nat.Run(t, "sysctl -qw net.ipv4.ip_forward=1")
	translate := func(to string) {
		nat.Feed(t, strings.Join([]string{
			"add table ip nat", "flush table ip nat",
			"add chain ip nat post { type nat hook postrouting priority 100 ; }",
			"add rule ip nat post oif out snat to " + to, "",
		}, "\n"), "nft -f -")
	}
	translate("203.0.113.1")
	var relay *relaytest.Relay
	far.Do(func() { relay = relaytest.StartAt(t, "203.0.113.9:0") })
	c := dial(t, relay.Addr, Options{KeepAlive: 50 * time.Millisecond, times: hasty})
	received := receiving(t, c)
	first := relay.Next(t)
	if got := first.From.Addr().String(); got != "203.0.113.1" {
		t.Fatalf("want the client behind 203.0.113.1; got %s", got)
	}
	talk(t, relay, c, received, first)
	translate("203.0.113.2")
	nat.IP(t, "address delete 203.0.113.1/24 dev out", "address replace 203.0.113.2/24 dev out")
	for next := relay.Next(t); ; next = relay.Next(t) {
		if next.From.Addr().String() != "203.0.113.2" {
			continue // the old mapping
		}
		relay.Send(t, next.From, "here")
		if got := await(t, received, "a datagram through the new mapping"); got != "here" {
			t.Errorf("want %q; got %q", "here", got)
		}
		return
	}
}

// A host that does not answer is noticed by errors that Linux does not report by
// itself.
func TestAnUnreachableHostIsNoticed(t *testing.T) {
	testneed.Tool(t, "sysctl")
	if !nettest.Inside(t) {
		return
	}
	far := nettest.NewMachine(t)
	nettest.IP(t, fmt.Sprintf("link add eth type veth peer name eth netns %d", far.Thread()),
		"address add 203.0.113.1/24 dev eth", "address add 2001:db8::1/64 dev eth nodad", "link set eth up")
	far.IP(t, "address add 203.0.113.9/24 dev eth", "address add 2001:db8::9/64 dev eth nodad", "link set eth up")
	nettest.AwaitUp(t, "eth")
	far.AwaitUp(t, "eth")
	far.AwaitAddress(t, "2001:db8::9")
	nettest.AwaitAddress(t, "2001:db8::1")
	nettest.Run(t, "sysctl -qw net.ipv4.neigh.eth.retrans_time_ms=20 net.ipv6.neigh.eth.retrans_time_ms=20")
	for family, addr := range map[string]string{"-4": "203.0.113.9", "-6": "2001:db8::9"} {
		var relay *relaytest.Relay
		far.Do(func() { relay = relaytest.StartAt(t, net.JoinHostPort(addr, "0")) })
		c := dial(t, relay.Addr, Options{KeepAlive: 50 * time.Millisecond, times: hasty})
		received := receiving(t, c)
		relay.Next(t)
		mask := map[string]string{"-4": "/24", "-6": "/64"}[family]
		far.IP(t, "address delete "+addr+mask+" dev eth")
		nettest.Run(t, "ip "+family+" neighbour flush dev eth")
		send(t, c, "lost")
		eventually(t, "an error", func() bool { return c.Health().PayloadsRefused > 0 })
		if reach := c.Reach(); reach.Problem.Error() != "no route to host" || reach.Silent {
			t.Errorf("%s: want no route to host; got %+v", addr, reach)
		}
		flags := map[string]string{"-4": "", "-6": " nodad"}[family]
		far.IP(t, "address add "+addr+mask+" dev eth"+flags)
		for c.Reach().Failing {
			relay.Send(t, relay.Next(t).From, "back")
		}
		if got := await(t, received, "a datagram after the outage"); got != "back" {
			t.Errorf("%s: want %q; got %q", addr, "back", got)
		}
		if h := c.Health(); h.PayloadsRefused != 1 {
			t.Errorf("%s: want one payload lost; got %+v", addr, h)
		}
		c.Close()
	}
}
