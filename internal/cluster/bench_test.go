//go:build !nocluster

package cluster

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"udprelay/relay"
)

// BenchmarkLink brings datagrams of 200 bytes in at one node and counts them at
// another, over a TCP connection on the loopback interface. Both are in this
// process, and share its processors. No more are on the way than the buffers
// hold, so that it is known what the link carries without loss; lost/op has what
// was dropped all the same.
func BenchmarkLink(b *testing.B) {
	for _, secret := range []string{"", "secret"} {
		b.Run(fmt.Sprintf("sealed=%t", secret != ""), func(b *testing.B) {
			list := startNodes(b, 2, Options{Secret: []byte(secret)})
			list[0].tap.keep, list[1].tap.keep = false, false
			batch := make([]relay.Datagram, 64)
			for i := range batch {
				batch[i] = relay.Datagram{From: origins[1+i/16%2], Payload: bytes.Repeat([]byte("x"), 200)}
			}
			lost := func() int {
				dropped := &list[0].counters.dropped
				return int(dropped[DropQueueFull].Load() + dropped[DropPublishFailed].Load() + list[1].counters.dropped[DropLost].Load())
			}
			const window = 16 << 10
			b.SetBytes(200)
			b.ResetTimer()
			brought := 0
			for brought < b.N {
				for brought-list[1].tap.counted()-lost() > window {
					runtime.Gosched()
				}
				n := min(len(batch), b.N-brought)
				list[0].tap.bring(b, batch[:n]...)
				brought += n
			}
			await(b, "all come or are known to be lost", func() bool { return list[1].tap.counted()+lost() >= brought })
			b.StopTimer()
			if got := list[1].tap.counted() + lost(); got != brought {
				b.Errorf("want %d datagrams accounted for; got %d", brought, got)
			}
			b.ReportMetric(float64(list[1].tap.counted())/b.Elapsed().Seconds(), "datagrams/s")
			b.ReportMetric(float64(lost())/float64(b.N), "lost/op")
			s := list[0].Stats()
			b.ReportMetric(float64(s.PublishedDatagrams)/float64(s.PublishedMessages), "datagrams/message")
		})
	}
}

// BenchmarkHop is the time of one datagram from one node to another.
func BenchmarkHop(b *testing.B) {
	list := startNodes(b, 2, Options{Secret: []byte("secret")})
	came := make(chan struct{}, 1)
	a := list[1].relay.Attach(signal(came))
	b.Cleanup(a.Detach)
	d := said("there")
	b.ResetTimer()
	for range b.N {
		list[0].tap.bring(b, d)
		<-came
	}
}

// A signal is a link that tells of each batch.
type signal chan struct{}

func (signal) Name() string               { return "signal" }
func (s signal) Deliver([]relay.Datagram) { s <- struct{}{} }

// BenchmarkDeliver is what a batch of 64 datagrams of 200 bytes costs the
// relay.
func BenchmarkDeliver(b *testing.B) {
	c := &Cluster{queue: newQueue(DefaultQueue)}
	batch := make([]relay.Datagram, 64)
	for i := range batch {
		batch[i] = relay.Datagram{From: origins[1], Payload: bytes.Repeat([]byte("x"), 200)}
	}
	b.ReportAllocs()
	for range b.N {
		c.Deliver(batch)
		if c.queue.waiting > 1 {
			c.queue.release(c.queue.take())
		}
	}
}

// BenchmarkStart is the time that Start and Close take.
func BenchmarkStart(b *testing.B) {
	r := startRelay(b)
	var closing time.Duration
	var memory runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&memory)
	before, held := memory.HeapAlloc, uint64(0)
	for i := range b.N {
		c, err := Start(context.Background(), r, Options{Room: "test", Secret: []byte("secret")})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if i == 0 {
			runtime.GC()
			runtime.ReadMemStats(&memory)
			held = memory.HeapAlloc - min(before, memory.HeapAlloc)
			b.Logf("goroutines %d", runtime.NumGoroutine())
		}
		began := time.Now()
		c.Close()
		closing += time.Since(began)
		b.StartTimer()
	}
	b.ReportMetric(float64(closing.Milliseconds())/float64(b.N), "ms/close")
	b.ReportMetric(float64(held)/1024, "KiB-held")
}
