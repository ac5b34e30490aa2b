package relay

import (
	"bytes"
	"context"
	"fmt"
	"testing"
)

// BenchmarkDrain has datagrams wait in the receive queue, and measures how long
// they take to leave: while they do, no load generator takes a core. An
// operation is a datagram in.
func BenchmarkDrain(b *testing.B) {
	const receivers = 100
	for _, with := range []struct {
		name  string
		sizes []int
	}{{"200", []int{200}}, {"mixed", []int{40, 400, 80, 300, 150}}} {
		for _, senders := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("size=%s/senders=%d", with.name, senders), func(b *testing.B) {
				sinks := newSinks(b, "127.0.0.1", receivers)
				payload := bytes.Repeat([]byte{'x'}, 400)
				left := b.N
				b.ResetTimer()
				b.StopTimer()
				for left > 0 {
					options := defaults()
					options.Senders = senders
					r := makeRelay(b, ways[0], on4, options)
					r.SetStatic(addrsOf(sinks))
					speaker := newClient(b, r.Addr())
					count := min(left, 4000) // there is room for so many
					for i := range count {
						speaker.conn.Write(payload[:with.sizes[i%len(with.sizes)]])
					}
					ctx, cancel := context.WithCancel(b.Context())
					r.Attach(&countdown{left: count, done: cancel})
					b.StartTimer()
					if err := r.Run(ctx); err != nil {
						b.Fatal(err)
					}
					b.StopTimer()
					if s := r.Stats(); s.Delivered != uint64(count*receivers) {
						b.Fatalf("want %d delivered; got %s", count*receivers, show(s))
					}
					left -= count
				}
				delivered := float64(b.N) * receivers
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/delivered, "ns/delivered")
				b.ReportMetric(delivered/b.Elapsed().Seconds(), "delivered/s")
			})
		}
	}
}

// A countdown is a link that calls done when so many datagrams have passed.
type countdown struct {
	left int
	done func()
}

func (*countdown) Name() string { return "countdown" }

func (c *countdown) Deliver(batch []Datagram) {
	if c.left -= len(batch); c.left <= 0 {
		c.done()
	}
}
