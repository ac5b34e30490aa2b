//go:build !nocluster

package cluster

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A set is what test nodes share: words, to which each may add.
type set struct {
	mu      sync.Mutex // guards what follows
	words   map[string]bool
	merges  int
	exports int
	refuse  error // of Merge
	blocked chan struct{}
	entered chan struct{} // closed when Merge waits for blocked
}

func (s *set) Digest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := fnv.New64a()
	h.Write(s.text())
	return h.Sum64()
}

func (s *set) text() []byte {
	return []byte(strings.Join(slices.Sorted(maps.Keys(s.words)), " "))
}

func (s *set) Export() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exports++
	return s.text()
}

func (s *set) Merge(node string, p []byte) error {
	s.mu.Lock()
	blocked := s.blocked
	if blocked != nil {
		close(s.entered)
		s.blocked = nil
	}
	s.mu.Unlock()
	if blocked != nil {
		<-blocked
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.merges++
	if node == "" {
		return errors.New("of nobody")
	}
	if s.refuse != nil {
		return s.refuse
	}
	s.addWords(strings.Fields(string(p))...)
	return nil
}

func (s *set) addWords(words ...string) {
	if s.words == nil {
		s.words = make(map[string]bool)
	}
	for _, word := range words {
		s.words[word] = true
	}
}

// add adds a word and tells the others.
func (n *testNode) add(words ...string) {
	s := n.shared()
	s.mu.Lock()
	s.addWords(words...)
	s.mu.Unlock()
	n.Changed()
}

func (n *testNode) shared() *set { return n.options.Shared.(*set) }

func (n *testNode) words() string {
	s := n.shared()
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text())
}

// startSharers starts nodes that share words and know each other.
func startSharers(t testing.TB, count int, options Options) (list []*testNode) {
	t.Helper()
	for i := range count {
		o := options
		o.Name, o.Shared = fmt.Sprint("node", i), new(set)
		if i > 0 && o.URL == "" {
			o.Routes = []string{list[0].Addr().String()}
		}
		list = append(list, startNode(t, o))
	}
	awaitNodes(t, list...)
	return list
}

// wantWords waits until all nodes have these words, and know that of each other.
func wantWords(t testing.TB, want string, list ...*testNode) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, n := range list {
		await(t, fmt.Sprintf("%s has the words %q", n.options.Name, want), func() bool { return n.words() == want })
	}
	for _, n := range list {
		if missing := n.AwaitShared(ctx); len(missing) > 0 {
			t.Fatalf("want %s to hear that all have %q; not of %+v", n.options.Name, want, missing)
		}
		for _, other := range n.Stats().Nodes {
			if !other.Gone && !other.SameShared {
				t.Errorf("want %s to know that %s has the same; got %+v", n.options.Name, other.Name, other)
			}
		}
	}
}

func TestNodesAgreeOnWhatIsShared(t *testing.T) {
	url, _ := startNATS(t, -1)
	for name, options := range map[string]Options{
		"no secret":        {},
		"secret":           {Secret: []byte("secret")},
		"an existing NATS": {Secret: []byte("secret"), URL: url},
	} {
		t.Run(name, func(t *testing.T) {
			list := startSharers(t, 3, options)
			wantWords(t, "", list...)
			list[0].add("a")
			wantWords(t, "a", list...)
			list[1].add("b") // two at once
			list[2].add("c")
			wantWords(t, "a b c", list...)

			var adding sync.WaitGroup // all, and often
			for i, n := range list {
				adding.Go(func() {
					for k := range 20 {
						n.add(fmt.Sprintf("d%d-%d", i, k))
					}
				})
			}
			adding.Wait()
			var want []string
			for i := range list {
				for k := range 20 {
					want = append(want, fmt.Sprintf("d%d-%d", i, k))
				}
			}
			slices.Sort(want)
			wantWords(t, "a b c "+strings.Join(want, " "), list...)
		})
	}
}

// What is shared need not fit into a message.
func TestMuchIsShared(t *testing.T) {
	list := startSharers(t, 2, Options{Secret: []byte("secret")})
	long := strings.Repeat("x", MaxAnswer)
	list[0].add(long)
	await(t, "the other has it too", func() bool { return list[1].words() == long })
	list[0].add("y")
	await(t, "that it is too much is logged", func() bool {
		return list[0].log.Has("an answer is too long") && list[1].log.Has("can not be had")
	})
	if got := list[1].words(); got != long {
		t.Errorf("want what was there before; got %d bytes", len(got))
	}
}

func TestNodeThatComesLaterHasWhatIsShared(t *testing.T) {
	list := startSharers(t, 2, Options{Secret: []byte("secret")})
	list[0].add("a")
	wantWords(t, "a", list...)
	late := startNode(t, Options{
		Name: "late", Secret: []byte("secret"), Routes: []string{list[1].Addr().String()},
		Shared: &set{words: map[string]bool{"b": true}}, // that it had before
	})
	list = append(list, late)
	awaitNodes(t, list...)
	wantWords(t, "a b", list...)
}

// Nodes that hear nothing of each other for a while agree when they do again.
func TestNodesAgreeAfterACut(t *testing.T) {
	t.Parallel() // it waits most of the time
	url, stop := startNATS(t, -1)
	port := 0
	fmt.Sscanf(url[strings.LastIndex(url, ":")+1:], "%d", &port)
	list := startSharers(t, 3, Options{Secret: []byte("secret"), URL: url})
	list[0].add("a")
	wantWords(t, "a", list...)
	stop()
	for _, n := range list {
		await(t, n.options.Name+" is cut off", func() bool { return !n.Stats().Connected && len(n.known()) == 0 })
	}
	for _, other := range list[0].Stats().Nodes {
		if other.Left || !other.Gone {
			t.Errorf("want the others gone, not that they left; got %+v", other)
		}
	}
	if missing := list[0].AwaitShared(context.Background()); len(missing) != 0 {
		t.Errorf("want nobody waited for who is gone; got %+v", missing)
	}
	list[0].add("b")
	list[1].add("c")
	startNATS(t, port)
	awaitNodes(t, list...)
	wantWords(t, "a b c", list...)
}

// Nodes that cannot agree do not pull forever, and are told of.
func TestNodesThatCanNotAgree(t *testing.T) {
	list := startSharers(t, 2, Options{})
	list[1].shared().mu.Lock()
	list[1].shared().refuse = errors.New("not with me")
	list[1].shared().mu.Unlock()
	list[0].add("a")
	await(t, "it is refused", func() bool { return list[1].log.Has("not with me") })
	beats := list[0].beats.Load() // each of these is another occasion
	ctx, cancel := context.WithCancel(context.Background())
	missing := make(chan []Node, 1)
	go func() { missing <- list[0].AwaitShared(ctx) }()
	await(t, "more beats come", func() bool { list[0].Changed(); return list[0].beats.Load() > beats+10 })
	cancel()
	if got := <-missing; len(got) != 1 || got[0].Name != "node1" || got[0].SameShared {
		t.Errorf("want node1 to miss something; got %+v", got)
	}
	for _, n := range list {
		n.shared().mu.Lock()
		if n.shared().merges != 1 || n.shared().exports != 1 {
			t.Errorf("want 1 merge and 1 export at %s; got %d, %d", n.options.Name, n.shared().merges, n.shared().exports)
		}
		n.shared().mu.Unlock()
	}
	list[1].shared().mu.Lock()
	list[1].shared().refuse = nil
	list[1].shared().mu.Unlock()
	list[0].add("b") // it is another now
	wantWords(t, "a b", list...)
}

func TestNodesThatShareNothingAreNotWaitedFor(t *testing.T) {
	list := startSharers(t, 2, Options{})
	mute := startNode(t, Options{Name: "mute", Routes: []string{list[0].Addr().String()}})
	awaitNodes(t, append(list, mute)...)
	if missing := mute.AwaitShared(context.Background()); missing != nil {
		t.Errorf("want nothing missing where nothing is shared; got %+v", missing)
	}
	list[0].add("a")
	await(t, "the others agree", func() bool { return list[1].words() == "a" })
	missing := list[0].AwaitShared(context.Background())
	if len(missing) != 1 || missing[0].Name != "mute" {
		t.Errorf("want mute alone missing; got %+v", missing)
	}
	if _, err := list[0].ask(mute, "?"); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("want %v; got %v", ErrNoAnswer, err)
	}
}

// Close waits for Merge, and ends who waits for others.
func TestCloseWhileMerging(t *testing.T) {
	list := startSharers(t, 2, Options{})
	s := list[1].shared()
	s.mu.Lock()
	release, entered := make(chan struct{}), make(chan struct{})
	s.blocked, s.entered = release, entered
	s.mu.Unlock()
	list[0].add("a")
	<-entered
	waiting, closed := make(chan []Node, 1), make(chan struct{})
	go func() { waiting <- list[0].AwaitShared(context.Background()) }()
	go func() { list[1].Close(); close(closed) }()
	<-list[1].ctx.Done()
	select {
	case <-closed:
		t.Error("want Close to wait for Merge")
	default:
	}
	close(release)
	<-closed
	if missing := <-waiting; len(missing) != 0 {
		t.Errorf("want nobody missing when the other is gone; got %+v", missing)
	}
	if got := list[1].words(); got != "a" {
		t.Errorf("want what was merged; got %q", got)
	}
}

func TestPullsAreNotRepeatedAndBounded(t *testing.T) {
	made, now := make(pulls), time.Now()
	first := pull{from: nodeID{1}, theirs: 1, ours: 2}
	for _, test := range []struct {
		name string
		pull pull
		at   time.Duration
		want bool
	}{
		{"the first", first, 0, true},
		{"the same", first, pullAgain - 1, false},
		{"of another node", pull{nodeID{2}, 1, 2}, 0, true},
		{"of something else", pull{nodeID{1}, 3, 2}, 0, true},
		{"with something else here", pull{nodeID{1}, 1, 3}, 0, true},
		{"the same, later", first, pullAgain, true},
	} {
		if got := made.may(test.pull, now.Add(test.at)); got != test.want {
			t.Errorf("%s: want %t; got %t", test.name, test.want, got)
		}
	}
	for i := range uint64(2 * maxPulls) {
		if p := (pull{nodeID{3}, i, 0}); !made.may(p, now.Add(time.Duration(i))) || made.may(p, now.Add(time.Duration(i))) {
			t.Fatalf("want pull %d made once", i)
		}
	}
	if len(made) > maxPulls {
		t.Errorf("want at most %d remembered; got %d", maxPulls, len(made))
	}
	if made.may(first, now.Add(pullAgain+1)) == made.may(pull{nodeID{3}, 0, 0}, now) {
		t.Error("want the oldest forgotten, and what is younger remembered")
	}
}

func TestDigestAsText(t *testing.T) {
	for _, want := range []digest{0, 1, 0xfedcba9876543210, 1<<64 - 1} {
		p, err := want.MarshalText()
		var got digest
		if err != nil || len(p) != 16 || got.UnmarshalText(p) != nil || got != want {
			t.Errorf("want %x back; got %x of %q, %v", want, got, p, err)
		}
	}
	for _, text := range []string{"", "0", "0x00000000000000", "00000000000000000", "000000000000000g", "+000000000000001"} {
		var d digest
		if d.UnmarshalText([]byte(text)) == nil {
			t.Errorf("want %q refused; got %x", text, d)
		}
	}
}
