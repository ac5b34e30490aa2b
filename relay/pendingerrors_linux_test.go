package relay

import (
	"fmt"
	"math"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"udprelay/peers"
)

// checkInnocent fails the test unless all got everything as if nothing was.
func (k *fakeKernel) checkInnocent(p *peers.Peer, want []string, withSource bool, what string) {
	k.t.Helper()
	k.checkGot(p, want, what)
	if got := p.Path.Source.Load() != nil; got != withSource {
		k.t.Fatalf("%s: want the source address remembered for %v: %t; got %t", what, p.Addr(), withSource, got)
	}
	if limit := p.Path.TrainLimit.Load(); limit != 0 {
		k.t.Fatalf("%s: want no train limit for %v; got %d", what, p.Addr(), limit)
	}
	for _, a := range k.got[p.Addr()] {
		if withSource != a.source.IsValid() {
			k.t.Fatalf("%s: want %v to get everything from the address it knows: %t; got it from %v", what, p.Addr(), withSource, a.source)
		}
	}
}

// An error of the network comes to whichever call is next.
func TestPendingErrorCostsTheInnocentNothing(t *testing.T) {
	const count = 6
	eachKind(t, func(t *testing.T, v6, withSource bool, payloads []string) {
		for _, pending := range pendings {
			for every := 2; every <= 9; every++ {
				s, kernel := newFakeSender(t, v6)
				room := newRoom(v6, count)
				if withSource {
					knownBy(s, room.peers...)
				}
				looks := 0
				kernel.refuse = func(*wireMessage) unix.Errno {
					if looks++; looks%every == 0 {
						return pending
					}
					return 0
				}
				what := fmt.Sprintf("%v at every call of %d", pending, every)
				var counts tally
				var want []string
				for range 5 {
					if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
						t.Fatalf("%s: want no error; got %v", what, err)
					}
					want = append(want, payloads...)
				}
				for _, p := range room.peers {
					kernel.checkInnocent(p, want, withSource, what)
				}
				checkCounts(t, &counts, count*len(want), nil)
			}
		}
	})
}

// Errors come in rows when many answer at once, and without end in a flood.
func TestPendingErrorsInARowCostTheInnocentNothing(t *testing.T) {
	const count = 4
	eachKind(t, func(t *testing.T, v6, withSource bool, payloads []string) {
		for _, pending := range pendings {
			for _, row := range []int{2, fewTries, math.MaxInt} {
				s, kernel := newFakeSender(t, v6)
				room := newRoom(v6, count)
				if withSource {
					knownBy(s, room.peers...)
				}
				tries := make(map[string]int)
				kernel.refuse = func(m *wireMessage) unix.Errno {
					key := fmt.Sprint(m.to, m.datagrams[0])
					if tries[key]++; tries[key] <= row && !kernel.muted {
						return pending
					}
					return 0
				}
				var counts tally
				if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
					t.Fatal(err)
				}
				for _, p := range room.peers {
					kernel.checkInnocent(p, payloads, withSource, fmt.Sprintf("%d times %v", row, pending))
				}
				checkCounts(t, &counts, count*len(payloads), nil)
				if want := row == math.MaxInt; kernel.muted != want {
					t.Errorf("%d times %v: want errors muted: %t; got %t", row, pending, want, kernel.muted)
				}
			}
		}
	})
}

// What errors of the network hit while trains and source addresses are given
// up for good reasons must not be lost either.
func TestPendingErrorWhileAMessageChangesCostsNothing(t *testing.T) {
	for _, pending := range pendings {
		for _, reason := range []unix.Errno{unix.EMSGSIZE, unix.EIO, unix.EINVAL} {
			what := fmt.Sprintf("%v while trains meet %v", pending, reason)
			s, kernel := newFakeSender(t, false)
			room := newRoom(false, 3)
			hit := false
			kernel.refuse = func(m *wireMessage) unix.Errno {
				switch {
				case m.to != room.peers[1].Addr():
				case m.train():
					hit = false
					return reason
				case !hit:
					hit = true
					return pending
				}
				return 0
			}
			var counts tally
			if err := s.send(fromALink(train20), everyone(room.table.Receivers()), &counts); err != nil {
				t.Fatal(err)
			}
			for _, p := range room.peers {
				kernel.checkGot(p, train20, what)
			}
			checkCounts(t, &counts, 3*len(train20), nil)
		}
		for _, gone := range sourceGone {
			for _, payloads := range [][]string{loneDatagram, train20} {
				what := fmt.Sprintf("%v while the source address is gone (%v)", pending, gone)
				s, kernel := newFakeSender(t, false)
				room := newRoom(false, 3)
				knownBy(s, room.peers[1])
				hit := false
				kernel.refuse = func(m *wireMessage) unix.Errno {
					switch {
					case m.source.IsValid():
						hit = false
						return gone
					case m.to == room.peers[1].Addr() && !hit:
						hit = true
						return pending
					}
					return 0
				}
				var counts tally
				if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
					t.Fatal(err)
				}
				for _, p := range room.peers {
					kernel.checkGot(p, payloads, what)
				}
				checkCounts(t, &counts, 3*len(payloads), nil)
			}
		}
	}
}

// Whatever is pending beside whoever is bad, the good get everything, and all
// is counted.
func TestPendingErrorsBesideBadPeers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v6 := rapid.Bool().Draw(t, "IPv6")
		s, kernel := newFakeSender(t, v6)
		room := newRoom(v6, rapid.IntRange(1, 12).Draw(t, "peers"))
		withSource := rapid.Bool().Draw(t, "with source")
		if withSource {
			knownBy(s, room.peers...)
		}
		bad := make(map[netip.AddrPort]int) // indexes of errnos
		for _, p := range room.peers {
			if rapid.IntRange(0, 3).Draw(t, "bad") == 0 {
				bad[p.Addr()] = rapid.IntRange(0, len(errnos)-1).Draw(t, "errno")
			}
		}
		row := make(map[string]int) // errors in a row, for each message
		kernel.refuse = func(m *wireMessage) unix.Errno {
			key := fmt.Sprint(m.to, m.datagrams[0])
			if row[key] < fewTries && rapid.IntRange(0, 2).Draw(t, "pending") == 0 {
				row[key]++
				return rapid.SampledFrom(pendings).Draw(t, "error")
			}
			if i, ok := bad[m.to]; ok {
				return errnos[i].errno
			}
			return 0
		}
		kernel.short = func(n int) int { return rapid.IntRange(1, n).Draw(t, "looks") }
		payloads := rapid.SampledFrom([][]string{loneDatagram, twoTrains, train20}).Draw(t, "payloads")
		var counts tally
		if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
			t.Fatal(err)
		}
		dropped := 0
		for _, p := range room.peers {
			if _, ok := bad[p.Addr()]; ok {
				kernel.checkGot(p, nil, "a bad peer")
				if got := p.Path.Source.Load() != nil; got != withSource {
					t.Fatalf("want the source address of bad peer %v remembered: %t; got %t", p.Addr(), withSource, got)
				}
				dropped += len(payloads)
				continue
			}
			kernel.checkInnocent(p, payloads, withSource, "an innocent peer")
		}
		if want := uint64(len(room.peers)*len(payloads) - dropped); counts.Delivered != want {
			t.Fatalf("want %d delivered; got %s", want, show(counts.Stats))
		}
		total := uint64(0)
		for _, n := range counts.Dropped {
			total += n
		}
		if total != uint64(dropped) {
			t.Fatalf("want %d dropped; got %s", dropped, show(counts.Stats))
		}
	})
}

func TestPeerThatFailsAlwaysCostsFewTries(t *testing.T) {
	lone := make([]string, maxBatch)
	for i := range lone {
		lone[i] = strings.Repeat("x", 1+i)
	}
	for _, errno := range append([]unix.Errno{unix.EINVAL, unix.EIO, unix.EPERM, unix.EAGAIN, unix.ENOBUFS}, pendings...) {
		for _, payloads := range [][]string{loneDatagram, twoTrains, lone} {
			for _, withSource := range []bool{false, true} {
				s, kernel := newFakeSender(t, true)
				room := newRoom(true, 3)
				if withSource {
					knownBy(s, room.peers...)
				}
				kernel.refuse = func(m *wireMessage) unix.Errno {
					if m.to == room.peers[1].Addr() {
						return errno
					}
					return 0
				}
				if isRouteError(errno) {
					kernel.route = kernel.refuse
				}
				var counts tally
				if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
					t.Fatal(err)
				}
				kernel.checkInnocent(room.peers[2], payloads, withSource, errno.Error())
				most := 1 // for each datagram and each train, once more without source
				switch {
				case isRouteError(errno):
					most = 2
				case ofTheNetwork(errno):
					most += 2 * fewTries
				}
				messages := len(payloads)
				if len(payloads) > 1 && len(payloads) < maxBatch {
					messages += 2
				}
				if most = most*messages*2 + 1; kernel.told > most {
					t.Errorf("%v for a batch of %d: want at most %d tries; got %d", errno, len(payloads), most, kernel.told)
				}
			}
		}
	}
}
