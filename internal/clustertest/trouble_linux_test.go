package clustertest

import (
	"slices"
	"sync"
	"testing"
	"time"

	"udprelay/internal/admin"
)

// backWithin is how long it may take that a node is back. It takes a few
// seconds, and some more on a slow machine.
const backWithin = time.Minute

// back logs and bounds how long it took that a node is back.
func back(t *testing.T, what string, since time.Time) {
	t.Helper()
	took := time.Since(since).Round(time.Millisecond)
	t.Logf("%s: all hear all again after %v", what, took)
	if took > backWithin {
		t.Errorf("%s: want all to hear all again within %v; it took %v", what, backWithin, took)
	}
}

// awaitGone waits until n takes the node of a name for gone, and has no route to
// it any more.
func (n *node) awaitGone(t *testing.T, name string) {
	t.Helper()
	n.awaitStatus(t, "the node "+name+" to be gone", func(s *admin.Status) bool {
		return nodeOf(s, name).State == "gone" && !slices.ContainsFunc(s.Cluster.Routes, func(r admin.ClusterRoute) bool { return r.Connected && r.Node == name })
	})
}

func TestNodeIsKilled(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	stay := []*node{r.a, r.b}
	before := r.statuses(t)
	talk := speech{window: 16, every: time.Millisecond, most: 1400, hears: clientsOf(stay...)}.speak(t, speakersOf(stay...)...)
	others := speech{every: 2 * time.Millisecond, most: 1400}.speak(t, r.c.speakers()...)
	awaitPassing(t, speakersOf(r.all()...), clientsOf(r.all()...))
	id := nodeOf(r.a.status(t), "c").ID
	r.c.kill(t)
	for _, n := range stay {
		n.awaitGone(t, "c")
	}
	began := time.Now()
	r.c.start(t)
	for _, c := range r.c.clients {
		c.say(t, "") // the new daemon knows nobody
	}
	awaitPassing(t, speakersOf(r.all()...), clientsOf(r.all()...))
	back(t, "c was killed and started again", began)
	awaitNodes(t, r.a.daemon, r.b.daemon, r.c.daemon)
	talk.stop()
	others.stop()
	wantHeard(t, speakersOf(stay...), clientsOf(stay...))
	for i, n := range stay {
		s, other := n.status(t), stay[1-i]
		if again := nodeOf(s, "c"); again.ID == id || again.State != "here" {
			t.Errorf("want a new node c at %s; got %+v", n.name(), again)
		}
		lost := nodeOf(s, other.name()).Lost - nodeOf(before[i], other.name()).Lost
		if lost != 0 || s.Cluster.Drops["duplicate"] != before[i].Cluster.Drops["duplicate"] {
			t.Errorf("want nothing of %s lost at %s and nothing doubled; got %d lost, %v", other.name(), n.name(), lost, s.Cluster.Drops)
		}
	}
	r.wantWhole(t, speech{count: 300, window: 16, most: 1400})
}

// What does not reach a node that is cut off is counted there, to the datagram,
// and what it says meanwhile is counted by the others.
func TestNodeIsCutOff(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	stay := []*node{r.a, r.b}
	settle(t, speakersOf(r.all()...), clientsOf(r.all()...))
	before := r.statuses(t)
	talk := speech{window: 16, every: 2 * time.Millisecond, most: 500, hears: clientsOf(stay...)}.speak(t, speakersOf(stay...)...)
	others := speech{every: 2 * time.Millisecond, most: 500}.speak(t, r.c.speakers()...)
	awaitPassing(t, speakersOf(r.all()...), clientsOf(r.all()...))
	r.c.host.cut(t)
	for _, n := range stay {
		n.awaitGone(t, "c")
		r.c.awaitGone(t, n.name())
	}
	began := time.Now()
	r.c.host.heal(t)
	awaitPassing(t, speakersOf(r.all()...), clientsOf(r.all()...))
	back(t, "c was cut off", began)
	awaitNodes(t, r.a.daemon, r.b.daemon, r.c.daemon)
	talk.stop()
	others.stop()
	settle(t, speakersOf(r.all()...), clientsOf(r.all()...))
	wantHeard(t, speakersOf(stay...), clientsOf(stay...))
	for _, listener := range r.all() {
		for _, speaker := range r.all() {
			if listener != speaker {
				r.wantLostCounted(t, speaker, listener, before)
			}
		}
	}
	r.wantWhole(t, speech{count: 300, window: 16, most: 1400})
}

// wantLostCounted checks that what the clients of one node have missed of those
// of another is what the node has counted as lost.
func (r *room) wantLostCounted(t *testing.T, speaker, listener *node, before []*admin.Status) {
	t.Helper()
	var counted uint64
	for i, n := range r.all() {
		if n == listener {
			counted = nodeOf(n.status(t), speaker.name()).Lost - nodeOf(before[i], speaker.name()).Lost
		}
	}
	for _, l := range listener.clients {
		if lost := missing(speaker.speakers(), []*client{l}); lost != counted {
			t.Errorf("of what the clients of %s have said, %s has missed %d, but its node counts %d as lost", speaker.name(), l.name, lost, counted)
		}
	}
	far := speaker == r.c || listener == r.c
	if counted == 0 && far {
		t.Errorf("want some of what %s said to be lost at %s; got none", speaker.name(), listener.name())
	}
	t.Logf("of what %s said, %s counts %d as lost", speaker.name(), listener.name(), counted)
}

// While nothing passes between two nodes, and nobody is told, the third hears
// both, and neither gathers what it cannot send.
func TestRouteIsStalled(t *testing.T) {
	t.Parallel()
	const flood = 96 << 20 // bytes that a says meanwhile
	mostMB := 120
	if raceEnabled {
		mostMB *= 5
	}
	r := openRoom(t)
	settle(t, speakersOf(r.all()...), clientsOf(r.all()...))
	before := r.statuses(t)
	published := func() uint64 { return r.a.status(t).Cluster.PublishedBytes - before[0].Cluster.PublishedBytes }
	rested, err := r.a.resident()
	if err != nil {
		t.Fatal(err)
	}
	memory := watchMemory(t, r.a.daemon)
	slow := speech{window: 16, every: 2 * time.Millisecond, most: 500}
	between(t, r.a.host, r.c.host, stalled)
	stop := r.talkPast(t, speech{window: 64, most: 8000}, slow, slow)
	r.a.awaitGone(t, "c")
	r.c.awaitGone(t, "a")
	for said := uint64(flood / 32); said <= flood; said += flood / 32 { // in steps, each of which a slow machine has time for
		await(t, func() bool { return published() > said }, "a to say %d of %d bytes while c gets none", said, flood)
	}
	stop()
	peak := memory()
	t.Logf("a had %d MB resident before, %d MB at most while c was stalled and it said %d MB", rested, peak, published()>>20)
	if peak > mostMB {
		t.Errorf("want a to have %d MB resident at most; got %d", mostMB, peak)
	}
	wantHeard(t, r.a.speakers(), clientsOf(r.a, r.b))
	wantHeard(t, r.c.speakers(), clientsOf(r.b, r.c))
	wantHeard(t, r.b.speakers(), clientsOf(r.all()...))

	stop = r.talkPast(t, slow, slow, slow)
	began := time.Now()
	between(t, r.a.host, r.c.host, free)
	awaitPassing(t, speakersOf(r.all()...), clientsOf(r.all()...))
	back(t, "between a and c nothing passed", began)
	awaitNodes(t, r.a.daemon, r.b.daemon, r.c.daemon)
	stop()
	settle(t, speakersOf(r.all()...), clientsOf(r.all()...))
	wantHeard(t, r.a.speakers(), clientsOf(r.a, r.b))
	wantHeard(t, r.c.speakers(), clientsOf(r.b, r.c))
	wantHeard(t, r.b.speakers(), clientsOf(r.all()...))
	for i, n := range r.all() {
		s := n.status(t)
		lost := s.Cluster.Drops["lost"] - before[i].Cluster.Drops["lost"]
		if (lost == 0) != (n == r.b) {
			t.Errorf("want datagrams counted as lost at a and at c, none at b; got %d at %s", lost, n.name())
		}
	}
	r.wantWhole(t, speech{count: 300, window: 16, most: 1400})
}

// Two nodes that only have heard of each other try to connect for as long as it
// takes: nobody tells them again.
func TestRouteIsTriedAgainForLong(t *testing.T) {
	t.Parallel()
	r := openRoom(t)
	between(t, r.a.host, r.c.host, stalled)
	r.a.awaitGone(t, "c")
	r.c.awaitGone(t, "a")
	between(t, r.a.host, r.c.host, refused)
	await(t, func() bool { return r.a.host.refusals(t)+r.c.host.refusals(t) >= 12 }, "12 connections tried between a and c")
	began := time.Now()
	between(t, r.a.host, r.c.host, free)
	awaitNodes(t, r.a.daemon, r.b.daemon, r.c.daemon)
	back(t, "a and c refused each other", began)
	r.wantWhole(t, speech{count: 100, window: 16, most: 1400})
}

// talkPast has all speak, each in its way, while a and c need not hear each
// other.
func (r *room) talkPast(t *testing.T, a, b, c speech) (stop func()) {
	t.Helper()
	a.hears, b.hears, c.hears = clientsOf(r.a, r.b), clientsOf(r.all()...), clientsOf(r.b, r.c)
	talks := []*talk{a.speak(t, r.a.speakers()...), b.speak(t, r.b.speakers()...), c.speak(t, r.c.speakers()...)}
	return func() {
		for _, k := range talks {
			k.stop()
		}
	}
}

// watchMemory looks at what a daemon has in memory until the returned function
// is called, which returns the most, in MB.
func watchMemory(t *testing.T, d *daemon) (most func() int) {
	end, peak := make(chan struct{}), make(chan int, 1)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for most := 0; ; {
			select {
			case <-tick.C:
				now, err := d.resident()
				if err != nil {
					t.Error(err)
				}
				most = max(most, now)
			case <-end:
				peak <- most
				return
			}
		}
	}()
	stop := sync.OnceValue(func() int { close(end); return <-peak })
	t.Cleanup(func() { stop() })
	return stop
}
