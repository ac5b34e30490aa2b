package cluster

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"udprelay/relay"
)

// A proxy is what lies between two nodes, and can hold back all that passes.
type proxy struct {
	listener net.Listener
	to       string
	running  sync.WaitGroup

	mu     sync.Mutex
	opened *sync.Cond
	held   bool
	conns  []net.Conn
	closed bool
}

// startProxy returns a proxy that passes everything on, until the test ends.
func startProxy(t testing.TB, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to}
	p.opened = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.closed = true
		for _, c := range p.conns {
			c.Close()
		}
		p.opened.Broadcast()
		p.mu.Unlock()
		p.running.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp4", p.to)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, in, out)
		if p.closed {
			in.Close()
			out.Close()
		}
		p.mu.Unlock()
		p.running.Go(func() { p.copy(in, out) })
		p.running.Go(func() { p.copy(out, in) })
	}
}

func (p *proxy) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.mu.Lock()
		for p.held && !p.closed {
			p.opened.Wait()
		}
		p.mu.Unlock()
		if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

func (p *proxy) hold(held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = held
	p.opened.Broadcast()
}

// A route that takes nothing is cut and costs the others nothing; what it
// holds meanwhile is bounded. When it goes again, so does the traffic.
func TestRouteThatTakesNothingCostsTheOthersNothing(t *testing.T) {
	list := startNodes(t, 2, Options{Secret: []byte("secret")})
	way := startProxy(t, list[0].Addr().String())
	far := startNode(t, Options{Name: "far", Secret: []byte("secret"), Routes: []string{way.listener.Addr().String()}})
	list = append(list, far)
	awaitNodes(t, list...)
	list[0].tap.bring(t, said("first"))
	far.tap.wants(t, nobody+"first")

	way.hold(true)
	padding := strings.Repeat("x", 1000)
	const rounds, each = 800, 50
	want := []string{nobody + "first"}
	for round := range rounds {
		var batch []relay.Datagram
		for i := range each {
			text := fmt.Sprint(round*each+i, " ", padding)
			batch = append(batch, said(text))
			want = append(want, nobody+text)
		}
		list[0].tap.bring(t, batch...)
		await(t, "the other node hears everything", func() bool { return list[1].tap.counted() == len(want) })
		if round%20 == 0 {
			checkPending(t, list[0])
		}
	}
	list[1].tap.wants(t, want...)
	wantNoDrops(t, list[0])
	wantNoDrops(t, list[1])
	await(t, "the route is cut", func() bool { return list[0].Stats().Routes == 1 })

	way.hold(false)
	await(t, "the node is back", func() bool { return list[0].Stats().Routes == 2 })
	awaitNodes(t, list...)
	await(t, "it is heard of again", func() bool {
		list[0].tap.bring(t, said("end"))
		far.tap.mu.Lock()
		defer far.tap.mu.Unlock()
		return len(far.tap.got) > 0 && far.tap.got[len(far.tap.got)-1] == nobody+"end"
	})
	if far.dropped(DropLost) == 0 || far.dropped(DropDuplicate) != 0 {
		t.Errorf("want some lost and none twice; got %+v", far.Stats())
	}
	far.tap.mu.Lock()
	defer far.tap.mu.Unlock()
	checkAscending(t, far.tap.got)
}

// checkPending checks that what waits for each route of n is bounded.
func checkPending(t testing.TB, n *testNode) {
	t.Helper()
	routes, err := n.server.Routez(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes.Routes {
		if r.Pending > maxPending {
			t.Fatalf("want at most %d bytes waiting for the route to %s; got %d", maxPending, r.RemoteName, r.Pending)
		}
	}
}
