//go:build !nocluster

package cluster

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A recorder keeps every message, as somebody may who has access to NATS.
type recorder struct {
	conn *nats.Conn

	mu   sync.Mutex
	kept []*nats.Msg
}

func newRecorder(t testing.TB, url string) *recorder {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{conn: conn}
	closed := make(chan struct{})
	conn.SetClosedHandler(func(*nats.Conn) { close(closed) })
	t.Cleanup(func() { conn.Close(); <-closed })
	if _, err := conn.Subscribe("udprelay.>", func(m *nats.Msg) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.kept = append(r.kept, m)
	}); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return r
}

// count returns how many messages of a kind were kept.
func (r *recorder) count(what kind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.kept {
		if m.Data[4] == byte(what) {
			n++
		}
	}
	return n
}

// repeat publishes what was kept so far, all on the same subjects but for what
// was for one node, which is now for n. It returns when n has taken it all.
func (r *recorder) repeat(t testing.TB, n *testNode) {
	t.Helper()
	r.mu.Lock()
	kept := slices.Clone(r.kept)
	r.mu.Unlock()
	for _, m := range kept {
		subject := m.Subject
		if strings.Contains(subject, ".node.") {
			subject = n.nodeSubject
		}
		if err := r.conn.Publish(subject, m.Data); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.conn.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	// What is after them in each way has come.
	for _, subject := range []string{n.dataSubject, n.controlSubject, n.nodeSubject} {
		before := n.dropped(DropUnknownVersion)
		if err := r.conn.Publish(subject, []byte("UDR\x7f")); err != nil {
			t.Fatal(err)
		}
		await(t, "the last comes", func() bool { return n.dropped(DropUnknownVersion) > before })
	}
}

// What is recorded and said again by somebody who does not have the secret does
// nothing, neither to who heard it then nor to who did not.
func TestRecordedMessagesDoNothing(t *testing.T) {
	url, _ := startNATS(t, -1)
	r := newRecorder(t, url)
	var asked atomic.Int64
	options := Options{URL: url, Secret: []byte("secret"), Shared: new(set), Answer: func(context.Context, []byte) []byte {
		asked.Add(1)
		return []byte("!")
	}}
	first := startNode(t, options)
	options.Name, options.Shared = "second", &set{words: map[string]bool{"a": true}}
	second := startNode(t, options)
	awaitNodes(t, first, second)
	wantWords(t, "a", first, second)
	second.tap.bring(t, said("once"))
	first.tap.wants(t, nobody+"once")
	second.wantAnswer(t, first, "?", "!")
	await(t, "it is recorded", func() bool {
		return r.count(kindDatagrams) == 1 && r.count(kindBeat) > 2 && r.count(kindQuestion) >= 2 && r.count(kindAnswer) >= 2
	})

	r.repeat(t, first)
	if n := asked.Load(); n != 1 || first.tap.counted() != 0 || first.dropped(DropDuplicate) == 0 {
		t.Errorf("want one question answered and nothing brought again; got %d, %d", n, first.tap.counted())
	}

	second.Close()
	awaitNodes(t, first)
	r.repeat(t, first)
	if known := first.known(); len(known) != 0 || first.tap.counted() != 0 {
		t.Errorf("want nobody here who has gone, and nothing brought; got %q, %d", known, first.tap.counted())
	}

	options.Name, options.Shared = "third", new(set)
	first.Close()
	third := startNode(t, options)
	await(t, "the third is connected", func() bool { return third.Stats().Connected })
	if err := third.conn.FlushTimeout(patience); err != nil {
		t.Fatal(err)
	}
	r.repeat(t, third)
	s := third.Stats()
	if len(s.Nodes) != 0 || s.ReceivedMessages != 0 || asked.Load() != 1 || third.words() != "" {
		t.Errorf("want nothing recorded heard; got %+v, %d, %q", s, asked.Load(), third.words())
	}
	if s.Dropped[DropUnproven] == 0 {
		t.Errorf("want it counted as %v; got %v", DropUnproven, s.Dropped)
	}
}

// A node with a secret is heard from when it tells that it heard a beat of a
// short while ago, and with what it says from then on.
func TestNodeProvesItself(t *testing.T) {
	self, id := nodeID{1}, nodeID{2}
	now := time.Now()
	const since = int64(time.Hour)
	echoOf := func(age time.Duration) map[string]echo {
		return map[string]echo{hex.EncodeToString(self[:]): {At: since - int64(age)}}
	}
	for _, test := range []struct {
		name   string
		echo   map[string]echo
		proven bool
	}{
		{"none", nil, false},
		{"of another node", map[string]echo{hex.EncodeToString(id[:]): {At: since}}, false},
		{"of now", echoOf(0), true},
		{"not long ago", echoOf(freshFor), true},
		{"too long ago", echoOf(freshFor + 1), false},
		{"of the future", echoOf(-1), false},
		{"of no beat", echoOf(time.Duration(since)), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			table := &nodes{secret: []byte("secret"), self: self, byID: make(map[nodeID]*node)}
			hear := func(number uint64) heard { return table.datagrams(id, nil, number, 1, now) }
			if h := hear(90); !h.unproven || !h.isNew {
				t.Errorf("want datagrams of a stranger not heard, and a beat soon; got %+v", h)
			}
			table.beat(id, nil, 7, &beat{Name: "n", Next: 100, Echo: test.echo}, now, since)
			if got := len(table.list(now)) == 1; got != test.proven {
				t.Errorf("want the node listed: %t; got %t", test.proven, got)
			}
			if _, got := table.beaten(id, now); got != test.proven {
				t.Errorf("want it asked: %t; got %t", test.proven, got)
			}
			if h := hear(99); !h.unproven {
				t.Errorf("want what it said before not heard; got %+v", h)
			}
			if h := hear(102); h.unproven == test.proven || test.proven && h.lost != 2 {
				t.Errorf("want what it says after heard: %t, and the gap seen; got %+v", test.proven, h)
			}
			if h := hear(101); h.duplicate != test.proven {
				t.Errorf("want nothing late; got %+v", h)
			}
			changes := table.look(now)
			if got := len(changes) == 1 && changes[0].here; got != test.proven {
				t.Errorf("want it told: %t; got %v", test.proven, changes)
			}
		})
	}
}

// Strangers do not drive out who is known, nor are they remembered for long.
func TestStrangersTakeNoPlace(t *testing.T) {
	self, friend := nodeID{0xff}, nodeID{0xfe}
	now := time.Now()
	table := &nodes{secret: []byte("secret"), self: self, byID: make(map[nodeID]*node)}
	known := map[string]echo{hex.EncodeToString(self[:]): {At: 1}}
	table.beat(friend, nil, 1, &beat{Name: "friend", Next: 1, Echo: known, Leaving: true}, now.Add(-time.Minute), 2)
	for i := range 2 * maxNodes {
		if h := table.datagrams(nodeID{byte(i), byte(i >> 8)}, nil, 1, 1, now.Add(time.Duration(i))); h.tooMany {
			t.Fatalf("want place for stranger %d", i)
		}
	}
	if len(table.byID) != maxNodes || table.byID[friend] == nil {
		t.Errorf("want %d nodes with the friend; got %d, %v", maxNodes, len(table.byID), table.byID[friend])
	}
	table.look(now.Add(goneAfter + time.Second))
	if len(table.byID) != 1 {
		t.Errorf("want the friend alone remembered; got %d", len(table.byID))
	}
}

// A question proves itself too, and is taken once.
func TestQuestionsThatAreNotHeard(t *testing.T) {
	answered := func(context.Context, []byte) []byte { return nil }
	c, _ := newDeaf(t, Options{Secret: []byte("secret"), Answer: answered})
	id := nodeID{2}
	stranger := newSealer([]byte("secret"), "room", id)
	for _, test := range []struct {
		name   string
		number uint64
		to     nodeID
		at     func() int64
		drop   Drop // drops: none
	}{
		{"one", 5, c.node, func() int64 { return 1 }, drops},
		{"the same", 5, c.node, func() int64 { return 1 }, DropDuplicate},
		{"one before", 4, c.node, func() int64 { return 1 }, DropDuplicate},
		{"the next", 6, c.node, func() int64 { return 1 }, drops},
		{"for another node", 7, nodeID{3}, func() int64 { return 1 }, DropMalformed},
		{"of the future", 8, c.node, func() int64 { return c.since(time.Now().Add(time.Hour)) }, DropUnproven},
		{"of long ago", 9, c.node, func() int64 { return -int64(time.Hour) }, DropUnproven},
	} {
		q := question{to: test.to, at: test.at(), about: topicAnswer, text: []byte(test.name)}
		p := finish(q.append(make([]byte, headerBytes)), header{kind: kindQuestion, node: id, number: test.number}, stranger)
		before, waiting := new([drops + 1]uint64), len(c.questions)
		for i := range c.counters.dropped {
			before[i] = c.counters.dropped[i].Load()
		}
		c.receive(c.nodeSubject, p)
		before[test.drop]++
		for i := range c.counters.dropped {
			if got := c.counters.dropped[i].Load(); got != before[i] {
				t.Errorf("%s: want %d dropped as %v; got %d", test.name, before[i], Drop(i), got)
			}
		}
		if got := len(c.questions) > waiting; got != (test.drop == drops) {
			t.Errorf("%s: want it taken: %t; got %t", test.name, test.drop == drops, got)
		}
	}
}

// Who is new is told first that it is heard, the others in turn.
func TestEchoesTellWhoIsNewFirst(t *testing.T) {
	now := time.Now()
	table := &nodes{byID: make(map[nodeID]*node)}
	told := func() (list []byte, more bool) {
		echoes, more := table.echoes(now)
		for id := range echoes {
			p, _ := hex.DecodeString(id)
			list = append(list, p[0])
		}
		slices.Sort(list)
		return list, more
	}
	add := func(ids ...byte) {
		for _, id := range ids {
			table.beat(nodeID{id}, nil, 1, &beat{At: 1}, now, 2)
		}
	}
	var all []byte
	for id := range byte(maxFirstEchoes + 4) {
		all = append(all, id)
	}
	add(all...)
	once, more := told()
	if len(once) != maxFirstEchoes || !more {
		t.Errorf("want %d told and more to tell; got %d, %t", maxFirstEchoes, len(once), more)
	}
	heard := make(map[byte]int)
	for _, id := range once {
		heard[id]++
	}
	for range (len(all) + maxEchoes - 1) / maxEchoes {
		list, more := told()
		if len(list) != maxEchoes || more {
			t.Errorf("want %d told and all told; got %d, %t", maxEchoes, len(list), more)
		}
		for _, id := range list {
			heard[id]++
		}
	}
	for _, id := range all {
		if heard[id] == 0 || heard[id] > 3 {
			t.Errorf("want %d told in its turn; got %d times", id, heard[id])
		}
	}
	add(200)
	if list, _ := told(); !slices.Contains(list, 200) || len(list) != maxEchoes {
		t.Errorf("want who is new among them; got %v", list)
	}
	if got := table.pause(); got != 5*beatPause {
		t.Errorf("want beats of a node that knows 69 others %v apart; got %v", 5*beatPause, got)
	}
}

// Many nodes that come at once hear each other soon, for which each must tell
// each, and agree soon, though one can not tell all of them at a time.
func TestManyNodesHearEachOtherAndAgree(t *testing.T) {
	url, _ := startNATS(t, -1)
	list := startSharers(t, maxEchoes+4, Options{URL: url, Secret: []byte("secret")})
	list[0].tap.bring(t, said("to all"))
	for _, n := range list[1:] {
		n.tap.wants(t, nobody+"to all")
	}
	list[0].add("a")
	wantWords(t, "a", list...)
	want := []string{"a"}
	for i, n := range list {
		word := fmt.Sprintf("b%02d", i)
		n.add(word)
		want = append(want, word)
	}
	wantWords(t, strings.Join(want, " "), list...)
	for _, n := range list {
		wantNoDrops(t, n, DropUnasked) // an answer that comes late, on a slow machine
	}
}

// Messages of one kind and node have numbers of their own, whichever goroutine
// they are of: with a secret no nonce may be used twice.
func TestNumbersAreUsedOnce(t *testing.T) {
	url, _ := startNATS(t, -1)
	r := newRecorder(t, url)
	list := startSharers(t, 2, Options{URL: url, Secret: []byte("secret"), Answer: echoed})
	var talking sync.WaitGroup
	for i, n := range list {
		for k := range maxAsks {
			talking.Go(func() {
				for round := range 25 {
					n.wantAnswer(t, list[1-i], fmt.Sprint(k, round), fmt.Sprintf("you ask %d %d", k, round))
					n.add(fmt.Sprint("w", round))
					n.tap.bring(t, said(fmt.Sprint(i, k, round)))
				}
			})
		}
	}
	talking.Wait()
	for _, n := range list {
		n.Close()
		if err := r.conn.FlushTimeout(patience); err != nil {
			t.Fatal(err)
		}
	}
	await(t, "all is recorded", func() bool {
		return r.count(kindQuestion) >= 2*25*maxAsks && r.count(kindAnswer) >= 2*25*maxAsks
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	used := make(map[string]bool)
	for _, m := range r.kept {
		key := string(bytes.Join([][]byte{m.Data[4:5], m.Data[8:headerBytes]}, nil))
		if used[key] {
			t.Fatalf("want each number used once; got kind %d, node %x, number %x twice", m.Data[4], m.Data[8:16], m.Data[16:headerBytes])
		}
		used[key] = true
	}
}

func TestLongestBeatIsRead(t *testing.T) {
	long := printable(strings.Repeat("<", 100)) // JSON makes six bytes of one
	b := beat{
		Name: long, Version: long, Peers: math.MaxInt, In: -math.MaxFloat64, Out: -math.MaxFloat64,
		At: math.MaxInt64, Leaving: true, Next: maxNumber, Shared: new(digest(math.MaxUint64)), Echo: make(map[string]echo),
	}
	for i := range maxFirstEchoes {
		b.Echo[hex.EncodeToString([]byte{1, 2, 3, 4, 5, 6, 7, byte(i)})] = echo{At: math.MaxInt64, Held: math.MaxInt64}
	}
	p, err := json.Marshal(&b)
	if err != nil || len(p) > maxBeat {
		t.Errorf("want at most %d bytes; got %d, %v", maxBeat, len(p), err)
	}
}
