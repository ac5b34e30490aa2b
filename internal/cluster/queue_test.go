//go:build !nocluster

package cluster

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"udprelay/relay"
)

// drain takes all messages and returns what is in them.
func drain(t testing.TB, q *queue) (got []string) {
	t.Helper()
	for m := q.take(); m != nil; m = q.take() {
		list, err := decode(nil, bytes.Clone(m.buf[headerBytes:]), m.count)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			got = append(got, string(d.Payload))
		}
		q.release(m)
	}
	return got
}

// Whatever is put and taken in whatever order: what had room comes out once and
// in order, and memory is bounded.
func TestQueueGivesBackInOrderWhatHadRoom(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		q := newQueue(leastQueue)
		var want, got []string
		number := 0
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			if rapid.Bool().Draw(rt, "take") {
				if m := q.take(); m != nil {
					list, err := decode(nil, bytes.Clone(m.buf[headerBytes:]), m.count)
					if err != nil {
						rt.Fatal(err)
					}
					for _, d := range list {
						got = append(got, string(d.Payload))
					}
					q.release(m)
				}
				continue
			}
			size := rapid.IntRange(0, 40000).Draw(rt, "size")
			text := fmt.Sprint(number, " ", strings.Repeat("x", size))
			number++
			if _, noRoom := q.put([]relay.Datagram{said(text)}); noRoom == 0 {
				want = append(want, text)
			}
			if q.made > q.most {
				rt.Fatalf("want at most %d messages; got %d", q.most, q.made)
			}
		}
		if got = append(got, drain(t, q)...); !slices.Equal(got, want) {
			rt.Fatalf("want %d datagrams, %.100q; got %d, %.100q", len(want), want, len(got), got)
		}
	})
}

func TestQueueCountsWhatHasNoRoom(t *testing.T) {
	q := newQueue(leastQueue)
	tooLong := said(strings.Repeat("x", maxPayload+1))
	batch := []relay.Datagram{said("first"), tooLong, said(""), said("second")}
	if tooBig, noRoom := q.put(batch); tooBig != 1 || noRoom != 0 {
		t.Errorf("want 1 too big, none without room; got %d, %d", tooBig, noRoom)
	}
	full := 0
	long := said(strings.Repeat("y", 30000))
	for full == 0 {
		_, full = q.put([]relay.Datagram{long})
	}
	if _, again := q.put([]relay.Datagram{long, long}); again != 2 {
		t.Errorf("want 2 without room; got %d", again)
	}
	if got := drain(t, q); got[0] != "first" || got[1] != "second" {
		t.Errorf("want first and second; got %.20q", got)
	}
	if _, noRoom := q.put([]relay.Datagram{long}); noRoom != 0 {
		t.Error("want room when all was taken")
	}
}

// The relay waits for Deliver.
func TestDeliverAllocatesNothing(t *testing.T) {
	q := newQueue(leastQueue)
	var batch []relay.Datagram
	for i := range 64 {
		batch = append(batch, relay.Datagram{From: origins[i%len(origins)], Payload: bytes.Repeat([]byte("x"), 200)})
	}
	c := &Cluster{queue: q}
	round := func() {
		for range 12 {
			c.Deliver(batch)
		}
		for m := q.take(); m != nil; m = q.take() {
			q.release(m)
		}
	}
	for range 10 {
		round()
	}
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("want no allocations; got %v", n)
	}
}
