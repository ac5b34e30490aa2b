package storm

import (
	"container/heap"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

const (
	microsecond = int64(time.Microsecond)
	millisecond = int64(time.Millisecond)
	second      = int64(time.Second)

	constant = 1 << 60 // a payload that is sent again and again: a simRelay does not take it for a loop
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
	random *rand.Rand
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
	seed    uint64
	watch   *Watch // nil: it looks for no loops
	cost    int64  // of a datagram
	waiting []arrival
	space   int // for what waits
	working bool

	peers []*peers.Peer // all; those that are connected come first
	ways  []func(payloads []uint64)
	links []func(payloads []uint64)

	received, overflowed int
	returned, withheld   map[*peers.Peer]int // datagrams dropped, by origin
	receivers            []receiver          // of the connected peers
	passed               map[uint64]int      // how often each payload passed
	unique               bool                // payloads are: keep passed
	loops                int                 // datagrams that passed for the fourth time or more
	lastLoop             int64               // when the last of these did
	events               []timedEvent
}

// A receiver is what a connected peer misses because of the watch.
type receiver struct {
	due, lost int
	last      int64 // when something was last due
	silent    int64 // for how long nothing came though something was due; longer pauses of all senders count as 20 ms
	silence   int64 // the longest such time
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
		returned: map[*peers.Peer]int{}, withheld: map[*peers.Peer]int{}, passed: map[uint64]int{}, lastLoop: -1,
	}
	if watch {
		r.seed = hashOf(hashOf(uint64(len(s.relays))))
		r.watch = newWatch(r.seed)
		var tick func()
		tick = func() {
			r.note(r.watch.Tick(s.now))
			if r.watch.AsksEmptied() && !r.working {
				r.watch.Begin(s.now, true)
				r.note(r.watch.End())
			}
			s.after(250*millisecond, tick)
		}
		s.after(250*millisecond, tick)
	}
	s.relays = append(s.relays, r)
	return r
}

// connect makes the next peer of the relay one that is sent to that way.
func (r *simRelay) connect(way func(payloads []uint64)) *peers.Peer {
	r.ways = append(r.ways, way)
	r.receivers = append(r.receivers, receiver{last: r.sim.now})
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

// jitter returns an interval that is a quarter shorter or longer at most.
func (s *sim) jitter(every int64) int64 {
	if s.random == nil {
		s.random = rand.New(rand.NewPCG(1, 2))
	}
	return every*3/4 + s.random.Int64N(every/2+1)
}

// sends lets the peer send each payload that next returns, every so often,
// from a time to another.
func (r *simRelay) sends(p *peers.Peer, every, from, to int64, next func() uint64) {
	var send func()
	send = func() {
		if r.sim.now < to {
			r.arrive(p, next())
			r.sim.after(r.sim.jitter(every), send)
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
	links := make([]uint64, 0, n)
	if r.watch != nil {
		r.watch.Begin(r.sim.now, n < 64)
	}
	for _, d := range r.waiting[:n] {
		r.received++
		verdict := Pass
		if r.watch != nil {
			verdict = r.watch.Note(hashOf(d.payload^r.seed), d.from)
		}
		for i := range r.ways {
			if p := r.peers[i]; p != d.from {
				to := &r.receivers[i]
				to.due++
				if verdict == Pass {
					out[i] = append(out[i], d.payload)
					to.silent = 0
				} else {
					to.lost++
					to.silent += min(r.sim.now-to.last, 20*millisecond)
					to.silence = max(to.silence, to.silent)
				}
				to.last = r.sim.now
			}
		}
		switch verdict {
		case Returned:
			r.returned[d.from]++
			continue
		case Withheld:
			r.withheld[d.from]++
			continue
		}
		if d.from != nil {
			links = append(links, d.payload)
		}
		if r.unique {
			r.passed[d.payload]++
			if r.passed[d.payload] > 3 && d.payload != constant {
				r.loops++
				r.lastLoop = r.sim.now
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
		for _, link := range r.links {
			link(links)
		}
		r.working = false
		r.arrive(nil)
	})
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
		if i == 24 {
			t.Logf("... and %d events more", len(r.events)-i)
			break
		}
		t.Logf("%v: %v %v, %d/s, %d dropped in %v", time.Duration(e.at), e.Kind, e.Addr, e.Rate, e.Dropped, e.For)
	}
}

func always(payload uint64) func() uint64 { return func() uint64 { return payload } }
