//go:build !nocluster

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// echoed is an Answer that gives back the question.
func echoed(_ context.Context, question []byte) []byte {
	return append([]byte("you ask "), question...)
}

// ask asks with a deadline that no test meets.
func (n *testNode) ask(to *testNode, question string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	answer, err := n.Ask(ctx, to.ID(), []byte(question))
	return string(answer), err
}

func (n *testNode) wantAnswer(t testing.TB, to *testNode, question, want string) {
	t.Helper()
	if got, err := n.ask(to, question); got != want || err != nil {
		t.Errorf("want %.100q; got %.100q, %v", want, got, err)
	}
}

func TestQuestionIsAnswered(t *testing.T) {
	url, _ := startNATS(t, -1)
	for name, options := range map[string]Options{
		"no secret":        {Answer: echoed},
		"secret":           {Answer: echoed, Secret: []byte("secret")},
		"an existing NATS": {Answer: echoed, Secret: []byte("secret"), URL: url},
	} {
		t.Run(name, func(t *testing.T) {
			list := startNodes(t, 3, options)
			for _, n := range list {
				for _, other := range others(list, n) {
					n.wantAnswer(t, other, n.options.Name, "you ask "+n.options.Name)
				}
			}
			for _, n := range list {
				wantNoDrops(t, n)
			}
		})
	}
}

// An answer of any length there may be comes as it was, and a longer one is
// refused, at once.
func TestAnswersOfAnyLength(t *testing.T) {
	random := make([]byte, MaxAnswer+1)
	rand.NewChaCha8([32]byte{}).Read(random)
	size := func(question []byte) (n int) {
		fmt.Sscan(string(question), &n)
		return n
	}
	list := startNodes(t, 2, Options{Secret: []byte("secret"), Answer: func(_ context.Context, question []byte) []byte {
		return random[:size(question)]
	}})
	for _, n := range []int{0, 1, partBytes - 1, partBytes, partBytes + 1, 10*partBytes + 7, MaxAnswer - 1, MaxAnswer} {
		got, err := list[0].ask(list[1], fmt.Sprint(n))
		if err != nil || !bytes.Equal([]byte(got), random[:n]) {
			t.Errorf("want the %d bytes of the answer; got %d, %v", n, len(got), err)
		}
	}
	if _, err := list[0].ask(list[1], fmt.Sprint(MaxAnswer+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("want %v; got %v", ErrTooLong, err)
	}
	if _, err := list[0].ask(list[1], strings.Repeat("x", MaxQuestion+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("want %v for a question; got %v", ErrTooLong, err)
	}
	longest := strings.Repeat(" ", MaxQuestion-1) + "7"
	if got, err := list[0].ask(list[1], longest); err != nil || got != string(random[:7]) {
		t.Errorf("want the longest question answered; got %d bytes, %v", len(got), err)
	}
	wantNothingHeld(t, list...)
}

// wantNothingHeld checks that no answers are waited for.
func wantNothingHeld(t testing.TB, list ...*testNode) {
	t.Helper()
	for _, n := range list {
		n.asks.mu.Lock()
		if count := len(n.asks.list); count > 0 {
			t.Errorf("want no question under way at %s; got %d", n.options.Name, count)
		}
		n.asks.mu.Unlock()
	}
}

func TestQuestionsThatAreNotAnswered(t *testing.T) {
	list := startNodes(t, 2, Options{})
	other := startNode(t, Options{Name: "other", Routes: []string{list[0].Addr().String()}, Answer: func(context.Context, []byte) []byte { return nil }})
	elsewhere := startNode(t, Options{Name: "elsewhere", Room: "elsewhere", Answer: echoed, Routes: []string{list[0].Addr().String()}})
	awaitNodes(t, list[0], list[1], other)
	for _, test := range []struct {
		name string
		id   string
		want error
	}{
		{"a node without Answer", list[1].ID(), ErrNoAnswer},
		{"one that has none to this", other.ID(), ErrNoAnswer},
		{"nobody", "0123456789abcdef", ErrNoNode},
		{"no ID", "node1", ErrNoNode},
		{"nothing", "", ErrNoNode},
		{"itself", list[0].ID(), ErrNoNode},
		{"a node of another room", elsewhere.ID(), ErrNoNode},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if _, err := list[0].Ask(ctx, test.id, []byte("?")); !errors.Is(err, test.want) || test.id != "" && !strings.Contains(err.Error(), test.id) {
			t.Errorf("%s: want %v, and who was asked; got %v", test.name, test.want, err)
		}
		cancel()
	}
	gone := other.ID()
	other.Close()
	awaitNodes(t, list...)
	if _, err := list[0].Ask(context.Background(), gone, nil); !errors.Is(err, ErrNoNode) {
		t.Errorf("a node that is gone: want %v; got %v", ErrNoNode, err)
	}
	wantNothingHeld(t, list...)
}

// A slowpoke answers when it is let to.
type slowpoke struct {
	asked   chan string   // a question that came
	release chan struct{} // one is answered for each, all when it is closed
}

func newSlowpoke() *slowpoke {
	return &slowpoke{asked: make(chan string, 100), release: make(chan struct{})}
}

func (s *slowpoke) answer(ctx context.Context, question []byte) []byte {
	s.asked <- string(question)
	select {
	case <-s.release:
	case <-ctx.Done():
		return nil
	}
	return question
}

// So many questions are under way at a time, and so many wait; one more is
// refused at once on either side.
func TestQuestionsAreBounded(t *testing.T) {
	slow := newSlowpoke()
	list := startNodes(t, 4, Options{Answer: slow.answer})
	slowest := list[3]
	var asking sync.WaitGroup
	results := make(chan error, 100)
	ask := func(n *testNode, text string) {
		asking.Go(func() {
			answer, err := n.ask(slowest, text)
			if err == nil && answer != text {
				err = fmt.Errorf("want %q; got %q", text, answer)
			}
			results <- err
		})
	}
	underWay := func(n *testNode) int {
		n.asks.mu.Lock()
		defer n.asks.mu.Unlock()
		count := 0
		for _, a := range n.asks.list {
			if a.number > 0 {
				count++
			}
		}
		return count
	}
	ask(list[0], "first")
	<-slow.asked // now the rest waits
	for i := range maxAsks - 1 {
		ask(list[0], fmt.Sprint("0/", i))
	}
	await(t, "all are asked", func() bool { return underWay(list[0]) == maxAsks })
	if _, err := list[0].ask(slowest, "one more"); !errors.Is(err, ErrBusy) {
		t.Errorf("want %v; got %v", ErrBusy, err)
	}
	for i := range maxQuestions - (maxAsks - 1) - 1 {
		ask(list[1+i%2], fmt.Sprint("1/", i))
	}
	await(t, "all but one wait that can", func() bool { return len(slowest.questions) == maxQuestions-1 })
	ask(list[1], "last")
	await(t, "all wait that can", func() bool { return len(slowest.questions) == maxQuestions })
	if _, err := list[2].ask(slowest, "too many"); !errors.Is(err, ErrBusy) {
		t.Errorf("want %v; got %v", ErrBusy, err)
	}
	close(slow.release)
	asking.Wait()
	close(results)
	answered := 0
	for err := range results {
		if err != nil {
			t.Error(err)
		}
		answered++
	}
	if answered != 1+maxQuestions {
		t.Errorf("want %d answered; got %d", 1+maxQuestions, answered)
	}
	wantNothingHeld(t, list...)
}

// A question ends when the asker wants, when it goes, and when who is asked
// goes.
func TestQuestionsEnd(t *testing.T) {
	slow := newSlowpoke()
	list := startNodes(t, 3, Options{Answer: slow.answer})
	ended := make(chan error, 1)
	ask := func(ctx context.Context, from, to *testNode) {
		go func() {
			_, err := from.Ask(ctx, to.ID(), []byte("?"))
			ended <- err
		}()
		<-slow.asked
	}
	ctx, cancel := context.WithCancel(context.Background())
	ask(ctx, list[0], list[1])
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("want %v; got %v", context.Canceled, err)
	}
	slow.release <- struct{}{}
	await(t, "an answer that nobody waits for is counted", func() bool { return list[0].dropped(DropUnasked) == 1 })

	ask(context.Background(), list[0], list[1])
	list[1].Close() // the answer is being thought about
	if err := <-ended; !errors.Is(err, ErrNoNode) {
		t.Errorf("want %v; got %v", ErrNoNode, err)
	}
	ask(context.Background(), list[0], list[2])
	list[0].Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("want %v; got %v", net.ErrClosed, err)
	}
	if _, err := list[0].Ask(context.Background(), list[2].ID(), nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("want %v after Close; got %v", net.ErrClosed, err)
	}
	wantNothingHeld(t, list...)
}

func TestPartsOfAnAnswer(t *testing.T) {
	from, stranger := nodeID{1}, nodeID{2}
	full := bytes.Repeat([]byte("x"), partBytes)
	var s asks
	a := s.begin(from, topicAnswer)
	if n := s.number(a); n != 1 {
		t.Fatalf("want number 1; got %d", n)
	}
	for _, test := range []struct {
		name  string
		from  nodeID
		part  part
		taken bool
	}{
		{"of another node", stranger, part{question: 1, parts: 3, text: full}, false},
		{"of another question", from, part{question: 2, parts: 3, text: full}, false},
		{"the last", from, part{question: 1, index: 2, parts: 3, text: []byte("end")}, true},
		{"the last once more", from, part{question: 1, index: 2, parts: 3, text: []byte("END")}, false},
		{"the first", from, part{question: 1, parts: 3, text: full}, true},
		{"of an answer of other parts", from, part{question: 1, index: 1, parts: 2, text: []byte("y")}, false},
		{"the middle", from, part{question: 1, index: 1, parts: 3, text: full}, true},
		{"the middle once more", from, part{question: 1, index: 1, parts: 3, text: full}, false},
		{"that refuses, too late", from, part{question: 1, parts: 1, status: statusNone}, true},
	} {
		if got := s.take(test.from, &test.part); got != test.taken {
			t.Errorf("%s: want taken %t; got %t", test.name, test.taken, got)
		}
	}
	got, err := a.await(context.Background(), context.Background(), patience)
	if want := append(append(bytes.Clone(full), full...), "end"...); err != nil || !bytes.Equal(got, want) {
		t.Errorf("want the parts in order, %d bytes; got %d, %v", len(want), len(got), err)
	}
	s.end(a)
	if s.take(from, &part{question: 1, parts: 1}) {
		t.Error("want nothing taken that nobody waits for")
	}
}

// An answer of which a part is missing ends when nothing comes.
func TestAnswerThatIsNotWholeEnds(t *testing.T) {
	var s asks
	a := s.begin(nodeID{1}, topicShared)
	s.number(a)
	if s.begin(nodeID{2}, topicShared) != nil {
		t.Error("want one question for what is shared at a time")
	}
	if !s.take(nodeID{1}, &part{question: 1, index: 1, parts: 2, text: []byte("end")}) {
		t.Fatal("want the part taken")
	}
	if _, err := a.await(context.Background(), context.Background(), time.Millisecond); !errors.Is(err, ErrSilent) {
		t.Errorf("want %v; got %v", ErrSilent, err)
	}
}

func TestPartsThatAreRefused(t *testing.T) {
	full := strings.Repeat("x", partBytes)
	for _, test := range []struct {
		name, rest, text string // what follows the number of the question
		want             error
	}{
		{"one", "\x00\x00\x00\x00\x01", "x", nil},
		{"one of nothing", "\x00\x00\x00\x00\x01", "", nil},
		{"the first of two", "\x00\x00\x00\x00\x02", full, nil},
		{"the last of two", "\x00\x00\x01\x00\x02", "x", nil},
		{"the last of 64", "\x00\x00\x3f\x00\x40", full, nil},
		{"a refusal", "\x03\x00\x00\x00\x01", "", nil},
		{"the last of 65", "\x00\x00\x40\x00\x41", "x", errMalformed},
		{"the first of two, not full", "\x00\x00\x00\x00\x02", full[1:], errMalformed},
		{"the last of two, empty", "\x00\x00\x01\x00\x02", "", errMalformed},
		{"the third of two", "\x00\x00\x02\x00\x02", "x", errMalformed},
		{"one of none", "\x00\x00\x00\x00\x00", "", errMalformed},
		{"longer than a part", "\x00\x00\x00\x00\x01", full + "x", errMalformed},
		{"an unknown status", "\x04\x00\x00\x00\x01", "", errMalformed},
		{"a refusal with a text", "\x01\x00\x00\x00\x01", "x", errMalformed},
		{"a refusal of two parts", "\x01\x00\x00\x00\x02", "", errMalformed},
		{"cut", "\x00\x00\x00\x00", "", errMalformed},
	} {
		if _, err := parsePart([]byte(onePart[:16] + test.rest + test.text)); err != test.want {
			t.Errorf("%s: want %v; got %v", test.name, test.want, err)
		}
	}
	if _, err := parsePart([]byte(deafID + strings.Repeat("\x00", 8) + onePart[16:])); err != errMalformed {
		t.Errorf("no question: want %v; got %v", errMalformed, err)
	}
}
