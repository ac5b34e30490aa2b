package relay

import (
	"testing"
	"time"

	"udprelay/internal/nettest"
	"udprelay/internal/testneed"
)

// tooLong is the size of datagrams that fit the cable to the router of a test,
// but not the one behind it.
const tooLong = 1400

// narrow makes a machine behind a router whose cable to it has an MTU of 1280.
func narrow(t *testing.T) (router, far *machine) {
	t.Helper()
	router, far = routed(t)
	router.IP(t, "link set cable5 mtu 1280")
	return router, far
}

// joinFar adds a client on a machine behind a router as a peer.
func joinFar(t *testing.T, r *Relay, far *machine, host, near string) *client {
	t.Helper()
	c := room16(t, far.client(t, host, at(r, near)))
	// The first may be lost while routers and neighbours find each other.
	await(t, func() bool { c.conn.Write(nil); return r.Peers().Lookup(c.addr) != nil }, "want "+c.addr.String()+" to be a peer; it is none")
	return c
}

// checkLong fails the test unless 50 datagrams by themselves and 2,000 in bursts,
// which leave in trains where there are some, reach c.
func checkLong(t *testing.T, r *Relay, c *client) {
	t.Helper()
	link := r.Attach(discard{})
	defer link.Detach()
	for n := range 50 {
		text := mark(n, tooLong)
		bring(t, link, text)
		c.wants(text)
	}
	const burst = 40
	for n := 0; n < 2000; n += burst {
		var texts []string
		for i := range burst {
			texts = append(texts, mark(n+i, tooLong))
		}
		bring(t, link, texts...)
		c.wants(texts...)
	}
}

// A router on the way splits what is too long for a link. It must not need to say
// that it cannot, for many firewalls drop that.
func TestDatagramsLongerThanALinkOnTheWayArrive(t *testing.T) {
	testneed.Tool(t, "nft")
	if !nettest.Inside(t) {
		return
	}
	router, far := narrow(t)
	router.Run(t, "nft add table ip test")
	router.Run(t, "nft add chain ip test out { type filter hook output priority 0; }")
	router.Run(t, "nft add rule ip test out ip protocol icmp drop")
	for _, w := range ways[:2] {
		for _, listen := range []string{onAll4, onAll} {
			t.Run(w.name+" on "+listen, func(t *testing.T) {
				r := startRelay(t, w, listen, defaults())
				checkLong(t, r, joinFar(t, r, far, "10.88.0.11", "10.77.0.1"))
				checkNoDrops(t, r)
			})
		}
	}
}

// With IPv6 only the origin of a datagram can split it, and must be told to.
func TestIPv6FollowsThePathMTU(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	_, far := narrow(t)
	for n, w := range ways[:2] {
		for k, first := range []int{1, 40} { // a datagram by itself, and a train
			t.Run(w.name, func(t *testing.T) {
				r := startRelay(t, w, onAll, defaults())
				c := joinFar(t, r, far, []string{"fd88::11", "fd88::12", "fd88::13", "fd88::14"}[2*n+k], "fd77:0::1") // each has a path of its own
				p := r.Peers().Lookup(c.addr)
				link := r.Attach(discard{})
				var texts []string
				for i := range first {
					texts = append(texts, mark(i, tooLong))
				}
				bring(t, link, texts...) // the first are lost
				await(t, func() bool { return r.PeerStats(p).Reported[ReportTooBig] > 0 }, "want a report that a datagram was too big; got none")
				if got := r.Stats().Reported[ReportTooBig]; got == 0 {
					t.Error("want it counted in total; it is not")
				}
				if state := r.PeerState(p); state.State != StateFailing || state.Until.Before(time.Now()) {
					t.Errorf("want the peer failing for a while; got %+v", state)
				}
				bring(t, link, "from now on")
				link.Detach()
				for c.receive() != "from now on" {
				}
				checkLong(t, r, c)
				checkNoDrops(t, r)
			})
		}
	}
}
