//go:build !nocluster

package cluster

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	pause  time.Duration // after each 32 KiB
}

// startProxy returns a proxy that passes everything on, until the test ends.
func startProxy(t testing.TB, to string) *proxy { return startSlowProxy(t, to, 0) }

// startSlowProxy returns a proxy that pauses after each 32 KiB. The kernel keeps
// little for it to read: NATS gives a route up when the answer to a ping takes six
// seconds, and what was sent before the ping comes first.
func startSlowProxy(t testing.TB, to string, pause time.Duration) *proxy {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to, pause: pause}
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
		if p.pause > 0 {
			for _, c := range []net.Conn{in, out} {
				if err := c.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
					c.Close()
				}
			}
		}
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
		if n > 4096 { // not of what is said seldom
			time.Sleep(p.pause)
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
	t.Parallel() // it waits most of the time
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
	await(t, "the route is cut", func() bool { return list[0].routed() == 1 })

	way.hold(false)
	await(t, "the node is back", func() bool { return list[0].routed() == 2 })
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

// A route that takes less than there is stays, and drops what is too much. The
// other node goes on without loss.
func TestSlowRouteDropsWhatIsTooMuch(t *testing.T) {
	t.Parallel() // it waits most of the time
	options := Options{Secret: []byte("secret"), Queue: 1 << 20}
	list := startNodes(t, 2, options)
	way := startSlowProxy(t, list[0].Addr().String(), 10*time.Millisecond)
	options.Name, options.Routes = "far", []string{way.listener.Addr().String()}
	far := startNode(t, options)
	awaitNodes(t, append(list, far)...)
	began := far.awaitConnected(t, options.Routes[0]).Since

	sent := 0
	await(t, "what is too much is dropped", func() bool {
		sent = bringMore(t, list[0], list[1], sent)
		checkPending(t, list[0])
		return far.dropped(DropLost) > 0
	})
	await(t, "the rest comes, and what is lost is counted", func() bool {
		s := far.Stats()
		if s.ReceivedDatagrams+s.Dropped[DropLost] >= uint64(sent) {
			return true
		}
		list[0].tap.bring(t, said("end"))
		sent++
		time.Sleep(10 * time.Millisecond) // no faster than the route
		return false
	})
	if r := far.awaitConnected(t, options.Routes[0]); !r.Since.Equal(began) {
		t.Errorf("want the route of %v not cut; got one of %v", began, r.Since)
	}
	wantNoDrops(t, list[0])
	wantNoDrops(t, list[1])
	far.tap.mu.Lock()
	defer far.tap.mu.Unlock()
	checkAscending(t, far.tap.got)
}

// bringMore has a node bring 50 long datagrams more than those that were sent, and
// waits until another one has heard all. It returns how many were sent.
func bringMore(t *testing.T, from, to *testNode, sent int) int {
	t.Helper()
	padding := strings.Repeat("x", 1000)
	var batch []relay.Datagram
	for range 50 {
		batch = append(batch, said(fmt.Sprint(sent, " ", padding)))
		sent++
	}
	from.tap.bring(t, batch...)
	await(t, "the other node hears everything", func() bool { return to.tap.counted() == sent })
	return sent
}

// checkPending checks that what waits for each route of n is bounded.
func checkPending(t testing.TB, n *testNode) {
	t.Helper()
	routes, err := n.server.Routez(nil)
	if err != nil {
		t.Fatal(err)
	}
	most := n.options.pending()
	for _, r := range routes.Routes {
		if r.Pending > most {
			t.Fatalf("want at most %d bytes waiting for the route to %s; got %d", most, r.RemoteName, r.Pending)
		}
	}
}

// A route that takes nothing does not delay the end of a node, and the others get
// what it has delivered, and are told that it leaves.
func TestCloseDoesNotWaitForARouteThatTakesNothing(t *testing.T) {
	t.Parallel()
	list := startNodes(t, 2, Options{Secret: []byte("secret")})
	way := startProxy(t, list[0].Addr().String())
	far := startNode(t, Options{Name: "far", Secret: []byte("secret"), Routes: []string{way.listener.Addr().String()}})
	awaitNodes(t, append(list, far)...)
	way.hold(true)
	sent := 0
	await(t, "bytes wait for the route", func() bool {
		sent = bringMore(t, list[0], list[1], sent)
		return slices.ContainsFunc(list[0].Stats().Routes, func(r Route) bool { return r.Pending > 100<<10 })
	})
	port := list[0].Addr().String()
	began := time.Now()
	list[0].Close()
	if took, most := time.Since(began), 700*time.Millisecond; took > most {
		t.Errorf("want an end within %v; got one of %v", most, took)
	} else {
		t.Logf("Close took %v", took)
	}
	l, err := net.Listen("tcp4", port)
	if err != nil {
		t.Fatalf("want its port free for the next node; got %v", err)
	}
	l.Close()
	await(t, "the others are told", func() bool {
		return slices.ContainsFunc(list[1].Stats().Nodes, func(n Node) bool { return n.Name == "node0" && n.Left })
	})
}

// The same holds for a NATS server that takes nothing any more.
func TestCloseDoesNotWaitForANATSServerThatTakesNothing(t *testing.T) {
	t.Parallel()
	url, _ := startNATS(t, -1)
	way := startProxy(t, strings.TrimPrefix(url, "nats://"))
	n := startNode(t, Options{Name: "stalled", URL: "nats://" + way.listener.Addr().String()})
	await(t, "it is connected", func() bool { return n.Stats().Connected })
	way.hold(true)
	padding := strings.Repeat("x", 1000)
	await(t, "its queue is full", func() bool {
		var batch []relay.Datagram
		for range 50 {
			batch = append(batch, said(padding))
		}
		n.tap.bring(t, batch...)
		return n.dropped(DropQueueFull) > 0
	})
	began := time.Now()
	n.Close()
	if took, most := time.Since(began), 700*time.Millisecond; took > most {
		t.Errorf("want an end within %v; got one of %v", most, took)
	} else {
		t.Logf("Close took %v", took)
	}
}
