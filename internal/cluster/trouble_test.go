//go:build !nocluster

package cluster

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"udprelay/internal/testlog"
	"udprelay/relay"
)

func (n *testNode) dropped(reason Drop) uint64 { return n.Stats().Dropped[reason] }

// A node that does not know the secret gets no route, and nothing else.
func TestNodeWithoutTheSecretIsKeptOut(t *testing.T) {
	t.Parallel() // it waits most of the time
	ours := []byte("sesame open")
	list := startNodes(t, 2, Options{Secret: ours})
	for name, secret := range map[string][]byte{"wrong": []byte("other"), "none": nil} {
		stranger := startNode(t, Options{Name: name, Secret: secret, Routes: []string{list[0].Addr().String()}})
		list[0].log.Reset()
		await(t, "the stranger is refused", func() bool {
			return list[0].log.Has("Authorization") || list[0].log.Has("authentication") || list[0].log.Has("Authentication")
		})
		stranger.tap.bring(t, said("of the stranger"))
		list[0].tap.bring(t, said(name))
		await(t, "what a node says is heard", func() bool { return list[1].tap.counted() > 0 })
		list[1].tap.wants(t, nobody+name)
		if s := stranger.Stats(); stranger.routed() != 0 || len(s.Nodes) != 0 || s.ReceivedMessages != 0 || stranger.tap.counted() != 0 {
			t.Errorf("%s: want the stranger to hear of nobody; got %+v", name, s)
		}
		if list[0].log.Has(routePassword(ours)) || stranger.log.Has(string(ours)) {
			t.Errorf("%s: want no secret in the log", name)
		}
		stranger.Close()
	}
	awaitNodes(t, list...)
}

// On a NATS that others share, nodes of different secrets pass each other over.
func TestSecretKeepsStrangersOutOfASharedNATS(t *testing.T) {
	t.Parallel() // it waits most of the time
	url, _ := startNATS(t, -1)
	list := startNodes(t, 2, Options{URL: url, Secret: []byte("secret")})
	other := startNode(t, Options{Name: "other", URL: url, Secret: []byte("other")})
	open := startNode(t, Options{Name: "open", URL: url})
	for _, n := range append(list, other, open) {
		before := n.dropped(DropWrongSecret)
		await(t, n.options.Name+" refuses the others", func() bool { return n.dropped(DropWrongSecret) > before })
	}
	before := list[0].dropped(DropWrongSecret)
	other.tap.bring(t, said("of other"))
	open.tap.bring(t, said("of open"))
	list[1].tap.bring(t, said("of one"))
	list[0].tap.wants(t, nobody+"of one")
	await(t, "what the others say is refused", func() bool { return list[0].dropped(DropWrongSecret) >= before+2 })
	for _, n := range []*testNode{other, open} {
		if s := n.Stats(); len(s.Nodes) != 0 || s.ReceivedMessages != 0 {
			t.Errorf("want %s to hear of nobody; got %+v", n.options.Name, s)
		}
	}
	awaitNodes(t, list...)
}

// inject publishes messages that no node has made.
func inject(t testing.TB, url, subject string, messages ...string) {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, m := range messages {
		if err := conn.Publish(subject, []byte(m)); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
}

// numbered is oneOfEach, of another node and number.
func numbered(node string, number uint64) string {
	p := []byte(oneOfEach)
	copy(p[8:], node)
	binary.BigEndian.PutUint64(p[16:], number)
	return string(p)
}

func TestMessagesThatNoNodeHasMadeDoNoHarm(t *testing.T) {
	url, _ := startNATS(t, -1)
	list := startNodes(t, 2, Options{URL: url})
	n := list[0]
	beatOf := func(body string) string {
		p := []byte(numbered("NODENODE", 1)[:headerBytes])
		p[4], p[7] = byte(kindBeat), 0
		return string(p) + body
	}
	for _, test := range []struct {
		name, subject, message string
		reason                 Drop
	}{
		{"nothing", n.dataSubject, "", DropMalformed},
		{"text", n.dataSubject, "hello, is there anybody?", DropMalformed},
		{"a later version", n.dataSubject, "UDR\x02 of which nothing is known", DropUnknownVersion},
		{"a later version of a beat", n.controlSubject, "UDR\x02", DropUnknownVersion},
		{"cut", n.dataSubject, oneOfEach[:len(oneOfEach)-1], DropMalformed},
		{"beat among the datagrams", n.dataSubject, beatOf("{}"), DropMalformed},
		{"datagrams among the beats", n.controlSubject, oneOfEach, DropMalformed},
		{"beat that is no JSON", n.controlSubject, beatOf("{"), DropMalformed},
		{"long beat", n.controlSubject, beatOf(`{"name":"` + strings.Repeat("x", maxBeat) + `"}`), DropMalformed},
		{"sealed", n.dataSubject, "UDR\x01\x01\x01" + oneOfEach[6:], DropWrongSecret},
		{"longer than there is", n.dataSubject, oneOfEach + strings.Repeat("x", maxMessage), DropMalformed},
	} {
		before := n.dropped(test.reason)
		inject(t, url, test.subject, test.message)
		await(t, fmt.Sprintf("%s is counted as %v", test.name, test.reason), func() bool { return n.dropped(test.reason) == before+1 })
	}
	if n.tap.counted() != 0 {
		t.Errorf("want nothing brought; got %d datagrams", n.tap.counted())
	}
	list[1].tap.bring(t, said("still there"))
	n.tap.wants(t, nobody+"still there")
	awaitNodes(t, list...)
}

func TestNothingIsBroughtTwiceOrLate(t *testing.T) {
	url, _ := startNATS(t, -1)
	n := startNode(t, Options{URL: url})
	await(t, "the node is connected", func() bool { return n.Stats().Connected })
	if err := n.conn.FlushTimeout(patience); err != nil { // the server knows what it subscribes to
		t.Fatal(err)
	}
	message := func(number uint64) string { return numbered("NODENODE", number) }
	inject(t, url, n.dataSubject, message(1), message(5), message(5), message(1), message(19), message(10), message(7), message(23),
		numbered("OTHERONE", 1000)) // of which what was before is not missed
	await(t, "all are counted", func() bool {
		s := n.Stats() // the datagrams of a message count later than it does
		return s.ReceivedMessages+s.Dropped[DropDuplicate] == 9 && s.ReceivedDatagrams >= 20
	})
	if s := n.Stats(); s.ReceivedDatagrams != 20 || s.Dropped[DropDuplicate] != 4 || s.Dropped[DropLost] != 10 {
		t.Errorf("want 20 datagrams, 4 duplicate messages, 10 datagrams lost; got %+v", s)
	}
	if nodes := n.Stats().Nodes; len(nodes) != 2 || nodes[0].Lost != 10 || nodes[0].Received != 16 || nodes[0].Duplicates != 4 {
		t.Errorf("want that counted of the node too; got %+v", nodes)
	}
}

func TestNodesThatAreRememberedAreBounded(t *testing.T) {
	url, _ := startNATS(t, -1)
	n := startNode(t, Options{URL: url})
	await(t, "the node is connected", func() bool { return n.Stats().Connected })
	if err := n.conn.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	var messages []string
	for i := range maxNodes + 50 {
		messages = append(messages, numbered(fmt.Sprintf("%08d", i), 1))
	}
	inject(t, url, n.dataSubject, messages...)
	await(t, "the rest is dropped", func() bool { return n.dropped(DropTooManyNodes) == 50 })
	if got := len(n.Stats().Nodes); got != maxNodes {
		t.Errorf("want %d nodes; got %d", maxNodes, got)
	}
}

func TestNodesAreForgottenWhenTheyAreGoneForLong(t *testing.T) {
	now := time.Now()
	table := &nodes{byID: make(map[nodeID]*node)}
	table.beat(nodeID{1}, nil, 1, &beat{Name: "one"}, now, 0)
	for _, test := range []struct {
		after       time.Duration
		what        string // that is told
		known, gone int
	}{
		{0, "is here", 1, 0},
		{goneAfter, "", 1, 0},
		{goneAfter + 1, "is gone", 1, 1},
		{rememberFor, "", 1, 1},
		{rememberFor + 1, "", 0, 0},
	} {
		at := now.Add(test.after)
		changes, gone := table.look(at), 0
		list := table.list(at)
		if len(list) == 1 && list[0].Gone {
			gone = 1
		}
		what := ""
		if len(changes) == 1 {
			what = changes[0].String()
		}
		if what != test.what || len(list) != test.known || gone != test.gone {
			t.Errorf("after %v: want %q told, %d known, %d gone; got %v, %d, %d", test.after, test.what, test.known, test.gone, changes, len(list), gone)
		}
	}
}

// NATS goes away and comes back.
func TestNodesConnectAgain(t *testing.T) {
	url, stop := startNATS(t, -1)
	port := 0
	fmt.Sscanf(url[strings.LastIndex(url, ":")+1:], "%d", &port)
	list := startNodes(t, 2, Options{URL: url})
	list[0].tap.bring(t, said("before"))
	list[1].tap.wants(t, nobody+"before")
	stop()
	await(t, "that is noticed", func() bool { return !list[0].Stats().Connected && !list[1].Stats().Connected })
	list[0].tap.bring(t, said("to nobody"))
	await(t, "what can not be said is counted", func() bool { return list[0].dropped(DropPublishFailed) == 1 })
	startNATS(t, port)
	await(t, "the nodes are connected again", func() bool { return list[0].Stats().Connected && list[1].Stats().Connected })
	if err := list[1].conn.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	list[0].tap.bring(t, said("to one"))
	list[1].tap.wants(t, nobody+"to one")
	if n := list[1].dropped(DropLost); n != 1 {
		t.Errorf("want what was not said counted as lost; got %d", n)
	}
}

// NATS need not be there yet when a node starts.
func TestNodeStartsBeforeNATS(t *testing.T) {
	t.Parallel() // it waits most of the time
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	n := startNode(t, Options{Name: "early", URL: fmt.Sprint("nats://127.0.0.1:", port)})
	n.tap.bring(t, said("too early"))
	await(t, "what can not be said is counted", func() bool { return n.dropped(DropPublishFailed) == 1 })
	url, _ := startNATS(t, port)
	late := startNode(t, Options{Name: "late", URL: url})
	awaitNodes(t, n, late)
}

// A node whose relay hangs costs the others nothing, and itself no more memory
// than its queue.
func TestStalledNodeCostsTheOthersNothing(t *testing.T) {
	list := startNodes(t, 3, Options{Queue: leastQueue})
	stalled := list[2]
	release, entered := make(chan struct{}), make(chan struct{})
	stalled.tap.mu.Lock()
	stalled.tap.blocked, stalled.tap.entered = release, entered
	stalled.tap.mu.Unlock()
	list[0].tap.bring(t, said("first"))
	<-entered

	// More than all buffers on the way hold, no faster than the other takes it.
	padding := strings.Repeat("x", 1000)
	const rounds, each = 600, 50
	var want []string
	want = append(want, nobody+"first")
	for round := range rounds {
		var batch []relay.Datagram
		for i := range each {
			text := fmt.Sprint(round*each+i, " ", padding)
			batch = append(batch, said(text))
			want = append(want, nobody+text)
		}
		list[0].tap.bring(t, batch...)
		await(t, "the other node hears everything", func() bool { return list[1].tap.counted() == len(want) })
	}
	list[1].tap.wants(t, want...)
	if _, bytes, err := stalled.subs[0].Pending(); err != nil || bytes > leastQueue {
		t.Errorf("want at most %d bytes waiting; got %d, %v", leastQueue, bytes, err)
	}
	await(t, "the stalled node drops", func() bool { return stalled.dropped(DropSlow) > 0 })
	wantNoDrops(t, list[0])
	wantNoDrops(t, list[1])

	stalled.tap.mu.Lock()
	stalled.tap.blocked = nil
	stalled.tap.mu.Unlock()
	close(release)
	sent := uint64(len(want))
	await(t, "the stalled node accounts for everything", func() bool {
		list[0].tap.bring(t, said("end")) // so that it sees the gap before
		sent++
		s := stalled.Stats()
		return s.Dropped[DropLost] > 0 && s.ReceivedDatagrams+s.Dropped[DropLost] >= uint64(len(want))
	})
	await(t, "the last comes", func() bool {
		s := stalled.Stats()
		return s.ReceivedDatagrams+s.Dropped[DropLost] == sent
	})
	stalled.tap.mu.Lock()
	defer stalled.tap.mu.Unlock()
	checkAscending(t, stalled.tap.got)
}

// checkAscending checks that the datagrams that are numbered came in order,
// each once.
func checkAscending(t testing.TB, got []string) {
	t.Helper()
	last := -1
	for _, text := range got {
		var number int
		if _, err := fmt.Sscanf(strings.TrimPrefix(text, nobody), "%d ", &number); err != nil {
			continue // of another kind
		}
		if number <= last {
			t.Fatalf("want datagrams in order, each once; got %d after %d", number, last)
		}
		last = number
	}
}

// What a stranger does is logged a few times, then counted.
func TestServerLogIsBounded(t *testing.T) {
	out := new(testlog.Log)
	l := newServerLog(out.Logger(), nil)
	for range 1000 {
		l.Errorf("refused %s", "somebody")
	}
	lines := strings.Count(out.String(), "refused somebody")
	if lines != logBurst {
		t.Errorf("want %d lines; got %d", logBurst, lines)
	}
	if hidden, ok := l.limited.allow(time.Now().Add(logEvery)); !ok || hidden != 1000-logBurst {
		t.Errorf("want the next line to tell of %d; got %d, %t", 1000-logBurst, hidden, ok)
	}
}
