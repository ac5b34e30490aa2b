//go:build unix

package client

import (
	"context"
	"fmt"
	"math/rand"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"udprelay/internal/proof"
)

// A path is a relay that wants proofs, far away, on a path that keeps the order
// and loses datagrams. It runs on the clock of a bubble.
type path struct {
	delay   time.Duration
	there   chan timed
	back    chan timed
	closed  chan struct{}
	close   sync.Once
	running sync.WaitGroup

	mu      sync.Mutex
	random  *rand.Rand
	loss    float64
	jar     *proof.Jar
	in      bool
	relayed []string
	paid    time.Time
}

type timed struct {
	at   time.Time
	data []byte
}

func newPath(seed int64, delay time.Duration, loss float64) *path {
	p := &path{
		delay: delay, loss: loss, random: rand.New(rand.NewSource(seed)), jar: proof.NewJar([]byte("right")),
		there: make(chan timed, 1<<14), back: make(chan timed, 1<<14), closed: make(chan struct{}),
	}
	p.running.Go(p.relay)
	return p
}

func (p *path) relay() {
	for {
		select {
		case d := <-p.there:
			time.Sleep(time.Until(d.at))
			p.take(d.data)
		case <-p.closed:
			return
		}
	}
}

func (p *path) take(data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.in {
		if len(data) > 0 {
			p.relayed = append(p.relayed, string(data))
		}
		return
	}
	if p.jar.Check(data, relayAddr, true, now.UnixNano()) == proof.Proved {
		p.in = true
		return
	}
	if p.paid.Before(now) {
		p.paid = now
	}
	if answer, ok := p.jar.Answer(relayAddr, data, now.UnixNano()); ok && p.paid.Sub(now) < time.Second {
		p.paid = p.paid.Add(time.Second / 5)
		if p.random.Float64() >= p.loss {
			p.back <- timed{now.Add(p.delay), slices.Clone(answer)}
		}
	}
}

func (p *path) isIn() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.in
}

func (p *path) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.random.Float64() >= p.loss {
		p.there <- timed{time.Now().Add(p.delay), slices.Clone(data)}
	}
	return len(data), nil
}

func (p *path) Read(buf []byte) (int, error) {
	select {
	case d := <-p.back:
		time.Sleep(time.Until(d.at))
		return copy(buf, d.data), nil
	case <-p.closed:
		return 0, net.ErrClosed
	}
}

func (p *path) Close() error {
	p.close.Do(func() { close(p.closed) })
	return nil
}

// TestEachPayloadComesOnceAndNoTextOfAProofEver has a client send on paths of
// many kinds, to a relay that forgets it now and then.
func TestEachPayloadComesOnceAndNoTextOfAProofEver(t *testing.T) {
	for seed := range int64(300) {
		random := rand.New(rand.NewSource(seed))
		delay := time.Duration(random.Int63n(int64(300 * time.Millisecond)))
		loss := []float64{0, 0, 0.1, 0.3}[random.Intn(4)]
		pause := time.Millisecond + time.Duration(random.Int63n(int64(200*time.Millisecond)))
		t.Run(fmt.Sprintf("seed %d, delay %v, loss %v, pause %v", seed, delay, loss, pause), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPath(seed, delay, loss)
				c, err := start(context.Background(), p, relayAddr, Options{Secret: []byte("right")})
				if err != nil {
					t.Fatal(err)
				}
				var running sync.WaitGroup
				running.Go(func() {
					for buf := make([]byte, 100); c.ctx.Err() == nil; {
						_, _ = c.Receive(buf)
					}
				})
				sent := 0
				for round := range 3 {
					begin := time.Now()
					passed := func() time.Duration { return time.Since(begin) }
					for passed() < 40*time.Second || !p.isIn() && passed() < 10*time.Minute {
						sent++
						_ = c.Send(fmt.Appendf(nil, "payload number %d", sent))
						c.pause(pause)
					}
					if !p.isIn() {
						t.Errorf("round %d: want the client in by now, health %+v", round, c.Health())
					}
					p.mu.Lock()
					p.in, p.jar = false, proof.NewJar([]byte("right"))
					p.mu.Unlock()
				}
				c.Close()
				p.Close()
				running.Wait()
				p.running.Wait()
				last := 0
				for i, text := range p.relayed {
					n := 0
					if _, err := fmt.Sscanf(text, "payload number %d", &n); err != nil || strings.HasPrefix(text, "udprelay") {
						t.Errorf("want only payloads relayed, got %q", text)
					} else if n <= last {
						t.Errorf("want a number above %d, got %d", last, n)
					} else if loss == 0 && i == 0 && n != 1 && pause > 10*time.Millisecond {
						t.Errorf("want the first payload first, got %d", n)
					}
					last = max(n, last)
				}
			})
		})
	}
}
