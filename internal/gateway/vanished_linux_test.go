package gateway

import (
	"testing"
	"time"

	"udprelay/internal/nettest"
	"udprelay/internal/testneed"
	"udprelay/relay"
)

// A client whose host is gone, with datagrams on their way to it, is noticed by
// the kernel.
func TestClientWhoseHostVanishes(t *testing.T) {
	testneed.Tool(t, "nft")
	if !nettest.Inside(t) {
		return
	}
	r := openRoom(t, func(o *relay.Options, _ *Options) { o.Peers.MaxPerAddress = 0 }, func(g *Gateway) {
		g.waits.vanished, g.waits.stuck = 2*time.Second, patience
	})
	gone, stays, u := r.tcpFrom("127.0.0.2"), r.tcpFrom("127.0.0.3"), r.udp()
	u.say("while it was there")
	wants(t, gone, "while it was there")
	wants(t, stays, "while it was there")
	nettest.Run(t, "nft add table ip test")
	nettest.Run(t, "nft add chain ip test input { type filter hook input priority 0 ; }")
	nettest.Run(t, "nft add rule ip test input ip saddr 127.0.0.2 drop")
	nettest.Run(t, "nft add rule ip test input ip daddr 127.0.0.2 drop")
	began := time.Now()
	u.say("to a host that is gone")
	wants(t, stays, "to a host that is gone")
	r.awaitEnded(Broken, 1)
	t.Logf("noticed after %v", time.Since(began).Round(time.Millisecond))
	r.awaitPeers(2)
	u.say("to those who are there")
	wants(t, stays, "to those who are there")
	r.balance()
}
