//go:build !nocluster

package cluster

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A meddler is between nodes and a NATS server.
type meddler struct {
	url string

	mu    sync.Mutex
	conns []net.Conn // of nodes
	ended int
}

// meddle listens for nodes, until the test ends, and connects them to a server.
func meddle(t testing.TB, server string) *meddler {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meddler{url: "nats://" + l.Addr().String()}
	var working sync.WaitGroup
	working.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			behind, err := net.Dial("tcp4", strings.TrimPrefix(server, "nats://"))
			if err != nil {
				t.Error(err)
				conn.Close()
				return
			}
			m.mu.Lock()
			m.conns = append(m.conns, conn)
			m.mu.Unlock()
			pass := func(to, from net.Conn) {
				io.Copy(to, from) // how it ends does not matter
				to.Close()
				from.Close()
			}
			working.Go(func() { pass(behind, conn) })
			working.Go(func() {
				pass(conn, behind)
				m.mu.Lock()
				m.ended++
				m.mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		m.mu.Lock()
		for _, conn := range m.conns {
			conn.Close()
		}
		m.mu.Unlock()
		working.Wait()
	})
	return m
}

func (m *meddler) counts() (begun, ended int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.conns), m.ended
}

// say tells the node that connected last something, as if the server had.
func (m *meddler) say(t testing.TB, text string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := io.WriteString(m.conns[len(m.conns)-1], text); err != nil {
		t.Fatal(err)
	}
}

// An error at which the client of NATS gives up costs a moment, and not the
// connection for good.
func TestErrorsOfTheServerEndNothing(t *testing.T) {
	url, _ := startNATS(t, -1)
	m := meddle(t, url)
	secret := []byte("secret")
	one := startNode(t, Options{Name: "one", URL: url, Secret: secret})
	two := startNode(t, Options{Name: "two", URL: m.url, Secret: secret})
	awaitNodes(t, one, two)
	for _, text := range []string{
		"-ERR 'who are you?'\r\n", // one that it does not know
		"-ERR 'Maximum Payload Violation'\r\n",
		"-ERR 'maximum control line exceeded'\r\n",
		"hello\r\n",
		"MSG udprelay.test.data 1 999999999999999\r\n",
	} {
		begun, ended := m.counts()
		client := two.conn.client.Load()
		m.say(t, text)
		await(t, text+": the node is connected again", func() bool {
			if client.IsClosed() && client == two.conn.client.Load() {
				return false
			}
			now, gone := m.counts()
			return now > begun && gone > ended && two.Stats().Connected
		})
		before := two.Stats().ReceivedDatagrams
		await(t, text+": datagrams come again", func() bool {
			one.tap.bring(t, said("?"))
			return two.Stats().ReceivedDatagrams > before
		})
	}
	two.Close()
	if !two.conn.client.Load().IsClosed() || two.Stats().Connected {
		t.Error("want no connection after Close")
	}
}

// silence listens, until the test ends, and says nothing to who connects.
func silence(t testing.TB) (url string, called func() int) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	var listening sync.WaitGroup
	listening.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
		}
	})
	t.Cleanup(func() {
		l.Close()
		listening.Wait()
		for _, conn := range conns {
			conn.Close()
		}
	})
	return "nats://" + l.Addr().String(), func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(conns)
	}
}

// A server that takes connections and says nothing holds up neither the start
// nor what is told nor the end: all are over before the next server has its turn.
func TestServerThatSaysNothingHoldsUpNothing(t *testing.T) {
	first, calledFirst := silence(t)
	second, calledSecond := silence(t)
	// The client tries them in any order.
	urls, called := first+","+second, func() int { return calledFirst() + calledSecond() }
	n := startNode(t, Options{Name: "patient", URL: urls})
	await(t, "a server is called", func() bool { return called() > 0 })
	if n.Stats().Connected {
		t.Error("want no connection")
	}
	n.tap.bring(t, said("to nobody"))
	await(t, "what can not be said is counted", func() bool { return n.dropped(DropPublishFailed) == 1 })
	n.Close()
	if got := called(); got != 1 {
		t.Errorf("want all done while the first server is waited for; got %d called", got)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, startRelay(t), Options{Room: "test", URL: urls}); err == nil {
		t.Error("want no start if it is not wanted any more")
	}
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		for called() < 2 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	switch c, err := Start(ctx, startRelay(t), Options{Room: "test", URL: urls}); {
	case err == nil:
		c.Close() // it was quicker than that
	case ctx.Err() == nil:
		t.Errorf("want the start to end with its context; got %v", err)
	}
	cancel()
}

// Small messages take more memory than their bytes say, so their number is
// bounded, too.
func TestSmallMessagesThatWaitAreBounded(t *testing.T) {
	url, _ := startNATS(t, -1)
	n := startNode(t, Options{Name: "stalled", URL: url, Queue: leastQueue})
	if err := n.conn.FlushTimeout(patience); err != nil { // the server knows what it subscribes to
		t.Fatal(err)
	}
	release, entered := make(chan struct{}), make(chan struct{})
	n.tap.mu.Lock()
	n.tap.blocked, n.tap.entered = release, entered
	n.tap.mu.Unlock()
	defer close(release)
	inject(t, url, n.dataSubject, numbered("NODENODE", 1))
	<-entered
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const flood = 4 * leastQueue / leastWaiting
	for i := range flood {
		if err := conn.Publish(n.dataSubject, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if i%1024 == 1023 { // no faster than the server passes it on
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	await(t, "what is too much is dropped", func() bool { return n.dropped(DropSlow) > 0 })
	messages, size, err := n.subs[0].Pending()
	if err != nil || messages > leastQueue/leastWaiting {
		t.Errorf("want at most %d messages waiting; got %d of %d bytes, %v", leastQueue/leastWaiting, messages, size, err)
	}
}

// A stranger who connects to where nodes do and says nothing, or what is none of
// it, is not kept for long, and is no node.
func TestStrangersAreNotKept(t *testing.T) {
	t.Parallel() // it waits most of the time
	n := startNode(t, Options{Name: "one", Secret: []byte("secret")})
	const strangers = 200
	var all []net.Conn
	for i := range strangers {
		conn, err := net.Dial("tcp4", n.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		switch i % 4 {
		case 1:
			io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		case 2:
			conn.Write(bytes.Repeat([]byte("CONNECT {"), 100_000)) // cut off is as well
		case 3:
			io.WriteString(conn, "CONNECT {\"user\":\"udprelay\",\"pass\":\"guess\",\"cluster\":\"udprelay\"}\r\nPING\r\nRS+ $G udprelay.test.data\r\n")
		}
		all = append(all, conn)
	}
	for i, conn := range all {
		conn.SetReadDeadline(time.Now().Add(patience))
		if said, err := io.ReadAll(conn); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Fatalf("want stranger %d to be cut off; got %q, %v", i, said, err)
		}
	}
	if got := len(n.Stats().Routes); got != 0 {
		t.Errorf("want no route; got %d", got)
	}
	await(t, "nothing of them is left", func() bool { return n.server.NumRoutes() == 0 })
}
