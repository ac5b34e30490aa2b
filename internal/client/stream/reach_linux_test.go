package stream

import (
	"fmt"
	"testing"

	"udprelay/internal/client/relaytest"
	"udprelay/internal/nettest"
	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
)

// A host that cannot be reached is said once, and so is its end; what was sent
// meanwhile is not lost in silence.
func TestAnUnreachableHostIsSaidOnceAndItsEnd(t *testing.T) {
	testneed.Tool(t, "sysctl")
	if !nettest.Inside(t) {
		return
	}
	far := nettest.NewMachine(t)
	nettest.IP(t, fmt.Sprintf("link add eth type veth peer name eth netns %d", far.Thread()), "address add 203.0.113.1/24 dev eth", "link set eth up")
	far.IP(t, "address add 203.0.113.9/24 dev eth", "link set eth up")
	nettest.AwaitUp(t, "eth")
	far.AwaitUp(t, "eth")
	nettest.Run(t, "sysctl -qw net.ipv4.neigh.eth.retrans_time_ms=20")
	var relay *relaytest.Relay
	far.Do(func() { relay = relaytest.StartAt(t, "203.0.113.9:0") })
	r := enter(t, relay.Addr, Options{})
	relay.Next(t)
	far.IP(t, "address delete 203.0.113.9/24 dev eth")
	nettest.Run(t, "ip neighbour flush dev eth")
	if got, want := await(t, r.said, "the notice"), "cannot reach "+relay.Addr+" (no route to host); still trying"; got != want {
		t.Errorf("want the notice %q; got %q", want, got)
	}
	if _, err := r.in.Write([]byte("lost\n")); err != nil {
		t.Fatal(err)
	}
	testwait.Until(t, func() bool { return r.client.Health().PayloadsRefused > 0 }, "want the line to count as lost")
	far.IP(t, "address add 203.0.113.9/24 dev eth")
	for len(r.said) == 0 {
		relay.Send(t, relay.Next(t).From, "back\n")
	}
	if got, want := <-r.said, relay.Addr+" is reachable again"; got != want {
		t.Errorf("want %q; got %q", want, got)
	}
	r.in.Close()
	r.wantEnd(t, "could not reach "+relay.Addr+" for a while (no route to host); datagrams were lost")
}
