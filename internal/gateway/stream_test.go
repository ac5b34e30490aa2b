package gateway

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/peers"
	"udprelay/relay"
)

// mixed returns a room with so many clients of each kind, and the clients.
func mixed(t *testing.T, of int) (*room, []talker) {
	authority := certificatetest.New(t)
	r := openRoom(t, func(_ *relay.Options, o *Options) {
		o.TLS, o.Certificates = here, loadCertificate(t, authority, "")
	})
	var all []talker
	for range of {
		all = append(all, r.udp(), r.tcp(), r.tls(authority.Client()))
	}
	return r, all
}

func TestEveryoneHearsEveryoneElseInOrder(t *testing.T) {
	r, all := mixed(t, 3)
	converse(r, all, 600)
	r.wantNoDrops()
	for _, c := range all {
		wantNothingMore(r, c, all)
	}
}

// converse has all say so many datagrams at once, and fails the test unless each
// hears everyone else exactly once, in order, and never itself.
func converse(r *room, all []talker, count int) {
	r.t.Helper()
	converseBeside(r, all, count, 0)
}

// converseBeside is converse while so many others are in the room that need not
// get anything.
func converseBeside(r *room, all []talker, count, others int) {
	r.t.Helper()
	before := r.relay.Stats()
	// Who speaks waits until all have heard what it said a while ago: UDP has no
	// other way to know that there is room.
	const ahead = 15
	heard := make([]chan struct{}, len(all))
	for i := range heard {
		heard[i] = make(chan struct{}, len(all)*count)
	}
	failed := make(chan struct{})
	fail := sync.OnceFunc(func() { close(failed) })
	var work sync.WaitGroup
	for i, c := range all {
		work.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 1))
			for n := range count {
				for range len(all) - 1 {
					if n < ahead {
						break
					}
					select {
					case <-heard[i]:
					case <-failed:
						return
					}
				}
				c.say(fmt.Sprintf("%d %d %s", i, n, strings.Repeat("x", random.IntN(1200))))
			}
		})
		work.Go(func() {
			next := make([]int, len(all))
			for range count * (len(all) - 1) {
				payload, err := c.hear()
				if err != nil {
					r.t.Errorf("want client %d to hear everything; got %v after %v", i, err, next)
					fail()
					return
				}
				var from, n int
				fmt.Sscan(payload, &from, &n)
				if from == i || n != next[from] {
					r.t.Errorf("want client %d to hear number %d of %d; got %d", i, next[from], from, n)
				}
				next[from] = n + 1
				heard[from] <- struct{}{}
			}
		})
	}
	work.Wait()
	said := uint64(len(all) * count)
	if others > 0 {
		return
	}
	r.awaitRelayed(before.Relayed + said)
	r.balance()
	now := r.relay.Stats()
	if relayed, delivered := now.Relayed-before.Relayed, now.Delivered-before.Delivered; relayed != said || delivered != said*uint64(len(all)-1) {
		r.t.Errorf("want %d relayed, each to %d; got %d relayed, %d delivered", said, len(all)-1, relayed, delivered)
	}
}

// wantNothingMore has another one speak, and fails the test unless that is the
// next that all hear.
func wantNothingMore(r *room, c talker, all []talker) {
	r.t.Helper()
	other := all[0]
	if other == c {
		other = all[1]
	}
	mark := fmt.Sprintf("mark for %v", c.address())
	other.say(mark)
	for _, l := range all {
		if l != other {
			wants(r.t, l, mark)
		}
	}
}

func TestBytesOfAnyKindAndLengthGoThrough(t *testing.T) {
	r, all := mixed(t, 1)
	everyByte := make([]byte, 256)
	for i := range everyByte {
		everyByte[i] = byte(i)
	}
	longest := strings.Repeat("0123456789abcdef", 65507/16+1)[:65507]
	for _, payload := range []string{"x", string(everyByte), "\x00", "\x00\x00", longest, strings.Repeat("y", 2046), strings.Repeat("z", 16<<10)} {
		for _, c := range all {
			c.say(payload)
			for _, other := range all {
				if other != c {
					wants(t, other, payload)
				}
			}
		}
	}
	r.balance()
	r.wantNoDrops()
}

// What UDP cannot carry reaches those who can take it.
func TestLongerThanUDPCarriesReachesTheOthers(t *testing.T) {
	r, all := mixed(t, 1)
	longest := strings.Repeat("0123456789abcdef", 65535/16+1)[:65535]
	u, c, s := all[0], all[1], all[2]
	c.say(longest)
	wants(t, s, longest)
	s.say(longest[1:])
	wants(t, c, longest[1:])
	c.say("after")
	wants(t, u, "after")
	wants(t, s, "after")
	r.awaitRelayed(3)
	r.balance()
	if s := r.relay.Stats(); s.Dropped[relay.DropTooBig] != 2 || s.Delivered != 4 {
		t.Errorf("want 4 delivered and 2 dropped as too_big; got %+v", s)
	}
	// A link may bring more than a frame can have.
	a := r.relay.Attach(silentLink{})
	defer a.Detach()
	if err := a.Bring([]relay.Datagram{{Payload: []byte(longest + "!")}, {Payload: []byte("short")}}); err != nil {
		t.Fatal(err)
	}
	for _, l := range all {
		wants(t, l, "short")
	}
	r.awaitRelayed(5)
	r.balance()
	if s := r.relay.Stats(); s.Dropped[relay.DropTooBig] != 5 {
		t.Errorf("want 5 dropped as too_big; got %+v", s)
	}
}

type silentLink struct{}

func (silentLink) Name() string             { return "silent" }
func (silentLink) Deliver([]relay.Datagram) {}

func TestManyFramesInAWriteAndFramesInPieces(t *testing.T) {
	r := openRoom(t, nil)
	a, b := r.tcp(), r.tcp()
	var many []string
	for n := range 500 {
		many = append(many, fmt.Sprint(n, strings.Repeat("m", n)))
	}
	a.sayAll(many...)
	wants(t, b, many...)
	for _, piece := range []string{"\x00", "\x05he", "l", "lo\x00", "\x03y", "ou"} {
		a.write([]byte(piece))
		time.Sleep(2 * time.Millisecond) // most of them arrive alone; nothing depends on it
	}
	wants(t, b, "hello", "you")
	r.balance()
	r.wantNoDrops()
}

func TestKeepAlivesAreCountedAndNotAnswered(t *testing.T) {
	r := openRoom(t, nil)
	a, b := r.tcp(), r.tcp()
	a.sayAll("", "", "one", "", "")
	wants(t, b, "one")
	b.say("two")
	wants(t, a, "two")
	await(t, func() bool { return r.relay.Stats().KeepAlives == 4 }, func() string {
		return fmt.Sprintf("want 4 keep-alives; got %+v", r.relay.Stats())
	})
	r.awaitRelayed(2)
	r.balance()
	if s := r.relay.Stats(); s.Relayed != 2 || s.Delivered != 2 {
		t.Errorf("want 2 relayed; got %+v", s)
	}
}

func TestConnectedPeersAreListedAndOutliveTheExpiry(t *testing.T) {
	r := openRoom(t, func(o *relay.Options, _ *Options) { o.Peers.Expiry = 20 * time.Millisecond })
	a := r.tcp()
	p := r.peer(a.address())
	if p.Transport() != peers.TCP || p.Static() || p.Proof() < peers.JoinCookie {
		t.Errorf("want a learned peer by tcp with its address proved; got %v, %v, %v", p.Transport(), p.Static(), p.Proof())
	}
	passing := r.udpStranger()
	passing.say("")
	await(t, func() bool { return r.relay.Stats().Received == 1 && r.relay.Peers().Lookup(passing.address()) == nil }, func() string { return "want the UDP peer to expire" })
	if r.peer(a.address()) != p {
		t.Error("want the connected peer to outlive its silence; it is gone")
	}
	if s := r.gateway.Stats(); s.Clients[peers.TCP] != 1 || s.Connections != 1 || s.Accepted != 1 {
		t.Errorf("want one client; got %+v", s)
	}
	a.conn.Close()
	r.awaitEnded(Left, 1)
	if len(r.relay.Peers().Peers()) != 0 {
		t.Error("want the peer gone with its connection; it is there")
	}
	if s := r.gateway.Stats(); s.Clients[peers.TCP] != 0 {
		t.Errorf("want no client; got %+v", s)
	}
}

// Who says that nothing more comes gets what waits for it.
func TestHalfClosedClientGetsWhatWaits(t *testing.T) {
	r := openRoom(t, nil)
	a, b := r.tcp(), r.tcp()
	a.sayAll("last words", "of the client")
	a.closeWrite()
	wants(t, b, "last words", "of the client")
	a.wantsEnd()
	r.awaitEnded(Left, 1)
	r.balance()
}

func TestRulesHoldForConnectedPeers(t *testing.T) {
	needLoopback(t)
	r := openRoom(t, func(o *relay.Options, _ *Options) {
		o.Peers.Access = []peers.Rule{
			rule("127.0.0.2", peers.MayReceive, peers.JoinOpen), rule("127.0.0.3", peers.MaySend, peers.JoinOpen),
			rule("127.0.0.4", peers.MayNothing, peers.JoinOpen), rule("any", peers.MayBoth, peers.JoinCookie),
		}
	})
	both, listener, speaker := r.tcp(), r.tcpFrom("127.0.0.2"), r.tcpFrom("127.0.0.3")
	listener.say("from one who may only receive")
	r.awaitDropped(relay.DropMayNotSend, 1)
	speaker.say("from one who may only send")
	wants(t, both, "from one who may only send")
	wants(t, listener, "from one who may only send")
	both.say("from one who may both")
	wants(t, listener, "from one who may both")
	r.awaitRelayed(2)
	r.balance()
	if s := r.relay.Stats(); s.Due != 3 || s.Delivered != 3 {
		t.Errorf("want 3 due and delivered; got %+v", s)
	}
	newStreamTalker(t, r.dial(peers.TCP, "127.0.0.4")).wantsEnd()
	r.awaitEnded(NotLetIn, 1)
	if got := r.log.Lines("client refused"); len(got) != 1 || !strings.Contains(got[0], `reason=not_let_in because="refused by rule" hint="its address is refused by a rule`) {
		t.Errorf("want the refusal told; got %q", got)
	}
	// The rules change: who may do less does so from now on.
	changed := r.options
	changed.Peers.Access = []peers.Rule{
		rule("127.0.0.2", peers.MayNothing, peers.JoinOpen), rule("127.0.0.3", peers.MayBoth, peers.JoinOpen), rule("any", peers.MaySend, peers.JoinOpen),
	}
	r.relay.Apply(changed)
	listener.wantsEnd()
	r.awaitEnded(TakenOut, 1)
	both.say("to one who may do both now")
	wants(t, speaker, "to one who may do both now")
	r.balance()
}

func TestLimitsHoldForConnectedPeers(t *testing.T) {
	r := openRoom(t, func(o *relay.Options, _ *Options) { o.Limits.PeerDatagrams = 10 })
	a, b, u := r.tcp(), r.tcp(), r.udp()
	var many []string
	for n := range 200 {
		many = append(many, fmt.Sprint(n))
	}
	a.sayAll(many...)
	r.awaitDropped(relay.DropPeerRate, 1)
	wants(t, b, many[:10]...)
	wants(t, u, many[:10]...)
	await(t, func() bool { return r.relay.Stats().Received >= 201 }, func() string { return "want all received" })
	r.balance()
	if of := r.relay.PeerStats(r.peer(a.address())); of.Received != 200 || of.Dropped[relay.DropPeerRate] < 100 {
		t.Errorf("want the drops of its peer counted; got %+v", of)
	}
	// And what leaves in all: it is two receivers for each.
	changed := r.options
	changed.Limits = relay.Limits{EgressBytes: 1000}
	r.relay.Apply(changed)
	b.sayAll(strings.Repeat("x", 600), strings.Repeat("y", 600), "z")
	r.awaitDropped(relay.DropEgressLimit, 2)
	r.balance()
}

func TestTableOfPeersIsFullForConnectedPeersToo(t *testing.T) {
	r := openRoom(t, func(o *relay.Options, _ *Options) { o.Peers.Max = 2 })
	r.udp()
	a := r.tcp()
	newStreamTalker(t, r.dial(peers.TCP, "")).wantsEnd()
	r.awaitEnded(NotLetIn, 1)
	a.conn.Close()
	r.awaitPeers(1)
	r.tcp()
}

func TestNoMoreThanOptionsConnections(t *testing.T) {
	r := openRoom(t, func(_ *relay.Options, o *Options) { o.Connections = 2 })
	a, b := r.tcp(), r.tcp()
	newStreamTalker(t, r.dial(peers.TCP, "")).wantsEnd()
	r.awaitEnded(TooMany, 1)
	a.say("still here")
	wants(t, b, "still here")
	a.conn.Close()
	await(t, func() bool { return r.gateway.Stats().Connections == 1 }, func() string { return "want room again" })
	r.tcp().say("new")
	wants(t, b, "new")
	if s := r.gateway.Stats(); s.Accepted != 4 {
		t.Errorf("want 4 accepted; got %+v", s)
	}
	r.balance()
}
