package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"udprelay/peers"
)

// errnos are what the kernel may answer, and what a datagram that meets it is
// counted as. EINTR is not there: it is no refusal.
var errnos = []struct {
	errno unix.Errno
	drop  Drop
}{
	{unix.EPERM, DropFiltered},
	{unix.ENETUNREACH, DropUnreachable},
	{unix.EHOSTUNREACH, DropUnreachable},
	{unix.ENETDOWN, DropUnreachable},
	{unix.EACCES, DropUnreachable}, // a prohibit route
	{unix.EINVAL, DropUnreachable}, // a blackhole route
	{unix.EAFNOSUPPORT, DropUnreachable},
	{unix.EMSGSIZE, DropTooBig},
	{unix.EAGAIN, DropNoBuffer},
	{unix.ENOBUFS, DropNoBuffer},
	{unix.ENOMEM, DropNoBuffer},
	{unix.EIO, DropSendFailed},
	{unix.EPROTO, DropSendFailed},
}

// Batches that no peer has a part in, so that everyone gets all of it.
var (
	loneDatagram = []string{strings.Repeat("a", 200)}
	// A train of 10 and one of 3 that must leave behind it.
	twoTrains = []string{
		"0123456789", "abcdefghij", "1234567890", "bcdefghijk", "2345678901", "cdefghijkl", "3456789012", "defghijklm", "4567890123", "short",
		"one longer than those before", "two longer than those before", "three, the last and shorter",
	}
)

// eachKind runs the test for all kinds of sockets and messages: IPv4 and IPv6,
// lone datagrams and trains, with and without a source address.
func eachKind(t *testing.T, test func(t *testing.T, v6, withSource bool, payloads []string)) {
	for _, v6 := range []bool{false, true} {
		for _, withSource := range []bool{false, true} {
			for _, payloads := range [][]string{loneDatagram, twoTrains} {
				name := fmt.Sprintf("IPv%d/source=%t/trains=%t", map[bool]int{false: 4, true: 6}[v6], withSource, len(payloads) > 1)
				t.Run(name, func(t *testing.T) { test(t, v6, withSource, payloads) })
			}
		}
	}
}

// fromALink makes a batch whose origin is no peer.
func fromALink(payloads []string) *batch {
	return said(make([]*peers.Peer, len(payloads)), payloads...)
}

// checkGot fails the test unless p got exactly the payloads want.
func (k *fakeKernel) checkGot(p *peers.Peer, want []string, what string) {
	k.t.Helper()
	if got := k.payloads(p); !slices.Equal(got, want) {
		k.t.Fatalf("%s: want %d datagrams %.60q at %v; got %d: %.200q", what, len(want), want, p.Addr(), len(got), got)
	}
}

// checkCounts fails the test unless t has these counts and no others.
func checkCounts(t rapid.TB, got *tally, delivered int, dropped map[Drop]int) {
	t.Helper()
	var want Stats
	want.Delivered = uint64(delivered)
	for reason, n := range dropped {
		want.Dropped[reason] = uint64(n)
	}
	want.DeliveredBytes = got.DeliveredBytes
	if got.Stats != want {
		t.Fatalf("want %s; got %s", show(want), show(got.Stats))
	}
}

func TestOneBadPeerCostsOnlyItself(t *testing.T) {
	const count = 6
	bads := [][]int{{0, 5}, {1, 2}, {0, 1, 2}, {3, 4, 5}, {0, 2, 4}, {0, 1, 2, 3, 4, 5}}
	for i := range count {
		bads = append(bads, []int{i})
	}
	eachKind(t, func(t *testing.T, v6, withSource bool, payloads []string) {
		for _, e := range errnos {
			for _, bad := range bads {
				s, kernel := newFakeSender(t, v6)
				room := newRoom(v6, count)
				if withSource {
					knownBy(s, room.peers...)
				}
				kernel.refuse = func(m *wireMessage) unix.Errno {
					if slices.ContainsFunc(bad, func(i int) bool { return room.peers[i].Addr() == m.to }) {
						return e.errno
					}
					return 0
				}
				var counts tally
				if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
					t.Fatalf("%v for peers %v: want no error; got %v", e.errno, bad, err)
				}
				for i, p := range room.peers {
					what := fmt.Sprintf("%v for peers %v", e.errno, bad)
					if withSource != (p.Path.Source.Load() != nil) {
						t.Fatalf("%s: want the source address remembered (%t) for peer %d; got %v", what, withSource, i, p.Path.Source.Load())
					}
					if slices.Contains(bad, i) {
						kernel.checkGot(p, nil, what)
						continue
					}
					kernel.checkGot(p, payloads, what)
					if limit := p.Path.TrainLimit.Load(); limit != 0 {
						t.Fatalf("%s: want no train limit for good peer %d; got %d", what, i, limit)
					}
					for _, a := range kernel.got[p.Addr()] {
						if withSource != (a.source == relayAddr(v6)) {
							t.Fatalf("%s: want the source address kept (%t) for good peer %d; got %v", what, withSource, i, a.source)
						}
					}
				}
				checkCounts(t, &counts, (count-len(bad))*len(payloads), map[Drop]int{e.drop: len(bad) * len(payloads)})
				if whom := counts.whom[e.drop]; whom != room.peers[slices.Max(bad)].Addr() {
					t.Fatalf("%v for peers %v: want the last drop to name peer %d; got %v", e.errno, bad, slices.Max(bad), whom)
				}
				if want := map[bool]int{true: 1}[e.errno == unix.EAGAIN]; kernel.waits != want {
					t.Fatalf("%v for peers %v: want %d waits for room in the batch; got %d", e.errno, bad, want, kernel.waits)
				}
			}
		}
	})
}

func TestInterruptedCallIsRepeated(t *testing.T) {
	eachKind(t, func(t *testing.T, v6, withSource bool, payloads []string) {
		s, kernel := newFakeSender(t, v6)
		room := newRoom(v6, 5)
		if withSource {
			knownBy(s, room.peers...)
		}
		interrupted := make(map[string]int)
		kernel.refuse = func(m *wireMessage) unix.Errno {
			key := fmt.Sprint(m.to, m.datagrams)
			if interrupted[key]++; interrupted[key] <= 3 {
				return unix.EINTR
			}
			return 0
		}
		var counts tally
		if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
			t.Fatal(err)
		}
		for _, p := range room.peers {
			kernel.checkGot(p, payloads, "EINTR")
		}
		checkCounts(t, &counts, 5*len(payloads), nil)
	})
}

func TestFullSendBufferIsWaitedForOnceABatch(t *testing.T) {
	eachKind(t, func(t *testing.T, v6, withSource bool, payloads []string) {
		s, kernel := newFakeSender(t, v6)
		room := newRoom(v6, 5)
		full := true
		kernel.refuse = func(m *wireMessage) unix.Errno {
			if full && m.to == room.peers[2].Addr() {
				return unix.EAGAIN
			}
			return 0
		}
		s.waitWrite = func() { kernel.waits++; full = false }
		for batch := range 3 {
			full = true
			var counts tally
			if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
				t.Fatal(err)
			}
			checkCounts(t, &counts, 5*len(payloads), nil)
			if kernel.waits != batch+1 {
				t.Fatalf("want %d waits after %d batches; got %d", batch+1, batch+1, kernel.waits)
			}
		}
	})
}

func TestMoreReceiversThanOneCallTakes(t *testing.T) {
	const count = 1000
	bad := map[int]bool{0: true, 1: true, 127: true, 128: true, 255: true, 256: true, 511: true, 512: true, 998: true, 999: true}
	eachKind(t, func(t *testing.T, v6, withSource bool, payloads []string) {
		for _, e := range errnos {
			s, kernel := newFakeSender(t, v6)
			room := newRoom(v6, count)
			if withSource {
				knownBy(s, room.peers...)
			}
			refused := make(map[string]bool)
			for i := range bad {
				refused[room.peers[i].Addr().String()] = true
			}
			kernel.refuse = func(m *wireMessage) unix.Errno {
				if refused[m.to.String()] {
					return e.errno
				}
				return 0
			}
			var counts tally
			if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
				t.Fatal(err)
			}
			for i, p := range room.peers {
				want := payloads
				if bad[i] {
					want = nil
				}
				kernel.checkGot(p, want, e.errno.Error())
			}
			checkCounts(t, &counts, (count-len(bad))*len(payloads), map[Drop]int{e.drop: len(bad) * len(payloads)})
		}
	})
}

// The kernel is busy for no longer than a call takes, whatever is sent.
func TestEachCallIsShort(t *testing.T) {
	for _, payloads := range [][]string{
		slices.Repeat([]string{"of a train"}, maxBatch),
		slices.Repeat([]string{strings.Repeat("x", 60000)}, 2),
		loneDatagram,
	} {
		s, kernel := newFakeSender(t, false)
		room := newRoom(false, 600)
		s.sendmmsg = func(headers []mmsghdr) (int, unix.Errno) {
			datagrams, size := 0, 0
			for i := range headers {
				for _, d := range kernel.read(&headers[i].header).datagrams {
					datagrams++
					size += len(d)
				}
			}
			if len(headers) > maxMessages || datagrams >= maxGathered+maxBatch || size >= maxGatheredBytes+maxTrainBytes {
				t.Fatalf("want at most about %d messages, %d datagrams, %d bytes in a call; got %d, %d, %d",
					maxMessages, maxGathered, maxGatheredBytes, len(headers), datagrams, size)
			}
			return kernel.sendmmsg(headers)
		}
		var counts tally
		if err := s.send(fromALink(payloads), everyone(room.table.Receivers()), &counts); err != nil {
			t.Fatal(err)
		}
		checkCounts(t, &counts, 600*len(payloads), nil)
	}
}

func TestClosedSocketEndsTheBatch(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EBADF, unix.ENOTSOCK} {
		s, kernel := newFakeSender(t, false)
		room := newRoom(false, 3)
		kernel.refuse = func(*wireMessage) unix.Errno { return errno }
		var counts tally
		if err := s.send(fromALink(twoTrains), everyone(room.table.Receivers()), &counts); !closed(err) {
			t.Errorf("%v: want net.ErrClosed; got %v", errno, err)
		}
		checkCounts(t, &counts, 0, nil)
	}
}

// A sender is used again after a failure, at least until its link sees it.
func TestSenderOutlivesAClosedSocket(t *testing.T) {
	s, kernel := newFakeSender(t, false)
	room := newRoom(false, 3)
	refusal := unix.EBADF
	kernel.refuse = func(*wireMessage) unix.Errno { return refusal }
	for range 2 * maxMessages {
		if err := s.send(fromALink(loneDatagram), everyone(room.table.Receivers()), new(tally)); !closed(err) {
			t.Fatalf("want net.ErrClosed; got %v", err)
		}
	}
	refusal = 0
	var counts tally
	if err := s.send(fromALink(twoTrains), everyone(room.table.Receivers()), &counts); err != nil {
		t.Fatal(err)
	}
	for _, p := range room.peers {
		kernel.checkGot(p, twoTrains, "after failures")
	}
}
