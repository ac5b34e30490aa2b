package relay

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// limits are what a refused train leaves behind at its peer: the kernel's
// answer to a train of datagrams of 20 bytes, and the train limit after it.
var limits = []struct {
	errno unix.Errno
	limit uint32
}{
	{unix.EIO, 1}, // the interface cannot split trains of any size
	{unix.EINVAL, 20},
	{unix.EMSGSIZE, 20},
}

// train20 is a train whose datagrams have 20 bytes but the last.
var train20 = []string{"the first, 20 bytes.", "the other, 20 bytes.", "the third, 20 bytes.", "last"}

// train10 can go as a train where train20 cannot.
var train10 = []string{"0123456789", "abcdefghij", "ABCDEFGHIJ"}

func TestRefusedTrainLeavesOneByOne(t *testing.T) {
	for _, e := range limits {
		for bad := range 5 {
			for _, withSource := range []bool{false, true} {
				s, kernel := newFakeSender(t, false)
				room := newRoom(false, 5)
				if withSource {
					knownBy(s, room.peers...)
				}
				kernel.refuse = func(m *wireMessage) unix.Errno {
					if m.train() && m.to == room.peers[bad].Addr() {
						return e.errno
					}
					return 0
				}
				var want []string
				for batch := range 3 {
					var counts tally
					if err := s.send(fromALink(train20), everyone(room.table.Receivers()), &counts); err != nil {
						t.Fatal(err)
					}
					checkCounts(t, &counts, 5*len(train20), nil)
					want = append(want, train20...)
					for i, p := range room.peers {
						kernel.checkGot(p, want, e.errno.Error())
						limit := uint32(0)
						if i == bad {
							limit = e.limit
						}
						if got := p.Path.TrainLimit.Load(); got != limit {
							t.Fatalf("%v for peer %d: want train limit %d for peer %d; got %d", e.errno, bad, limit, i, got)
						}
						if last := kernel.got[p.Addr()][len(want)-1]; withSource != (last.source == relayAddr(false)) {
							t.Fatalf("%v for peer %d: want the source address kept (%t) for peer %d; got %v", e.errno, bad, withSource, i, last.source)
						}
					}
					tries := 1
					if withSource && e.errno == unix.EINVAL { // the source address could be at fault, too
						tries = 2
					}
					if ofTheNetwork(e.errno) { // it could be about another datagram
						tries += fewTries
					}
					if kernel.told != tries {
						t.Fatalf("%v: want %d refusals, that are remembered, after %d batches; got %d", e.errno, tries, batch+1, kernel.told)
					}
				}
			}
		}
	}
}

func TestTrainsBelowTheLimitGoOn(t *testing.T) {
	for _, limit := range []uint32{11, 20, 21} {
		s, kernel := newFakeSender(t, false)
		room := newRoom(false, 2)
		room.peers[1].Path.TrainLimit.Store(limit)
		var counts tally
		if err := s.send(fromALink(slices.Concat(train10, train20)), everyone(room.table.Receivers()), &counts); err != nil {
			t.Fatal(err)
		}
		var got []int
		for _, a := range kernel.got[room.peers[1].Addr()] {
			got = append(got, a.train)
		}
		want := []int{3, 3, 3, 1, 1, 1, 1}
		if limit > 20 {
			want = []int{3, 3, 3, 4, 4, 4, 4}
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: want datagrams in messages of %v; got %v", limit, want, got)
		}
	}
}

// Trains of one batch are gathered before the first is refused.
func TestTrainLimitIsTheLeastThatWasMet(t *testing.T) {
	for _, payloads := range [][]string{slices.Concat(train10, train20), slices.Concat(train20, train10, train20)} {
		s, kernel := newFakeSender(t, false)
		room := newRoom(false, 2)
		kernel.refuse = func(m *wireMessage) unix.Errno {
			if m.train() && m.to == room.peers[0].Addr() {
				return unix.EMSGSIZE
			}
			return 0
		}
		var counts tally
		if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
			t.Fatal(err)
		}
		kernel.checkGot(room.peers[0], payloads, "EMSGSIZE")
		if got := room.peers[0].Path.TrainLimit.Load(); got != 10 {
			t.Errorf("want train limit 10, for trains of 10 and of 20 bytes were refused; got %d", got)
		}
	}
}

// A train of which some datagrams are too long even alone costs only those.
func TestOnlyDatagramsTooLongForThePathAreDropped(t *testing.T) {
	payloads := slices.Concat(train20, train10, train20)
	s, kernel := newFakeSender(t, true)
	room := newRoom(true, 3)
	knownBy(s, room.peers...)
	kernel.refuse = func(m *wireMessage) unix.Errno {
		if m.to == room.peers[1].Addr() && len(m.datagrams[0]) > 15 {
			return unix.EMSGSIZE
		}
		return 0
	}
	var counts tally
	if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
		t.Fatal(err)
	}
	kernel.checkGot(room.peers[0], payloads, "before the bad peer")
	kernel.checkGot(room.peers[1], slices.Concat(train20[3:], train10, train20[3:]), "the bad peer")
	kernel.checkGot(room.peers[2], payloads, "behind the bad peer")
	checkCounts(t, &counts, 2*len(payloads)+5, map[Drop]int{DropTooBig: 6})
}

// sourceGone are what Linux answers when the source address is not of this
// host: for IPv6 and for IPv4.
var sourceGone = []unix.Errno{unix.EINVAL, unix.ENETUNREACH}

// The address that peers know the relay by can leave the host at any time.
func TestSourceAddressThatIsGoneCostsNothing(t *testing.T) {
	eachKind(t, func(t *testing.T, v6, lengthen bool, payloads []string) {
		trains := len(payloads) > 1
		if lengthen { // several messages for each peer, in one call
			payloads = slices.Concat(payloads, []string{payloads[0] + "and one longer"}, []string{payloads[0] + "and one even longer"})
		}
		for _, gone := range sourceGone {
			for _, more := range []unix.Errno{0, unix.EINVAL, unix.EMSGSIZE, unix.EIO} { // that trains meet besides
				s, kernel := newFakeSender(t, v6)
				room := newRoom(v6, 6)
				knownBy(s, room.peers[2:5]...)
				kernel.refuse = func(m *wireMessage) unix.Errno {
					if m.source.IsValid() {
						return gone
					}
					if m.train() && m.to == room.peers[3].Addr() {
						return more
					}
					return 0
				}
				var counts tally
				if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
					t.Fatal(err)
				}
				for i, p := range room.peers {
					kernel.checkGot(p, payloads, "source gone")
					if got := p.Path.Source.Load(); got != nil {
						t.Errorf("want no source address for peer %d; got number %v", i, got)
					}
					limited := more != 0 && i == 3 && trains
					if got := p.Path.TrainLimit.Load(); (got != 0) != limited {
						t.Errorf("trains meet %v at peer 3: want a train limit for peer %d: %t; got %d", more, i, limited, got)
					}
				}
				checkCounts(t, &counts, 6*len(payloads), nil)
				before := kernel.told
				if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
					t.Fatal(err)
				}
				if kernel.told != before {
					t.Errorf("want no more refusals once the source address is forgotten; got %d", kernel.told-before)
				}
			}
		}
	})
}

func TestTrainsAreNotMadeWhereTheyAreOff(t *testing.T) {
	own := new(own)
	own.host.Store(newHost(nil))
	s := (&linuxSocket{own: own, noTrains: "the test says so"}).newSender(nil).(*trainSender)
	kernel := newFakeKernel(t)
	s.sendmmsg, s.queued = kernel.sendmmsg, func() int { return 0 }
	room := newRoom(false, 3)
	var counts tally
	if err := s.send(fromALink(twoTrains), everyone(room.table.Receivers()), &counts); err != nil {
		t.Fatal(err)
	}
	for _, p := range room.peers {
		kernel.checkGot(p, twoTrains, "without trains")
		for i, a := range kernel.got[p.Addr()] {
			if a.train != 1 {
				t.Fatalf("want datagram %d in a message of its own; got it in one of %d", i, a.train)
			}
		}
	}
}
