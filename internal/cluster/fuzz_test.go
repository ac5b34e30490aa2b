//go:build !nocluster

package cluster

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// newDeaf returns a node that NATS knows nothing of, and a link beside it.
func newDeaf(t testing.TB, options Options) (*Cluster, *tap) {
	t.Helper()
	r := startRelay(t)
	beside := newTap()
	beside.attachment = r.Attach(beside)
	options.Room, options.Queue, options.Logger = "room", leastQueue, slog.New(slog.DiscardHandler)
	c := newCluster(r, options, nodeID{1})
	c.attachment = r.Attach(c)
	t.Cleanup(c.cancel)
	return c, beside
}

// messageOf returns a message that is not sealed, of the node NODENODE.
func messageOf(what kind, number byte, body string) string {
	return "UDR\x01" + string(rune(what)) + "\x00\x00\x00NODENODE\x00\x00\x00\x00\x00\x00\x00" + string(rune(number)) + body
}

// deafID is the identity of a node that newDeaf returns.
const deafID = "\x01\x00\x00\x00\x00\x00\x00\x00"

// Bodies of which each is one that a deaf node takes, byte by byte.
const (
	oneBeat = `{"name":"n","version":"1","peers":3,"in":1.5,"out":2,"at":7,"leaving":true,"next":8,"shared":"00000000000000ff",` +
		`"echo":{"0100000000000000":{"at":1,"held":2}}}`
	oneQuestion = deafID + "\x00\x00\x00\x00\x00\x00\x00\x05" + "\x01" + "what?"
	onePart     = deafID + "\x00\x00\x00\x00\x00\x00\x00\x01" + "\x00" + "\x00\x00" + "\x00\x01" + "that"
)

// Whatever comes, as it comes or sealed as by a node with the secret: it is
// brought, taken or counted, and what is remembered is bounded.
func FuzzReceive(f *testing.F) {
	for _, sealed := range []bool{false, true} {
		f.Add([]byte(oneOfEach), byte(0), sealed)
		f.Add([]byte(messageOf(kindBeat, 3, oneBeat)), byte(1), sealed)
		f.Add([]byte(messageOf(kindQuestion, 3, oneQuestion)), byte(2), sealed)
		f.Add([]byte(messageOf(kindAnswer, 3, onePart)), byte(2), sealed)
		f.Add([]byte(messageOf(kindAnswer, 3, onePart[:16]+"\x03\x00\x00\x00\x01")), byte(2), sealed)
	}
	f.Add([]byte("UDR\x02"), byte(0), false)
	options := Options{Shared: new(set), Answer: nil}
	open, openTap := newDeaf(f, options)
	options.Secret = []byte("secret")
	sealed, sealedTap := newDeaf(f, options)
	f.Fuzz(func(t *testing.T, p []byte, to byte, seal bool) {
		c, beside := open, openTap
		if seal {
			c, beside = sealed, sealedTap
			if h, err := parseHeader(p); err == nil && len(p) < maxMessage-sealBytes {
				p = finish(p, h, newSealer([]byte("secret"), "room", h.node))
			}
		}
		subject := [...]string{c.dataSubject, c.controlSubject, c.nodeSubject}[to%3]
		asked := &ask{to: nodeID([]byte("NODENODE")), number: 1, more: make(chan struct{}, 1), done: make(chan error, 1)}
		c.asks.list = []*ask{asked}
		heard := func() (messages uint64) {
			for reason := range c.counters.dropped {
				if Drop(reason) != DropLost {
					messages += c.counters.dropped[reason].Load()
				}
			}
			return messages + c.counters.receivedMessages.Load()
		}
		before, known := heard(), len(c.nodes.byID)
		c.receive(subject, p)
		if n := heard() - before; n > 1 || n == 0 && subject == c.dataSubject && len(p) >= 16 && nodeID(p[8:16]) != c.node {
			t.Fatalf("want a message counted once; got %d times", n)
		}
		if n := len(c.nodes.byID); n > maxNodes || n > known+1 {
			t.Fatalf("want at most %d nodes, and one more than %d; got %d", maxNodes, known, n)
		}
		if got, want := uint64(beside.counted()), c.counters.receivedDatagrams.Load(); got != want {
			t.Fatalf("want %d datagrams brought; got %d", want, got)
		}
		beside.mu.Lock()
		beside.got = nil
		beside.mu.Unlock()
		select {
		case err := <-asked.done:
			if taken := len(asked.parts) == 1 && asked.left == 0; taken != (err == nil) {
				t.Fatalf("want the answer, or why there is none; got %v, %q", err, asked.parts)
			}
		default:
			if len(asked.parts) > maxParts || len(asked.parts) == 1 {
				t.Fatalf("want an answer of more parts that waits; got %d", len(asked.parts))
			}
		}
		select {
		case q := <-c.questions:
			if q.to != c.node || q.number == 0 || len(q.text) > MaxQuestion {
				t.Fatalf("want a question for this node; got %+v", q)
			}
		default:
		}
		c.nodes.look(time.Now())
		c.nodes.echoes(time.Now())
		c.nodes.differing(1, time.Now())
	})
}

// What is taken for a question has the meaning of one: encoded again, it is the
// same.
func FuzzQuestion(f *testing.F) {
	f.Add([]byte(oneQuestion))
	f.Add([]byte(oneQuestion[:questionHead]))
	f.Fuzz(func(t *testing.T, p []byte) {
		q, err := parseQuestion(p)
		if err != nil {
			return
		}
		if again := q.append(nil); string(again) != string(p) {
			t.Fatalf("want %q; got %q", p, again)
		}
	})
}

// The same of a part of an answer, which is one of at most 64 that are full but
// for the last.
func FuzzPart(f *testing.F) {
	f.Add([]byte(onePart))
	f.Add([]byte(onePart[:partHead]))
	f.Add([]byte(onePart[:16] + "\x02\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, p []byte) {
		a, err := parsePart(p)
		if err != nil {
			return
		}
		if again := a.append(nil); string(again) != string(p) {
			t.Fatalf("want %q; got %q", p, again)
		}
		if a.parts > maxParts || a.index >= a.parts || len(a.text) > partBytes || a.index < a.parts-1 && len(a.text) != partBytes {
			t.Fatalf("want a part of an answer of %d bytes; got %d of %d with %d bytes", MaxAnswer, a.index, a.parts, len(a.text))
		}
		if a.status != statusPart && a.status.err() == nil {
			t.Fatalf("want an error of status %d", a.status)
		}
	})
}

// What a server says is wrong may be anything.
func FuzzWhatTheServerSays(f *testing.F) {
	for _, text := range []string{
		"'Authorization Violation'", `Permissions Violation for Publish to "udprelay.r.data"`, `Permissions Violation for Subscription to "`, "\x1b[31m",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := newCluster(nil, Options{Room: "r", Logger: slog.New(slog.DiscardHandler), Queue: leastQueue}, nodeID{1})
		defer c.cancel()
		c.saidNo(text)
		for _, got := range []string{forbidden(errors.New(text), "r", "udprelay.r.node.aa"), c.conn.reason(errors.New(text)), c.trouble.text(false)} {
			if len(got) > 512 || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' }) {
				t.Fatalf("want a line that can be shown; got %q", got)
			}
		}
	})
}
