//go:build !nocluster

package cluster

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"udprelay/internal/testlog"
	"udprelay/internal/testwait"
	"udprelay/peers"
	"udprelay/relay"
)

// patience is how long a test waits for what must come.
const patience = testwait.Patience

// await waits until ok holds.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testwait.Until(t, ok, what+": not so")
}

// startRelay returns a relay on the loopback interface that runs until the test
// ends.
func startRelay(t testing.TB) *relay.Relay {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	everywhere, err := peers.ParseFrom("any")
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(conn, relay.Options{
		Peers:         peers.Options{Expiry: time.Hour, Access: []peers.Rule{{From: "any", Cover: everywhere, May: peers.MayBoth}}},
		ReceiveBuffer: 4 << 20, SendBuffer: 4 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("want the relay to end without an error; got %v", err)
		}
	})
	return r
}

// A testNode is a relay that takes part, and a link of it.
type testNode struct {
	*Cluster
	tap *tap
	log *testlog.Log
}

// startNode makes a new relay a node, until the test ends.
func startNode(t testing.TB, options Options) *testNode {
	t.Helper()
	return joinNode(t, startRelay(t), options)
}

// joinNode makes r a node, until the test ends.
func joinNode(t testing.TB, r *relay.Relay, options Options) *testNode {
	t.Helper()
	n := &testNode{tap: newTap(), log: new(testlog.Log)}
	n.tap.attachment = r.Attach(n.tap)
	t.Cleanup(n.tap.attachment.Detach)
	options.Logger = n.log.Logger()
	if options.URL == "" && options.Listen == "" {
		options.Listen = "127.0.0.1:0"
	}
	if options.Room == "" {
		options.Room = "test"
	}
	var err error
	if n.Cluster, err = Start(context.Background(), r, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// startNodes starts nodes that are connected to the first, and waits until
// all know each other.
func startNodes(t testing.TB, count int, options Options) (list []*testNode) {
	t.Helper()
	for i := range count {
		o := options
		o.Name = fmt.Sprint("node", i)
		if i > 0 && o.URL == "" {
			o.Routes = []string{list[0].Addr().String()}
		}
		list = append(list, startNode(t, o))
	}
	awaitNodes(t, list...)
	return list
}

// awaitNodes waits until the nodes know each other, and nobody else is there.
func awaitNodes(t testing.TB, list ...*testNode) {
	t.Helper()
	for _, n := range list {
		var want []string
		for _, other := range list {
			if other != n {
				want = append(want, other.options.Name)
			}
		}
		slices.Sort(want)
		await(t, fmt.Sprintf("%s knows %q", n.options.Name, want), func() bool { return slices.Equal(n.known(), want) })
	}
}

// known returns the names of the nodes that are there.
func (n *testNode) known() (names []string) {
	for _, other := range n.Stats().Nodes {
		if !other.Gone {
			names = append(names, other.Name)
		}
	}
	return names
}

// others returns the nodes without n.
func others(list []*testNode, n *testNode) []*testNode {
	return slices.DeleteFunc(slices.Clone(list), func(other *testNode) bool { return other == n })
}

// A tap is a link that brings what the test wants, and keeps what it is handed.
type tap struct {
	attachment *relay.Attachment

	mu      sync.Mutex
	keep    bool
	got     []string
	count   int
	blocked chan struct{} // nil, or Deliver waits until it is closed
	entered chan struct{} // closed when it does
}

func newTap() *tap { return &tap{keep: true} }

func (*tap) Name() string { return "tap" }

func (p *tap) Deliver(batch []relay.Datagram) {
	p.mu.Lock()
	p.count += len(batch)
	if p.keep {
		for _, d := range batch {
			p.got = append(p.got, d.From.String()+" "+string(d.Payload))
		}
	}
	blocked := p.blocked
	if blocked != nil && p.entered != nil {
		close(p.entered)
		p.entered = nil
	}
	p.mu.Unlock()
	if blocked != nil {
		<-blocked
	}
}

func (p *tap) counted() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

func (p *tap) bring(t testing.TB, batch ...relay.Datagram) {
	t.Helper()
	if err := p.attachment.Bring(batch); err != nil {
		t.Fatal(err)
	}
}

// wants waits for as many datagrams as there are in want, and checks that they
// are those.
func (p *tap) wants(t testing.TB, want ...string) {
	t.Helper()
	await(t, fmt.Sprintf("%d datagrams at the tap", len(want)), func() bool { return p.counted() >= len(want) })
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.got, want) {
		t.Fatalf("want %.200q at the tap; got %.200q", want, p.got)
	}
	p.got, p.count = nil, 0
}

// said returns a datagram of no address.
func said(text string) relay.Datagram { return relay.Datagram{Payload: []byte(text)} }

// nobody is what a tap writes for a datagram of no address.
const nobody = "invalid AddrPort "

// startNATS runs a NATS server that is not a node's, until the test ends or
// stop is called.
func startNATS(t testing.TB, port int) (url string, stop func()) {
	t.Helper()
	s := runNATS(t, &server.Options{Port: port})
	return s.ClientURL(), func() { stopServer(s) }
}

// runNATS runs a NATS server on the loopback interface, until the test ends.
func runNATS(t testing.TB, options *server.Options) *server.Server {
	t.Helper()
	options.Host, options.NoSigs, options.NoLog = "127.0.0.1", true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	await(t, "the NATS server listens", func() bool { return s.ReadyForConnections(time.Millisecond) })
	t.Cleanup(func() { stopServer(s) })
	return s
}

// routed returns how many routes to other nodes there are.
func (n *testNode) routed() (count int) {
	for _, r := range n.Stats().Routes {
		if r.Connected {
			count++
		}
	}
	return count
}
