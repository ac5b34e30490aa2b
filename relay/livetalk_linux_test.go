package relay

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A talk among live peers, who all speak in turn and hear all others.
type liveTalk struct {
	t       testing.TB
	clients []*client
	sent    atomic.Int64 // datagrams by all
	each    atomic.Int64 // by each, when it is over
	over    chan struct{}
	all     sync.WaitGroup
	foreign atomic.Int64   // datagrams of others that they got
	heard   []atomic.Int64 // rounds that each has heard whole
}

// talkWindow is how many rounds the slowest hearer may be behind: a relay on a slow
// machine is not given more than it relays.
const talkWindow = 32

// slowest returns how many rounds all have heard.
func (l *liveTalk) slowest() int64 {
	least := int64(math.MaxInt64)
	for i := range l.heard {
		least = min(least, l.heard[i].Load())
	}
	return least
}

// startTalk has each client say something in each interval until end is
// called.
func startTalk(t testing.TB, interval time.Duration, clients ...*client) *liveTalk {
	l := &liveTalk{t: t, clients: clients, over: make(chan struct{}), heard: make([]atomic.Int64, len(clients))}
	l.each.Store(-1)
	for i := range clients {
		l.all.Go(func() { l.hear(i) })
	}
	l.all.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for n := int64(0); ; {
			select {
			case <-l.over:
				l.each.Store(n)
				return
			case <-ticker.C:
			}
			if n-l.slowest() >= talkWindow {
				continue
			}
			l.sent.Add(int64(len(clients))) // before, so that no more have arrived than were sent
			for i, c := range clients {
				if _, err := c.conn.Write(fmt.Appendf(nil, "live %d %d", i, n)); err != nil {
					t.Errorf("live peer %d: %v", i, err)
				}
			}
			n++
		}
	})
	return l
}

// hear fails the test unless client i gets all that the others say, in order.
func (l *liveTalk) hear(i int) {
	c, next := l.clients[i], make([]int64, len(l.clients))
	buffer := make([]byte, maxDatagram)
	complete := func() bool {
		each := l.each.Load()
		for k, n := range next {
			if k != i && n != each {
				return false
			}
		}
		return true
	}
	for waited := time.Now(); !complete(); {
		c.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := c.conn.Read(buffer)
		if err != nil {
			if time.Since(waited) > patience {
				l.t.Errorf("want all that the %d live peers say, %d each, at live peer %d; got %d, and then %v", len(l.clients), l.each.Load(), i, next, err)
				return
			}
			continue
		}
		waited = time.Now()
		var from int
		var number int64
		if _, err := fmt.Sscanf(string(buffer[:n]), "live %d %d", &from, &number); err != nil {
			l.foreign.Add(1)
			continue
		}
		if from == i || number != next[from] {
			l.t.Errorf("want datagram %d of live peer %d at live peer %d; got %d", next[from], from, i, number)
			if number < next[from] {
				return
			}
		}
		next[from] = number + 1
		whole := int64(math.MaxInt64)
		for k, n := range next {
			if k != i {
				whole = min(whole, n)
			}
		}
		l.heard[i].Store(whole)
	}
}

// end ends the talk when all is heard.
func (l *liveTalk) end() {
	close(l.over)
	l.all.Wait()
}

// heapInUse returns how many bytes are in use for good.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
