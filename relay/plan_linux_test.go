package relay

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"udprelay/peers"
)

// A temper is how the kernel treats what goes to a peer.
type temper struct {
	name   string
	refuse func(*wireMessage) unix.Errno // what never changes
	takes  func(payload string) bool     // nil: every datagram, in the end
	drop   Drop                          // of those it does not take
}

func tempers() []temper {
	list := []temper{
		{name: "takes everything", refuse: func(*wireMessage) unix.Errno { return 0 }},
		{
			name: "path of 30 bytes", drop: DropTooBig,
			takes: func(payload string) bool { return len(payload) <= 30 },
			refuse: func(m *wireMessage) unix.Errno {
				switch {
				case len(m.datagrams[0]) <= 30:
					return 0
				case m.train():
					return unix.EINVAL // as Linux does up to 6.15; EMSGSIZE later
				}
				return unix.EMSGSIZE
			},
		},
	}
	for _, errno := range sourceGone {
		list = append(list, temper{name: "source address meets " + errno.Error(), refuse: func(m *wireMessage) unix.Errno {
			if m.source.IsValid() {
				return errno
			}
			return 0
		}})
	}
	for _, errno := range []unix.Errno{unix.EIO, unix.EINVAL, unix.EMSGSIZE} {
		list = append(list, temper{name: "trains meet " + errno.Error(), refuse: func(m *wireMessage) unix.Errno {
			if m.train() {
				return errno
			}
			return 0
		}})
	}
	for _, e := range errnos {
		list = append(list, temper{
			name: "everything meets " + e.errno.Error(), drop: e.drop,
			takes:  func(string) bool { return false },
			refuse: func(m *wireMessage) unix.Errno { return e.errno },
		})
	}
	return list
}

// someBatch draws a batch of datagrams by peers and links. No two are equal.
func someBatch(t *rapid.T, room *room, number int) *batch {
	origins := rapid.SliceOfN(rapid.SampledFrom(append([]*peers.Peer{nil}, room.peers...)), 1, maxBatch).Draw(t, "origins")
	payloads := make([]string, len(origins))
	for i := range payloads {
		text := fmt.Sprintf("%d/%d", number, i)
		payloads[i] = text + strings.Repeat(".", rapid.SampledFrom([]int{6, 7, 30, 31, 100}).Draw(t, "size")-len(text))
	}
	return said(origins, payloads...)
}

// Whatever the kernel refuses, to whomever, in whatever order, each receiver
// gets all of what others said that its way takes, in order and once, and the
// rest is counted.
func TestAnySetOfRefusalsCostsOnlyThoseRefused(t *testing.T) {
	all := tempers()
	rapid.Check(t, func(t *rapid.T) {
		v6 := rapid.Bool().Draw(t, "v6")
		room := newRoom(v6, rapid.OneOf(rapid.IntRange(1, 6), rapid.Just(300)).Draw(t, "peers"))
		s, kernel := newFakeSender(t, v6)
		s.longest = rapid.SampledFrom([]int{1, 2, maxBatch}).Draw(t, "longest")
		kernel.short = func(n int) int { return rapid.IntRange(1, n).Draw(t, "messages a call takes") }
		treat := make(map[string]temper)
		for _, p := range room.peers[:min(6, len(room.peers))] {
			treat[p.Addr().String()] = rapid.SampledFrom(all).Draw(t, "temper")
			if rapid.Bool().Draw(t, "with source") {
				knownBy(s, p)
			}
		}
		interrupt := 0
		kernel.refuse = func(m *wireMessage) unix.Errno {
			if interrupt = (interrupt + 1) % 7; interrupt == 0 {
				return unix.EINTR
			}
			if how, ok := treat[m.to.String()]; ok {
				return how.refuse(m)
			}
			return 0
		}

		want := make(map[*peers.Peer][]string)
		var counts tally
		var delivered int
		dropped := make(map[Drop]int)
		batches := rapid.IntRange(1, 3).Draw(t, "batches")
		for n := range batches {
			b := someBatch(t, room, n)
			for _, p := range room.peers {
				how := treat[p.Addr().String()]
				for i, d := range b.datagrams {
					switch {
					case b.origins[i] == p:
					case how.takes == nil || how.takes(string(d.Payload)):
						want[p] = append(want[p], string(d.Payload))
						delivered++
					default:
						dropped[how.drop]++
					}
				}
			}
			if err := s.send(b, everyone(room.table.Receivers()), &counts); err != nil {
				t.Fatal(err)
			}
		}
		for _, p := range room.peers {
			kernel.checkGot(p, want[p], "peer whose way "+treat[p.Addr().String()].name)
		}
		checkCounts(t, &counts, delivered, dropped)
		if kernel.waits > batches {
			t.Fatalf("want at most one wait a batch, of %d; got %d", batches, kernel.waits)
		}
	})
}

// Plans hold every datagram but those of their origin.
func TestPlansLeaveOutTheOriginsOwn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		room := newRoom(false, rapid.IntRange(1, 70).Draw(t, "peers"))
		s, kernel := newFakeSender(t, false)
		want := make(map[*peers.Peer][]string)
		b := someBatch(t, room, 0)
		spoke := make(map[*peers.Peer]bool)
		for i, d := range b.datagrams {
			if b.origins[i] != nil {
				spoke[b.origins[i]] = true
			}
			for _, p := range room.peers {
				if b.origins[i] != p {
					want[p] = append(want[p], string(d.Payload))
				}
			}
		}
		got := slices.Collect(slices.Values(b.speakers))
		ordered := slices.SortedFunc(maps.Keys(spoke), byNumber)
		if !slices.Equal(got, ordered) {
			t.Fatalf("want speakers %v; got %v", ordered, got)
		}
		// Peers that join and leave change who receives, never who gets what.
		receivers := slices.DeleteFunc(slices.Clone(room.peers), func(*peers.Peer) bool { return rapid.Bool().Draw(t, "gone") })
		if err := s.send(b, everyone(receivers), new(tally)); err != nil {
			t.Fatal(err)
		}
		for _, p := range room.peers {
			if !slices.Contains(receivers, p) {
				want[p] = nil
			}
			kernel.checkGot(p, want[p], "plan")
		}
	})
}
