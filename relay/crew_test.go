package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"udprelay/peers"
)

// A fakeSender notes whom it sends to. Of a crew all share one log.
type fakeSender struct {
	log    *sentTo
	number int
	before func() error // called before each piece
}

// SentTo is what a crew has sent of a batch.
type sentTo struct {
	mu    sync.Mutex
	count map[*peers.Peer]int
	by    map[int]int // by sender
}

func (s *fakeSender) send(b *batch, to share, t *tally) error {
	if s.before != nil {
		if err := s.before(); err != nil {
			return err
		}
	}
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	for _, run := range to.runs() {
		if !slices.IsSortedFunc(run, byNumber) {
			return errors.New("a run that does not ascend")
		}
		for _, p := range run {
			s.log.count[p]++
			s.log.by[s.number]++
			t.Delivered += uint64(len(b.datagrams))
			t.dropOf(p, DropTooBig, s.number)
		}
	}
	return nil
}

// newFakeCrew returns a crew at work that really sends nothing.
func newFakeCrew(t *testing.T, senders int) (*crew, *sentTo, []*fakeSender) {
	log := &sentTo{count: make(map[*peers.Peer]int), by: make(map[int]int)}
	var fakes []*fakeSender
	var list []sender
	for i := range senders {
		fakes = append(fakes, &fakeSender{log: log, number: i})
		list = append(list, fakes[i])
	}
	c := newCrew(nil, list[0], list[1:]...)
	c.start()
	t.Cleanup(c.stop)
	return c, log, fakes
}

// peersOf returns so many, in ascending order of number.
func peersOf(t testing.TB, count int) []*peers.Peer {
	t.Helper()
	table := peers.New(peers.Options{}, time.Now())
	var addrs []netip.AddrPort
	for i := range count {
		addrs = append(addrs, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 9000))
	}
	table.SetStatic(addrs, time.Now())
	return table.Receivers()
}

// Whoever sends, and wherever it begins, each receiver is sent to once.
func TestCrewSendsToEachReceiverOnce(t *testing.T) {
	for _, senders := range []int{1, 2, 3, 7} {
		for _, receivers := range []int{0, 1, 2, 15, 16, 17, 100, 1000} {
			for _, datagrams := range []int{1, 5, maxBatch} {
				t.Run(fmt.Sprintf("%d senders, %d receivers, %d datagrams", senders, receivers, datagrams), func(t *testing.T) {
					c, log, _ := newFakeCrew(t, senders)
					all := peersOf(t, receivers)
					b := newBatch()
					b.datagrams = make([]Datagram, datagrams)
					const batches = 50
					var counted tally
					for range batches {
						b.reset()
						b.datagrams = b.datagrams[:datagrams]
						if err := c.send(b, everyoneFrom(all, b.number), &counted); err != nil {
							t.Fatal(err)
						}
					}
					for i, p := range all {
						if log.count[p] != batches {
							t.Fatalf("want %d sends to receiver %d; got %d", batches, i, log.count[p])
						}
					}
					if want := uint64(batches * receivers * datagrams); counted.Delivered != want {
						t.Errorf("want %d counted; got %d", want, counted.Delivered)
					}
					drops := 0
					for number, count := range log.by {
						drops += number * count
					}
					if counted.Dropped[DropTooBig] != uint64(drops) {
						t.Errorf("want %d drops counted; got %d", drops, counted.Dropped[DropTooBig])
					}
				})
			}
		}
	}
}

// While one has a piece in hand, others take the rest.
func TestCrewWaitsForNobodyWhoIsSlow(t *testing.T) {
	c, log, fakes := newFakeCrew(t, 3)
	all := peersOf(t, 240)
	b := newBatch()
	b.datagrams = make([]Datagram, maxBatch)
	begun, others := make(chan struct{}), make(chan int, len(all))
	for _, fake := range fakes[1:] {
		fake.before = func() error {
			<-begun
			others <- fake.number
			return nil
		}
	}
	// The first has the others do all pieces but its own.
	fakes[0].before = func() error {
		close(begun)
		for range c.pieces - 1 {
			<-others
		}
		return nil
	}
	if err := c.send(b, everyone(all), new(tally)); err != nil {
		t.Fatal(err)
	}
	if log.by[0] != c.size || log.by[1]+log.by[2] != len(all)-c.size {
		t.Errorf("want the slow one to send to %d, and others to %d; got %v", c.size, len(all)-c.size, log.by)
	}
}

// Where nobody comes to help, the first does it all.
func TestCrewDoesWithoutHelp(t *testing.T) {
	log := &sentTo{count: make(map[*peers.Peer]int), by: make(map[int]int)}
	c := newCrew(nil, &fakeSender{log: log}, &fakeSender{log: log, number: 1}) // not started
	all := peersOf(t, 240)
	b := newBatch()
	b.datagrams = make([]Datagram, maxBatch)
	if err := c.send(b, everyone(all), new(tally)); err != nil {
		t.Fatal(err)
	}
	if log.by[0] != len(all) {
		t.Errorf("want the first to send to all %d; got %v", len(all), log.by)
	}
}

// If the socket is closed under one of them, send says so, and nobody goes on.
func TestCrewTellsAnError(t *testing.T) {
	for broken := range 2 {
		c, log, fakes := newFakeCrew(t, 2)
		b := newBatch()
		b.datagrams = make([]Datagram, maxBatch)
		failed := make(chan struct{})
		gone := errors.New("gone")
		fakes[broken].before = func() error {
			defer close(failed)
			return gone
		}
		fakes[1-broken].before = func() error { <-failed; return nil }
		all := peersOf(t, 160)
		if err := c.send(b, everyone(all), new(tally)); !errors.Is(err, gone) {
			t.Errorf("sender %d: want its error; got %v", broken, err)
		}
		if log.by[broken] != 0 || log.by[1-broken] >= len(all) {
			t.Errorf("sender %d: want it to send nothing and not all to have been sent to; got %v", broken, log.by)
		}
	}
}

// Each receiver is about as often the first as any other.
func TestNobodyIsAlwaysLast(t *testing.T) {
	for _, receivers := range []int{1, 2, 3, 10, 100, 997} {
		first := make(map[int]int)
		const rounds = 100
		for batch := range uint32(receivers * rounds) {
			s := everyoneFrom(manyReceiversOf(receivers), batch)
			first[s.first]++
		}
		for i := range receivers {
			if first[i] < rounds*9/10 || first[i] > rounds*11/10 {
				t.Errorf("of %d: want number %d to be first about %d times; got %d", receivers, i, rounds, first[i])
			}
		}
	}
}

func manyReceiversOf(count int) []*peers.Peer { return make([]*peers.Peer, count) }
