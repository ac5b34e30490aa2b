package relay

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// noted returns a log of one batch that was relayed at the time at.
func noted(at int64, payloads ...string) *sentLog {
	l := newSentLog()
	noteIn(l, at, payloads...)
	return l
}

func noteIn(l *sentLog, at int64, payloads ...string) {
	b := newBatch()
	b.at = at
	b.datagrams = datagrams(payloads...)
	l.note(b)
}

// mark returns size bytes that no other number begins with.
func mark(n, size int) string {
	return fmt.Sprintf("%07d%s", n, strings.Repeat("x", max(size-7, 0)))[:size]
}

const (
	someTime = int64(12345 * time.Second)
	later    = someTime + int64(40*time.Millisecond)

	mostQuoted = 64 // as errorQuote, which Linux alone has
)

func TestSentDatagramIsFoundByWhatIsQuotedOfIt(t *testing.T) {
	for _, size := range []int{1, 2, 7, 31, 32, 33, 100, 1400, 65507} {
		payload := mark(77, size)
		l := noted(someTime, payload)
		for quoted := min(size, sentPrefix); quoted <= min(size, mostQuoted); quoted++ {
			if at, ok := l.when([]byte(payload[:quoted]), later); !ok || at != someTime {
				t.Errorf("want a datagram of %d bytes found by %d of them, as sent at %v; got %v, %t", size, quoted, time.Duration(someTime), time.Duration(at), ok)
			}
		}
	}
}

// A network that splits a train later quotes more than its first datagram.
func TestSentTrainIsFoundByWhatIsQuotedOfIt(t *testing.T) {
	for size := 1; size <= 2*sentPrefix; size++ {
		var payloads []string
		for n := range 40 {
			payloads = append(payloads, mark(1000000+n, size))
		}
		// Two that share a slot are as good as one.
		missed := ""
		for range 10 {
			l := noted(someTime, payloads...)
			if missed = missedOf(l, payloads); missed == "" {
				break
			}
		}
		if missed != "" {
			t.Errorf("want trains of %d bytes each found; got %s", size, missed)
		}
	}
}

// missedOf says which part of a train the log does not find, if there is any.
func missedOf(l *sentLog, payloads []string) string {
	for from := range payloads {
		together := strings.Join(payloads[from:], "")
		for quoted := min(len(payloads[0]), sentPrefix); quoted <= min(len(together), mostQuoted); quoted++ {
			if at, ok := l.when([]byte(together[:quoted]), later); !ok || at != someTime {
				return fmt.Sprintf("%v, %t for %d bytes from datagram %d on", time.Duration(at), ok, quoted, from)
			}
		}
	}
	return ""
}

func TestWhatWasNotSentIsNotFound(t *testing.T) {
	l := noted(someTime, mark(1, 200), mark(2, 40), "a short one")
	for _, quote := range []string{
		"", "x", "a", "a short on", "A short one", mark(3, 64), mark(3, 32), "\x00", strings.Repeat("\x00", 64),
		mark(1, 200)[:sentPrefix-1], // as little could be guessed
		mark(1, 200)[1:64], "x" + mark(1, 60),
	} {
		if at, ok := l.when([]byte(quote), later); ok {
			t.Errorf("want nothing found by %s; got a datagram of %v", short(quote), time.Duration(at))
		}
	}
	empty := newSentLog()
	for n := range 2000 {
		if _, ok := empty.when([]byte(mark(n, 64)), later); ok {
			t.Fatalf("want nothing found where nothing was sent; got %d", n)
		}
		if _, ok := l.when([]byte(mark(10+n, 64)), later); ok {
			t.Fatalf("want nothing found by what was not sent; got %d", n)
		}
	}
}

func TestSentDatagramIsFoundForTenSeconds(t *testing.T) {
	payload := mark(1, 200)
	for _, began := range []int64{0, 1, someTime, someTime + 999_999, 1<<32*1e6 - 5e9, 1<<32*1e6 - 1, 1 << 32 * 1e6, 3<<32*1e6 - 5e9} {
		l := noted(began, payload)
		for _, age := range []time.Duration{0, time.Microsecond, time.Millisecond, 3 * time.Second, 10*time.Second - time.Millisecond} {
			at, ok := l.when([]byte(payload), began+int64(age))
			if off := time.Duration(at - began).Abs(); !ok || off > time.Millisecond {
				t.Errorf("sent at %v: want it found %v later, to a millisecond; got %t, off by %v", time.Duration(began), age, ok, off)
			}
		}
		for _, age := range []time.Duration{10*time.Second + 2*time.Millisecond, 11 * time.Second, time.Hour, 1000 * time.Hour} {
			if _, ok := l.when([]byte(payload), began+int64(age)); ok {
				t.Errorf("sent at %v: want it forgotten %v later; it is found", time.Duration(began), age)
			}
		}
	}
}

// The last time counts, for what is heard of a peer since is compared with it.
func TestDatagramSentAgainIsFoundAsSentLast(t *testing.T) {
	payload := mark(1, 200)
	l := noted(someTime, payload)
	noteIn(l, later, payload)
	if at, ok := l.when([]byte(payload), later); !ok || at != later {
		t.Errorf("want it found as sent at %v; got %v, %t", time.Duration(later), time.Duration(at), ok)
	}
}

// Slots are shared, and what was sent later takes them.
func TestMuchSentLeavesTheLatestToBeFound(t *testing.T) {
	l := newSentLog()
	const count = 4 * sentSlots
	for n := range count {
		noteIn(l, someTime, mark(n, 64))
	}
	found := 0
	for n := count - sentSlots/16; n < count; n++ {
		if _, ok := l.when([]byte(mark(n, 64)), later); ok {
			found++
		}
	}
	if want := sentSlots / 16 * 9 / 10; found < want { // 1/16 of the slots was taken since, at most
		t.Errorf("want at least %d of the last %d datagrams found; got %d", want, sentSlots/16, found)
	}
}

func TestSentLogIsForAllGoroutines(t *testing.T) {
	l := newSentLog()
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for n := range 500 {
				at := someTime + int64(n)*1e6
				payload := mark(g*1000+n, 64)
				noteIn(l, at, payload)
				got, ok := l.when([]byte(payload), at+20e6)
				if ok && got != at {
					t.Errorf("want a time at which it was sent, %v; got %v", time.Duration(at), time.Duration(got))
				}
			}
		})
	}
	all.Wait()
}

func TestSentLogAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates: this is tested without it")
		return
	}
	b := newBatch()
	b.datagrams = datagrams("short", mark(1, 1400))
	l, quote, other := newSentLog(), []byte(mark(1, 64)), bytes.Repeat([]byte{'?'}, 64)
	if allocs := testing.AllocsPerRun(100, func() {
		l.note(b)
		l.when(quote, b.at)
		l.when(other, b.at)
	}); allocs != 0 {
		t.Errorf("want no allocations; got %v", allocs)
	}
}
