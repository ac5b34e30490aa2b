//go:build !nocluster

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"udprelay/relay"
)

// A udpPeer is a peer that keeps what it hears.
type udpPeer struct {
	name string
	conn *net.UDPConn
	sent int

	mu    sync.Mutex
	heard map[string][]string // by who said it
	count int
}

// newUDPPeer joins r, and leaves when the test ends.
func newUDPPeer(t testing.TB, r *relay.Relay, name string) *udpPeer {
	t.Helper()
	conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(r.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	p := &udpPeer{name: name, conn: conn, heard: make(map[string][]string)}
	var reading sync.WaitGroup
	reading.Go(p.read)
	t.Cleanup(func() { conn.Close(); reading.Wait() })
	before, _ := r.Peers().Counts()
	if _, err := conn.Write(nil); err != nil {
		t.Fatal(err)
	}
	await(t, "the peer joins", func() bool { n, _ := r.Peers().Counts(); return n > before })
	return p
}

func (p *udpPeer) read() {
	buf := make([]byte, 65536)
	for {
		n, err := p.conn.Read(buf)
		if err != nil {
			return
		}
		who, rest, _ := strings.Cut(string(buf[:n]), " ")
		number, _, _ := strings.Cut(rest, " ")
		p.mu.Lock()
		p.heard[who] = append(p.heard[who], number)
		p.count++
		p.mu.Unlock()
	}
}

func (p *udpPeer) say(t testing.TB, padding int) {
	t.Helper()
	text := fmt.Sprintf("%s %d ", p.name, p.sent)
	if _, err := p.conn.Write(append([]byte(text), bytes.Repeat([]byte("x"), padding)...)); err != nil {
		t.Fatal(err)
	}
	p.sent++
}

func (p *udpPeer) counted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// check checks that p has heard each other peer say 0, 1, 2 … once each, in
// order, and itself nothing.
func (p *udpPeer) check(t testing.TB, all []*udpPeer) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, other := range all {
		var want []string
		if other != p {
			for n := range other.sent {
				want = append(want, fmt.Sprint(n))
			}
		}
		if got := p.heard[other.name]; strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("want %s to hear 0 to %d of %s, once and in order; got %v", p.name, len(want)-1, other.name, got)
		}
	}
}

// talk has all peers speak at random, no more at a time than their sockets can
// hold, and checks that everyone hears everyone else. It returns how many
// datagrams they have said.
func talk(t testing.TB, all []*udpPeer) (total int) {
	t.Helper()
	base := make([]int, len(all))
	for i, p := range all {
		base[i] = p.counted()
	}
	random := rand.New(rand.NewPCG(1, 2))
	said := make([]int, len(all))
	for range 20 {
		for range 60 {
			i := random.IntN(len(all))
			all[i].say(t, random.IntN(1200))
			said[i]++
			total++
		}
		for i, p := range all {
			want := base[i] + total - said[i]
			await(t, fmt.Sprintf("%s hears %d datagrams", p.name, want), func() bool { return p.counted() >= want })
		}
	}
	for _, p := range all {
		p.check(t, all)
	}
	return total
}

func udpPeersOf(t testing.TB, list []*testNode, each int) (all []*udpPeer) {
	t.Helper()
	for _, n := range list {
		for i := range each {
			all = append(all, newUDPPeer(t, n.relay, fmt.Sprintf("%s/%d", n.options.Name, i)))
		}
	}
	return all
}

func TestEveryoneHearsEveryoneElseOnceAndInOrder(t *testing.T) {
	for name, options := range map[string]Options{
		"no secret": {},
		"secret":    {Secret: []byte("secret")},
	} {
		t.Run(name, func(t *testing.T) {
			list := startNodes(t, 3, options)
			talk(t, udpPeersOf(t, list, 2))
			for _, n := range list {
				wantNoDrops(t, n)
				if s := n.Stats(); n.routed() != 2 || !s.Connected {
					t.Errorf("want 2 routes, and connected; got %+v, %t", s.Routes, s.Connected)
				}
			}
		})
	}
}

func TestEveryoneHearsEveryoneElseOverAnExistingNATS(t *testing.T) {
	url, _ := startNATS(t, -1)
	list := startNodes(t, 3, Options{URL: url, Secret: []byte("secret")})
	talk(t, udpPeersOf(t, list, 2))
	for _, n := range list {
		wantNoDrops(t, n)
	}
}

func wantNoDrops(t testing.TB, n *testNode, but ...Drop) {
	t.Helper()
	for reason, count := range n.Stats().Dropped {
		if count != 0 && !slices.Contains(but, Drop(reason)) {
			t.Errorf("want no drops at %s; got %v %d", n.options.Name, Drop(reason), count)
		}
	}
}

// The origin goes with the datagram.
func TestOriginIsKnownAtOtherNodes(t *testing.T) {
	list := startNodes(t, 2, Options{})
	p := newUDPPeer(t, list[0].relay, "p")
	p.say(t, 0)
	list[1].tap.wants(t, p.conn.LocalAddr().String()+" p 0 ")
	list[1].tap.bring(t, said("from nowhere"))
	// Its own node has it from the tap of the other.
	list[0].tap.wants(t, p.conn.LocalAddr().String()+" p 0 ", nobody+"from nowhere")
}

func TestNodeComesAndGoes(t *testing.T) {
	list := startNodes(t, 3, Options{Secret: []byte("secret")})
	leaving, staying := list[1], []*testNode{list[0], list[2]}
	leaving.Close()
	awaitNodes(t, staying...)
	for _, n := range staying {
		if got := n.knows(leaving.ID()); !got.Left || !got.Gone {
			t.Errorf("want %s to know that it has left; got %+v", n.options.Name, got)
		}
	}
	staying[0].tap.bring(t, said("without one"))
	staying[1].tap.wants(t, nobody+"without one")

	o := leaving.options
	back := joinNode(t, leaving.relay, Options{Name: o.Name, Secret: o.Secret, Routes: o.Routes})
	awaitNodes(t, append(staying, back)...)
	back.tap.bring(t, said("back"))
	for _, n := range staying {
		await(t, "the node is heard again", func() bool { return n.tap.counted() > 0 })
		n.tap.mu.Lock()
		last := n.tap.got[len(n.tap.got)-1]
		n.tap.mu.Unlock()
		if last != nobody+"back" {
			t.Errorf("want %q last; got %q", nobody+"back", last)
		}
	}
	await(t, "it is logged that a node has left", func() bool { return staying[0].log.Has(`level=INFO msg="cluster: a node has left"`) })
}

// The node that all know of each other is not needed any more.
func TestNodesTellOfEachOther(t *testing.T) {
	list := startNodes(t, 4, Options{Secret: []byte("secret")})
	list[0].Close()
	rest := list[1:]
	awaitNodes(t, rest...)
	for _, n := range rest {
		n.tap.bring(t, said(n.options.Name))
		for _, other := range others(rest, n) {
			await(t, "what a node says is heard", func() bool {
				other.tap.mu.Lock()
				defer other.tap.mu.Unlock()
				return len(other.tap.got) > 0 && other.tap.got[len(other.tap.got)-1] == nobody+n.options.Name
			})
		}
	}
}

func TestRoomsHearNothingOfEachOther(t *testing.T) {
	one := startNodes(t, 2, Options{Room: "one"})
	var two []*testNode
	for i := range 2 {
		two = append(two, startNode(t, Options{Room: "two", Name: fmt.Sprint("two", i), Routes: []string{one[0].Addr().String()}}))
	}
	awaitNodes(t, two...)
	await(t, "all four are connected", func() bool { return one[0].routed() == 3 && two[0].routed() == 3 })
	one[0].tap.bring(t, said("of one"))
	two[0].tap.bring(t, said("of two"))
	one[1].tap.wants(t, nobody+"of one")
	two[1].tap.wants(t, nobody+"of two")
	// Once more, so that what goes astray has had its time.
	two[1].tap.bring(t, said("of two again"))
	one[1].tap.bring(t, said("of one again"))
	one[0].tap.wants(t, nobody+"of one again")
	two[0].tap.wants(t, nobody+"of two again")
	awaitNodes(t, one...)
	awaitNodes(t, two...)
	for _, n := range append(one, two...) {
		wantNoDrops(t, n)
	}
}

func TestNodesKnowWhatTheOthersSayOfThemselves(t *testing.T) {
	list := startNodes(t, 2, Options{Version: "1.2.3"})
	newUDPPeer(t, list[1].relay, "p")
	await(t, "name, version, peers and round trip are known", func() bool {
		nodes := list[0].Stats().Nodes
		return len(nodes) == 1 && nodes[0].Name == "node1" && nodes[0].Version == "1.2.3" && nodes[0].Peers == 1 &&
			nodes[0].RTT > 0 && !nodes[0].LastSeen.IsZero() && nodes[0].ID == list[1].ID()
	})
}

// knows returns what n knows of the node of that ID.
func (n *testNode) knows(id string) Node {
	for _, other := range n.Stats().Nodes {
		if other.ID == id {
			return other
		}
	}
	return Node{}
}

func TestRatesAreKnown(t *testing.T) {
	t.Parallel() // it waits most of the time
	list := startNodes(t, 2, Options{Secret: []byte("secret")})
	await(t, "both nodes know the rate of what one says", func() bool {
		list[0].tap.bring(t, said("again"))
		here, there := list[0].Stats(), list[1].Stats()
		return here.Out > 0 && here.In == 0 && there.In > 0 && there.Out == 0 &&
			list[0].knows(list[1].ID()).In > 0 && list[1].knows(list[0].ID()).Out > 0
	})
	await(t, "that it has ended", func() bool {
		return list[0].Stats().Out == 0 && list[1].Stats().In == 0 && list[1].knows(list[0].ID()).Out == 0
	})
}

func TestWhatWasDeliveredBeforeCloseIsPublished(t *testing.T) {
	list := startNodes(t, 2, Options{})
	var want []string
	for i := range 5000 {
		text := fmt.Sprint(i, strings.Repeat("x", 200))
		list[0].Deliver([]relay.Datagram{said(text)})
		want = append(want, nobody+text)
	}
	list[0].Close()
	list[0].Close() // once more does no harm
	list[1].tap.wants(t, want...)
	if s := list[0].Stats(); s.Connected || list[0].routed() != 0 || s.PublishedDatagrams != 5000 {
		t.Errorf("want the counts after Close, and no connection; got %+v", s)
	}
}

func TestStartSaysWhatIsWrong(t *testing.T) {
	r := startRelay(t)
	taken := startNode(t, Options{})
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, test := range []struct {
		ctx     context.Context
		options Options
		want    string
	}{
		{context.Background(), Options{Room: "test", Listen: taken.Addr().String()}, "address already in use"},
		{context.Background(), Options{}, "room"},
		{context.Background(), Options{Room: "test", URL: "nats://127.0.0.1:1", Credentials: "/nowhere"}, "/nowhere"},
		{ended, Options{Room: "test"}, "context canceled"},
	} {
		c, err := Start(test.ctx, r, test.options)
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: want an error with %q; got %v", test.options, test.want, err)
		}
	}
}
