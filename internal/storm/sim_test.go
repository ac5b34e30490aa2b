package storm

import (
	"container/heap"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

const (
	microsecond = int64(time.Microsecond)
	millisecond = int64(time.Millisecond)
	second      = int64(time.Second)
)

// hashOf stands for a good hash of the payload with that number (splitmix64).
func hashOf(payload uint64) uint64 {
	x := payload*0x9e3779b97f4a7c15 + 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// newPeers returns peers with ascending numbers.
func newPeers(count int) []*peers.Peer {
	any, err := peers.ParseFrom("any")
	if err != nil {
		panic(err)
	}
	epoch := time.Unix(0, 0)
	table := peers.New(peers.Options{Expiry: time.Hour, Access: []peers.Rule{{From: "any", Cover: any, May: peers.MayBoth}}}, epoch)
	list := make([]*peers.Peer, count)
	for i := range list {
		var addr [4]byte
		binary.BigEndian.PutUint32(addr[:], uint32(10<<24+i+1))
		var verdict peers.Verdict
		if list[i], verdict = table.Heard(netip.AddrPortFrom(netip.AddrFrom4(addr), 9000), epoch); verdict.Refused() {
			panic(verdict)
		}
	}
	return list
}

// A sim is a network in its own time.
type sim struct {
	now    int64
	queue  agenda
	number int
	relays []*simRelay
}

func (s *sim) after(delay int64, do func()) {
	s.number++
	heap.Push(&s.queue, task{s.now + delay, s.number, do})
}

// run lets the time pass until the time given.
func (s *sim) run(until int64) {
	for len(s.queue) > 0 && s.queue[0].at <= until {
		next := heap.Pop(&s.queue).(task)
		s.now = next.at
		next.do()
	}
	s.now = until
}

type task struct {
	at     int64
	number int
	do     func()
}

type agenda []task

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].number < a[j].number
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(task)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// A simRelay takes its time for each datagram and lets few wait, as sockets do.
type simRelay struct {
	sim     *sim
	watch   *Watch // nil: it looks for no loops
	cost    int64  // of a datagram
	waiting []arrival
	space   int // for what waits
	working bool

	peers []*peers.Peer // all, of whom the neighbours come first
	ways  []func(payloads []uint64)

	received, overflowed int
	dropped              map[*peers.Peer]int
	passed               map[uint64]int // how often each payload passed
	unique               bool           // payloads are: keep passed
	loops                int            // datagrams that passed for the fourth time or more
	lastLoop             int64          // when the last of these did
	events               []timedEvent
}

type timedEvent struct {
	at int64
	Event
}

type arrival struct {
	payload uint64
	from    *peers.Peer
}

func (s *sim) newRelay(watch bool, peerCount int) *simRelay {
	r := &simRelay{
		sim: s, cost: 5 * microsecond, space: 4096, peers: newPeers(peerCount),
		dropped: map[*peers.Peer]int{}, passed: map[uint64]int{}, lastLoop: -1,
	}
	if watch {
		r.watch = newWatch(hashOf(uint64(len(s.relays))))
		var tick func()
		tick = func() {
			r.note(r.watch.Tick(s.now))
			s.after(second, tick)
		}
		s.after(second, tick)
	}
	s.relays = append(s.relays, r)
	return r
}

// connect makes the next peer of the relay one that is sent to that way.
func (r *simRelay) connect(way func(payloads []uint64)) *peers.Peer {
	r.ways = append(r.ways, way)
	return r.peers[len(r.ways)-1]
}

// link makes two relays peers of each other; cut returned ends that.
func link(a, b *simRelay, delay int64) (mend func()) {
	up := true
	var atA, atB *peers.Peer
	s := a.sim
	atA = a.connect(func(payloads []uint64) {
		if up {
			s.after(delay, func() { b.arrive(atB, payloads...) })
		}
	})
	atB = b.connect(func(payloads []uint64) {
		if up {
			s.after(delay, func() { a.arrive(atA, payloads...) })
		}
	})
	return func() { up = false }
}

// linkOneWay lets a send to b, which never sends to a.
func linkOneWay(a, b *simRelay, delay int64) {
	from := b.connect(func([]uint64) {})
	a.connect(func(payloads []uint64) {
		a.sim.after(delay, func() { b.arrive(from, payloads...) })
	})
}

// echo makes a peer that sends back all it gets.
func (r *simRelay) echo(roundTrip int64) *peers.Peer {
	var p *peers.Peer
	p = r.connect(func(payloads []uint64) {
		r.sim.after(roundTrip, func() { r.arrive(p, payloads...) })
	})
	return p
}

// sends lets the peer send each payload that next returns, every so often,
// from a time to another.
func (r *simRelay) sends(p *peers.Peer, every, from, to int64, next func() uint64) {
	var send func()
	send = func() {
		if r.sim.now < to {
			r.arrive(p, next())
			r.sim.after(every, send)
		}
	}
	r.sim.after(from-r.sim.now, send)
}

func (r *simRelay) arrive(from *peers.Peer, payloads ...uint64) {
	for _, payload := range payloads {
		if len(r.waiting) == r.space {
			r.overflowed++
			continue
		}
		r.waiting = append(r.waiting, arrival{payload, from})
	}
	if !r.working && len(r.waiting) > 0 {
		r.working = true
		r.step()
	}
}

// step relays a batch.
func (r *simRelay) step() {
	n := min(len(r.waiting), 64)
	out := make([][]uint64, len(r.ways))
	var held []*peers.Peer
	if r.watch != nil {
		r.watch.Begin(r.sim.now)
		held = r.watch.Held()
	}
	for _, d := range r.waiting[:n] {
		r.received++
		if r.watch != nil && r.watch.Note(hashOf(d.payload), d.from) {
			r.dropped[d.from]++
			continue
		}
		if r.unique {
			r.passed[d.payload]++
			if r.passed[d.payload] > 3 {
				r.loops++
				r.lastLoop = r.sim.now
			}
		}
		for i := range r.ways {
			if p := r.peers[i]; p != d.from && !contains(held, p) {
				out[i] = append(out[i], d.payload)
			}
		}
	}
	if r.watch != nil {
		r.note(r.watch.End())
	}
	r.waiting = append(r.waiting[:0], r.waiting[n:]...)
	r.sim.after(int64(n)*r.cost, func() {
		for i, payloads := range out {
			if len(payloads) > 0 {
				r.ways[i](payloads)
			}
		}
		r.working = false
		r.arrive(nil)
	})
}

func contains(list []*peers.Peer, p *peers.Peer) bool {
	for _, other := range list {
		if other == p {
			return true
		}
	}
	return false
}

func (r *simRelay) note(events []Event) {
	for _, e := range events {
		r.events = append(r.events, timedEvent{r.sim.now, e})
	}
}

// kinds returns the kinds of the events for p, in order.
func (r *simRelay) kinds(p *peers.Peer) (kinds []Kind) {
	for _, e := range r.events {
		if e.Number == p.Number() {
			kinds = append(kinds, e.Kind)
		}
	}
	return kinds
}

func (r *simRelay) log(t *testing.T) {
	t.Helper()
	for i, e := range r.events {
		if i == 12 {
			t.Logf("... and %d events more", len(r.events)-i)
			break
		}
		t.Logf("%v: %v %v, %d repeats/s, %d dropped in %v", time.Duration(e.at), e.Kind, e.Addr, e.Repeats, e.Dropped, e.For)
	}
}

// wantUntouched checks that nothing was done about anybody.
func (r *simRelay) wantUntouched(t *testing.T) {
	t.Helper()
	if len(r.events) > 0 || len(r.dropped) > 0 || r.watch.Held() != nil {
		r.log(t)
		t.Errorf("want nobody touched, got %d events, drops %v, held %v", len(r.events), r.dropped, r.watch.Held())
	}
}

// numbers returns a function that returns a new payload each time.
func numbers() func() uint64 {
	n := uint64(0)
	return func() uint64 { n++; return n }
}

func always(payload uint64) func() uint64 { return func() uint64 { return payload } }
