package fairqueue

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// origin returns the address of an origin in a test. Some use any port.
func origin(n int) netip.AddrPort {
	if n%5 == 4 {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, byte(n >> 8), byte(n)}), 0)
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(n >> 8)}), 1024+uint16(n))
}

// numberOf returns which origin an address is of.
func numberOf(addr netip.AddrPort) int {
	if addr.Port() == 0 {
		bytes := addr.Addr().As4()
		return int(binary.BigEndian.Uint16(bytes[2:]))
	}
	return int(addr.Port()) - 1024
}

// portOf returns the port that the n-th datagram of an origin comes from.
func portOf(from, n int) uint16 {
	return cmp.Or(origin(from).Port(), 1024+uint16(n%60_000))
}

// A model pushes numbered datagrams and checks what comes out.
type model struct {
	t       rapid.TB
	queue   *Queue[int]
	pushed  map[int]int // by origin; also the number of its next datagram
	sent    map[int]int
	dropped map[int]int
	next    map[int]int // the lowest number that may come out
}

func newModel(t rapid.TB, bytes int) *model {
	m := &model{t: t, pushed: map[int]int{}, sent: map[int]int{}, dropped: map[int]int{}, next: map[int]int{}}
	m.queue = New(bytes, func(n, datagrams int) { m.dropped[n] += datagrams })
	return m
}

// scratch is what payloadOf returns a part of.
var scratch [1 << 16]byte

// payloadOf returns the n-th datagram of an origin, until the next call.
func payloadOf(from, n, size int) []byte {
	payload := scratch[:max(8, size)]
	binary.BigEndian.PutUint32(payload, uint32(from))
	binary.BigEndian.PutUint32(payload[4:], uint32(n))
	clear(payload[8:])
	for i := 8; i < len(payload); i += 61 {
		payload[i] = byte(from + n + i)
	}
	return payload
}

func (m *model) push(from, size int) {
	n := m.pushed[from]
	m.queue.Push(origin(from), portOf(from, n), from, payloadOf(from, n, size))
	m.pushed[from]++
}

// take removes the next datagram and returns its origin and size.
func (m *model) take() (from, size int) {
	addr, from, payload := m.queue.Next(nil)
	n := int(binary.BigEndian.Uint32(payload[4:]))
	if want := netip.AddrPortFrom(origin(from).Addr(), portOf(from, n)); addr != want || !slices.Equal(payload, payloadOf(from, n, len(payload))) {
		m.t.Fatalf("want datagram %d of origin %d unchanged, from %v; got %d bytes from %v", n, from, want, len(payload), addr)
	}
	if n < m.next[from] {
		m.t.Fatalf("want the datagrams of origin %d in order; got %d after %d", from, n, m.next[from]-1)
	}
	m.next[from] = n + 1
	m.sent[from]++
	return from, len(payload)
}

// check fails the test if a datagram is neither sent, dropped nor waiting, or if
// the queue has more than its memory.
func (m *model) check() {
	waiting := 0
	for from, n := range m.pushed {
		left := n - m.sent[from] - m.dropped[from]
		if left < 0 {
			m.t.Fatalf("origin %d: want each datagram once; got %d pushed, %d sent, %d dropped", from, n, m.sent[from], m.dropped[from])
		}
		waiting += left
	}
	q := m.queue
	if waiting != q.Len() {
		m.t.Fatalf("want %d datagrams to wait; got %d", waiting, q.Len())
	}
	cells, count := 0, 0
	for _, f := range q.flows {
		cells, count = cells+f.cells, count+f.count
		if f.size != 0 != (f.count > 0) {
			m.t.Fatalf("want flows with datagrams in the lists by size and no others; got %+v", f)
		}
	}
	if cells != q.used || count != q.count || q.used > len(q.cells)-1 {
		m.t.Fatalf("want %d cells of at most %d in use and %d datagrams; got %d and %d", cells, len(q.cells)-1, count, q.used, q.count)
	}
}

// sizes of datagrams, small ones more often.
func drawSize(t *rapid.T) int {
	return rapid.OneOf(rapid.IntRange(8, 1500), rapid.IntRange(8, 65507), rapid.SampledFrom([]int{512, 513, 1024, 65507})).Draw(t, "size")
}

func TestEachDatagramIsSentOrCountedAndInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t, 1)
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0, 1, 2, 3, 4:
				from := rapid.IntRange(0, 40).Draw(t, "origin")
				size := drawSize(t)
				for n := range rapid.IntRange(1, 300).Draw(t, "count") {
					m.push(from, max(8, size-n))
				}
			case 5, 6, 7, 8:
				for n := rapid.IntRange(1, 200).Draw(t, "sent"); n > 0 && m.queue.Len() > 0; n-- {
					m.take()
				}
			default:
				m.queue.Adjust(AdjustEvery, Outside{rapid.Float64Range(0, 1).Draw(t, "used"), rapid.Bool().Draw(t, "overflow")})
			}
			m.check()
		}
		for m.queue.Len() > 0 {
			m.take()
		}
		m.check()
	})
}

// The queue keeps all that it has room for, of every origin.
func TestABurstIsKept(t *testing.T) {
	const bytes = 4 << 20
	m := newModel(t, bytes)
	for range bytes / cellSize {
		m.push(1, 200)
	}
	for m.queue.Len() > 0 {
		m.take()
	}
	if m.dropped[1] != 0 || m.sent[1] != bytes/cellSize {
		t.Errorf("want a burst of %d datagrams kept; got %d sent, %d dropped", bytes/cellSize, m.sent[1], m.dropped[1])
	}
	m.check()
}

// maxMin returns the max-min fair shares of a capacity.
func maxMin(demands []float64, capacity float64) []float64 {
	shares := make([]float64, len(demands))
	order := make([]int, len(demands))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		if demands[a] < demands[b] {
			return -1
		}
		return 1
	})
	for i, n := range order {
		shares[n] = min(demands[n], capacity/float64(len(order)-i))
		capacity -= shares[n]
	}
	return shares
}

// However much each origin sends, each gets its max-min fair share of the cost
// that can be sent, and those below the fair share lose nothing.
func TestSharesAreMaxMinFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const rounds, warm = 200, 60
		m := newModel(t, 8<<20)
		origins := rapid.IntRange(2, 12).Draw(t, "origins")
		sizes, rates := make([]int, origins), make([]float64, origins) // in datagrams per round
		demands := make([]float64, origins)
		for i := range origins {
			sizes[i] = rapid.IntRange(8, 3000).Draw(t, "size")
			rates[i] = math.Exp(rapid.Float64Range(-2, 4).Draw(t, "log rate"))
			demands[i] = rates[i] * float64(datagramCost+sizes[i])
		}
		const capacity = 100_000.0 // cost per round
		sentCost := make([]float64, origins)
		credit, due := 0.0, make([]float64, origins)
		warmDrops := map[int]int{}
		for round := range rounds {
			for i := range origins {
				for due[i] += rates[i]; due[i] >= 1; due[i]-- {
					m.push(i, sizes[i])
				}
			}
			for credit += capacity; credit > 0 && m.queue.Len() > 0; {
				from, size := m.take()
				credit -= float64(datagramCost + size)
				if round >= warm {
					sentCost[from] += float64(datagramCost + size)
				}
			}
			credit = min(credit, 0)
			if round == warm {
				for i := range origins {
					warmDrops[i] = m.dropped[i]
				}
			}
		}
		m.check()
		want := maxMin(demands, capacity)
		for i := range origins {
			// Turns are no finer than a quantum, and the queue of one that has more
			// than its share fills up late.
			slack := 0.05*want[i]*rounds + 6*quantum
			if got, want := sentCost[i], want[i]*(rounds-warm); got < want-slack {
				t.Errorf("origin %d of %v: want a cost of at least %.0f sent; got %.0f", i, demands, want-slack, got)
			}
			if demands[i] < 0.5*capacity/float64(origins) && m.dropped[i] > 0 {
				t.Errorf("origin %d of %v, below its share: want nothing dropped; got %d", i, demands, m.dropped[i])
			}
		}
	})
}

// One that sends little waits for nobody, not even for a full turn of the others.
func TestASmallOriginIsServedFirst(t *testing.T) {
	m := newModel(t, 8<<20)
	const flooders = 30
	for n := range 400 * flooders {
		m.push(n%flooders, 200)
	}
	for range 100 * flooders { // each has had its first turn
		m.take()
	}
	m.push(1000, 200)
	for waited := 0; ; waited++ {
		if from, _ := m.take(); from == 1000 {
			if waited > 100 {
				t.Errorf("want it served before the turns of others go on; got %d others first", waited)
			}
			return
		}
	}
}

func TestNothingIsAllocatedInALastingOverload(t *testing.T) {
	q := New(4<<20, func(int, int) {})
	payload, into := make([]byte, 200), make([]byte, 0, 1<<20)
	round := func() {
		for i := range 500 {
			q.Push(origin(i%40), 1, i%40, payload)
		}
		for range 300 {
			_, _, into = q.Next(into[:0])
		}
		q.Adjust(AdjustEvery, Outside{})
	}
	for range 200 {
		round()
	}
	if allocs := testing.AllocsPerRun(100, round); allocs > 0 {
		t.Errorf("want no allocations; got %v", allocs)
	}
}

func BenchmarkPushAndNext(b *testing.B) {
	for _, origins := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("origins=%d", origins), func(b *testing.B) {
			q := New(16<<20, func(int, int) {})
			payload, into := make([]byte, 200), make([]byte, 0, 1<<16)
			for i := range 2000 {
				q.Push(origin(i%origins), 1, 0, payload)
			}
			for i := 0; b.Loop(); i++ {
				q.Push(origin(i%origins), 1, 0, payload)
				_, _, into = q.Next(into[:0])
			}
		})
	}
}
