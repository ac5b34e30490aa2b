package cluster

import (
	"testing"
	"time"
)

// newDeaf returns a node that NATS knows nothing of, and a link beside it.
func newDeaf(t testing.TB, secret string) (*Cluster, *tap) {
	t.Helper()
	r := startRelay(t)
	beside := newTap()
	beside.attachment = r.Attach(beside)
	c := &Cluster{
		relay: r, node: nodeID{1}, began: time.Now(),
		dataSubject: "data", controlSubject: "control",
		queue: newQueue(leastQueue), greet: make(chan struct{}, 1),
	}
	c.nodes = &nodes{secret: []byte(secret), room: "room", self: c.node, byID: make(map[nodeID]*node)}
	c.attachment = r.Attach(c)
	return c, beside
}

// Whatever comes, as it comes or sealed as by a node with the secret: it is
// brought or counted, and what is remembered is bounded.
func FuzzReceive(f *testing.F) {
	beat := `{"name":"n","version":"1","peers":3,"in":1.5,"out":2,"at":7,"leaving":true,"echo":{"0100000000000000":{"at":1,"held":2}}}`
	f.Add([]byte(oneOfEach), true, false)
	f.Add([]byte(oneOfEach), true, true)
	f.Add([]byte(numbered("NODENODE", 3)[:4]+"\x02\x00\x00\x00"+oneOfEach[8:headerBytes]+beat), false, false)
	f.Add([]byte("UDR\x02"), false, false)
	open, openTap := newDeaf(f, "")
	sealed, sealedTap := newDeaf(f, "secret")
	f.Fuzz(func(t *testing.T, p []byte, data, seal bool) {
		c, beside, subject := open, openTap, "control"
		if data {
			subject = "data"
		}
		if seal {
			c, beside = sealed, sealedTap
			if h, err := parseHeader(p); err == nil && len(p) < maxMessage-sealBytes {
				p = finish(p, h, newSealer([]byte("secret"), "room", h.node))
			}
		}
		heard := func() (messages uint64) {
			for reason := range c.counters.dropped {
				if Drop(reason) != DropLost {
					messages += c.counters.dropped[reason].Load()
				}
			}
			return messages + c.counters.receivedMessages.Load()
		}
		before, known := heard(), len(c.nodes.list(time.Now()))
		c.receive(subject, p)
		if n := heard() - before; n > 1 || n == 0 && data && len(p) >= 16 && nodeID(p[8:16]) != c.node {
			t.Fatalf("want a message counted once; got %d times", n)
		}
		if n := len(c.nodes.list(time.Now())); n > maxNodes || n > known+1 {
			t.Fatalf("want at most %d nodes, and one more than %d; got %d", maxNodes, known, n)
		}
		if got, want := uint64(beside.counted()), c.counters.receivedDatagrams.Load(); got != want {
			t.Fatalf("want %d datagrams brought; got %d", want, got)
		}
		beside.mu.Lock()
		beside.got = nil
		beside.mu.Unlock()
		c.nodes.look(time.Now())
		c.nodes.echoes(time.Now())
	})
}
