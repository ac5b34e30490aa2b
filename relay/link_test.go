package relay

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A recorder is a link that remembers what it was handed.
type recorder struct {
	name string
	mu   sync.Mutex
	got  []string
	more chan struct{} // has an entry after each batch
}

func newRecorder(name string) *recorder {
	return &recorder{name: name, more: make(chan struct{}, 1)}
}

func (l *recorder) Name() string { return l.name }

func (l *recorder) Deliver(batch []Datagram) {
	l.mu.Lock()
	for _, d := range batch {
		l.got = append(l.got, string(d.Payload))
	}
	l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// take waits for count datagrams and returns them and what else is there.
func (l *recorder) take(t testing.TB, count int) []string {
	t.Helper()
	timeout := time.After(patience)
	for {
		l.mu.Lock()
		if len(l.got) >= count {
			got := l.got
			l.got = nil
			l.mu.Unlock()
			return got
		}
		have := len(l.got)
		l.mu.Unlock()
		select {
		case <-l.more:
		case <-timeout:
			t.Fatalf("want %d datagrams at link %s; got %d", count, l.name, have)
		}
	}
}

func (l *recorder) wants(t testing.TB, payloads ...string) {
	t.Helper()
	if got := l.take(t, len(payloads)); !slices.Equal(got, payloads) {
		t.Fatalf("want %.100q at link %s; got %.100q", payloads, l.name, got)
	}
}

// discard is a link that only brings.
type discard struct{}

func (discard) Name() string       { return "discard" }
func (discard) Deliver([]Datagram) {}

// datagrams makes a batch for Bring.
func datagrams(payloads ...string) (batch []Datagram) {
	for _, p := range payloads {
		batch = append(batch, Datagram{Payload: []byte(p)})
	}
	return batch
}

func bring(t testing.TB, a *Attachment, payloads ...string) {
	t.Helper()
	if err := a.Bring(datagrams(payloads...)); err != nil {
		t.Fatalf("want %d datagrams brought; got %v", len(payloads), err)
	}
}

func TestLinkGetsWhatPeersSayInOrder(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		link := newRecorder("one")
		defer r.Attach(link).Detach()
		clients := newPeers(t, r, near(r), 2)
		var said []string
		for n := range 300 {
			clients[n%2].send(fmt.Sprint(n))
			said = append(said, fmt.Sprint(n))
		}
		link.wants(t, said...)
	})
}

func TestWhatALinkBringsReachesEveryoneElse(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		clients := newPeers(t, r, near(r), 3)
		links := []*recorder{newRecorder("one"), newRecorder("two"), newRecorder("three")}
		var attached []*Attachment
		for _, l := range links {
			attached = append(attached, r.Attach(l))
		}
		for i, a := range attached {
			// More than a batch, of several sizes.
			var said []string
			for n := range 2*maxBatch + 5 {
				said = append(said, fmt.Sprintf("%d: %d %s", i, n, strings.Repeat("x", n/20)))
			}
			bring(t, a, said...)
			for _, c := range clients {
				c.wants(said...)
			}
			for j, l := range links {
				if j != i {
					l.wants(t, said...)
				}
			}
		}
		// Nothing came back to who brought it.
		bring(t, r.Attach(newRecorder("four")), "the end")
		for _, l := range links {
			l.wants(t, "the end")
		}
		for _, c := range clients {
			c.wants("the end")
		}
	})
}

// Who is not bound to the limits of UDP may have more to say.
func TestLinkBringsDatagramsOfAnySize(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		clients := newPeers(t, r, near(r), 2)
		other := newRecorder("other")
		r.Attach(other)
		a := r.Attach(newRecorder("bringing"))
		tooLong := strings.Repeat("x", 65508)
		longest := tooLong[:65507]
		bring(t, a, "before", "", tooLong, tooLong, "", longest, tooLong+tooLong, "after", "")
		for _, c := range clients {
			c.wants("before", longest, "after")
		}
		// A link gets what a UDP peer can not.
		other.wants(t, "before", tooLong, tooLong, longest, tooLong+tooLong, "after")
		s := r.Stats()
		if s.Dropped[DropTooBig] != 3*2 || s.KeepAlives != 2+3 || s.Delivered != 3*2 || s.Received != 2+9 {
			t.Errorf("want 11 received with 5 keep-alives, 6 delivered, 6 dropped as too_big; got %s", show(s))
		}
	})
}

func TestBringOfNothingIsNothing(t *testing.T) {
	r := startRelay(t, ways[0], on4, defaults())
	other := newRecorder("other")
	r.Attach(other)
	a := r.Attach(newRecorder("bringing"))
	bring(t, a)
	bring(t, a, "")
	bring(t, a, "", "", "")
	bring(t, a, "something")
	other.wants(t, "something")
}

// A blockingLink is one whose Deliver ends when it is let go.
type blockingLink struct{ entered, release chan struct{} }

func (blockingLink) Name() string { return "blocking" }
func (l blockingLink) Deliver([]Datagram) {
	l.entered <- struct{}{}
	<-l.release
}

func TestDetachWaitsForDeliverAndNothingComesAfterIt(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, defaults())
		clients := newPeers(t, r, near(r), 2)
		witness := newRecorder("witness")
		link := blockingLink{make(chan struct{}, 10), make(chan struct{})}
		a := r.Attach(link)
		r.Attach(witness)
		clients[0].send("during")
		<-link.entered
		detached := make(chan struct{})
		go func() { a.Detach(); close(detached) }()
		select {
		case <-detached:
			t.Error("want Detach to wait for Deliver; it did not")
		case <-time.After(20 * time.Millisecond): // no event says that it waits
		}
		close(link.release)
		select {
		case <-detached:
		case <-time.After(patience):
			t.Fatal("want Detach to end when Deliver has; it does not")
		}
		for len(link.entered) > 0 {
			<-link.entered
		}
		clients[0].send("after")
		witness.wants(t, "during", "after")
		if n := len(link.entered); n != 0 {
			t.Errorf("want no Deliver after Detach; got %d", n)
		}
		a.Detach() // once more does no harm
	})
}

// Nor does what is being handed to the links one after the other.
func TestDetachedLinkIsLeftOutOfABatchOnItsWay(t *testing.T) {
	r := startRelay(t, ways[0], on4, defaults())
	client := newPeer(t, r, near(r))
	first := blockingLink{make(chan struct{}), make(chan struct{})}
	second, witness := newRecorder("second"), newRecorder("witness")
	r.Attach(first)
	a := r.Attach(second)
	r.Attach(witness)
	client.send("on its way")
	<-first.entered
	a.Detach()
	first.release <- struct{}{}
	witness.wants(t, "on its way")
	if got := second.take(t, 0); len(got) != 0 {
		t.Errorf("want nothing after Detach; got %q", got)
	}
}

func TestBringAfterDetachIsRefused(t *testing.T) {
	r := startRelay(t, ways[0], on4, defaults())
	client := newPeer(t, r, near(r))
	a, other := r.Attach(newRecorder("gone")), r.Attach(newRecorder("there"))
	a.Detach()
	if err := a.Bring(datagrams("too late")); err != ErrDetached {
		t.Errorf("want %v; got %v", ErrDetached, err)
	}
	bring(t, other, "in time")
	client.wants("in time")
}

func TestBringAfterTheRelayHasStoppedFails(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for _, count := range []int{0, 3} {
			r := makeRelay(t, w, on4, defaults())
			stop := run(t, r)
			newPeers(t, r, near(r), count)
			a := r.Attach(newRecorder("late"))
			bring(t, a, "in time")
			stop()
			for n := range 1000 { // a link may need a while to notice
				if err := a.Bring(datagrams("too late")); !closed(err) {
					t.Fatalf("want net.ErrClosed for Bring %d to %d peers after the relay has stopped; got %v", n, count, err)
				}
			}
		}
	})
}
