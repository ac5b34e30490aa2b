package relay

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// sendTrain sends payloads, equally long but the last, as one train.
func (c *client) sendTrain(payloads []string) {
	c.t.Helper()
	control := appendSegmentSize(make([]byte, 0, segmentControl), len(payloads[0]))
	if _, _, err := c.conn.WriteMsgUDP([]byte(strings.Join(payloads, "")), control, nil); err != nil {
		c.t.Fatalf("send a train of %d datagrams: %v", len(payloads), err)
	}
}

// trainOf returns count payloads of size bytes, of which the last is shorter if
// short.
func trainOf(mark string, count, size int, short bool) (payloads []string) {
	for i := range count {
		text := fmt.Sprintf("%s %d ", mark, i)
		payloads = append(payloads, text+strings.Repeat("x", size-len(text)))
	}
	if short {
		payloads[count-1] = payloads[count-1][:size-1]
	}
	return payloads
}

// Senders may use trains as the relay does. Each datagram in them counts as if
// it had come alone.
func TestTrainsOfSendersAreRelayedDatagramByDatagram(t *testing.T) {
	for _, w := range []way{ways[0], ways[1], ways[3]} {
		for _, place := range []struct{ name, listen, host string }{
			{"IPv4", on4, "127.0.0.1"}, {"IPv6", on6, "::1"}, {"IPv4 dual-stack", onAll, "127.0.0.2"}, {"IPv6 dual-stack", onAll, "::1"},
		} {
			t.Run(w.name+"/"+place.name, func(t *testing.T) {
				r := makeRelay(t, w, place.listen, defaults())
				if !r.socket.(*linuxSocket).wholeTrains {
					t.Fatal("want UDP_GRO on the socket; the kernel has none")
				}
				to := at(r, place.host)
				speaker, other := newClient(t, to), newClient(t, to)
				var heard []*client
				for range 20 {
					heard = append(heard, newClient(t, to))
				}
				var want []string
				say := func(c *client, payloads ...string) {
					if len(payloads) == 1 {
						c.send(payloads[0])
					} else {
						c.sendTrain(payloads)
					}
					want = append(want, payloads...)
				}
				// All of it waits when the relay begins: batches end within trains.
				for _, c := range append(heard, speaker, other) {
					c.send("")
				}
				say(speaker, trainOf("short last", 40, 100, true)...)
				say(speaker, trainOf("equal", 60, 30, false)...)
				say(other, "alone")
				say(other, trainOf("two", 2, 1000, false)...)
				say(speaker, trainOf("as many as may be", 64, 30, false)...)
				say(other, trainOf("long ones", 40, 1400, true)...)
				say(speaker, "alone", "a")
				run(t, r)
				for _, c := range heard {
					c.wants(want...)
				}
				settle(t, r)
				s := r.Stats()
				if got := s.Received - s.KeepAlives; got != uint64(len(want)) {
					t.Errorf("want %d received but for keep-alives; got %s", len(want), show(s))
				}
				if p := r.Peers().Lookup(speaker.addr); p.Path.Counts.Received.Load() != 40+60+64+2+1 {
					t.Errorf("want 167 received of the speaker, and a keep-alive; got %d", p.Path.Counts.Received.Load())
				}
				wantsNothingBefore("the end", other, heard...)
				checkNoDrops(t, r)
			})
		}
	}
}

// What a train has brought is relayed also if the relay is stopped when half of
// it has been.
func TestStopLosesNothingOfATrain(t *testing.T) {
	r := makeRelay(t, ways[0], on4, defaults())
	sinks := newSinks(t, "127.0.0.1", 2)
	r.SetStatic(addrsOf(sinks))
	speaker := newClient(t, r.Addr())
	for range 4 {
		speaker.sendTrain(trainOf("train", 60, 50, false))
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.Attach(stopper{stop: cancel}) // with the first batch
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	s := r.Stats()
	if s.Received != 240 || s.Delivered != 480 {
		t.Errorf("want 240 received and 480 delivered; got %s", show(s))
	}
	checkNoDrops(t, r)
}

// A stopper is a link that calls stop with each batch.
type stopper struct{ stop func() }

func (stopper) Name() string         { return "stopper" }
func (s stopper) Deliver([]Datagram) { s.stop() }

// With Coalesce a batch that is not full waits once for more, and one that is
// full for nothing.
func TestCoalesceWaitsForMore(t *testing.T) {
	options := defaults()
	options.Coalesce = 200 * time.Microsecond
	r := makeRelay(t, ways[0], on4, options)
	sinks := newSinks(t, "127.0.0.1", 3)
	r.SetStatic(addrsOf(sinks))
	link := newRecorder("link")
	r.Attach(link)
	speaker := newClient(t, r.Addr())
	var slept []time.Duration
	more := []string(nil)
	r.socket.(*linuxSocket).ring.sleep = func(d time.Duration) {
		slept = append(slept, d)
		for _, text := range more {
			speaker.send(text)
		}
	}
	step := func() int {
		t.Helper()
		before := r.Stats().Received
		if err := r.step(); err != nil {
			t.Fatal(err)
		}
		return int(r.Stats().Received - before)
	}
	more = []string{"during 1", "during 2"}
	speaker.send("first")
	if got := step(); got != 3 || !slices.Equal(slept, []time.Duration{200 * time.Microsecond}) {
		t.Errorf("want a batch of 3 after one wait of 200µs; got %d, %v", got, slept)
	}
	slept = nil
	for i := range maxBatch {
		speaker.send(fmt.Sprint(i))
	}
	if got := step(); got != maxBatch || slept != nil {
		t.Errorf("want a full batch without a wait; got %d, %v", got, slept)
	}
	more = nil
	speaker.sendTrain(trainOf("train", maxBatch, 20, false))
	if got := step(); got != maxBatch || slept != nil {
		t.Errorf("want a full batch of one train without a wait; got %d, %v", got, slept)
	}
	more = make([]string, maxBatch)
	for i := range more {
		more[i] = fmt.Sprint("many ", i)
	}
	speaker.send("first")
	if got := step(); got != maxBatch {
		t.Errorf("want as many as fit; got %d", got)
	}
	more = nil
	if got := step(); got != 1 {
		t.Errorf("want the one that did not fit; got %d", got)
	}
	if s := r.Stats(); s.Delivered != 3*s.Received {
		t.Errorf("want all at three; got %s", show(s))
	}
	checkNoDrops(t, r)
}

// A long wait is one of slices, for the garbage collector waits as well, and a
// stop ends it.
func TestCoalesceWaitsInSlices(t *testing.T) {
	options := defaults()
	options.Coalesce = 1200 * time.Microsecond
	r := makeRelay(t, ways[0], on4, options)
	speaker := newClient(t, r.Addr())
	var slept []time.Duration
	ring := r.socket.(*linuxSocket).ring
	ring.sleep = func(d time.Duration) { slept = append(slept, d) }
	speaker.send("x")
	if err := r.step(); err != nil {
		t.Fatal(err)
	}
	if want := []time.Duration{lingerSlice, lingerSlice, 1200*time.Microsecond - 2*lingerSlice}; !slices.Equal(slept, want) {
		t.Errorf("want to wait for %v; got %v", want, slept)
	}
	slept = nil
	ring.sleep = func(d time.Duration) {
		slept = append(slept, d)
		r.socket.interrupt(time.Now().Add(patience))
	}
	speaker.send("x")
	if err := r.step(); err != nil {
		t.Fatal(err)
	}
	if len(slept) != 1 || r.Stats().Received != 2 {
		t.Errorf("want one wait that a stop ends, and both received; got %v and %s", slept, show(r.Stats()))
	}
}

// Receivers are told where a train came from.
func TestParseTellsTheDestinationOfATrain(t *testing.T) {
	r := makeRelay(t, ways[0], onAll, defaults())
	c := newClient(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.7"), r.Addr().Port()))
	c.sendTrain(trainOf("train", 3, 20, false))
	if err := r.step(); err != nil {
		t.Fatal(err)
	}
	if source := r.Peers().Lookup(c.addr).Path.Source.Load(); source == nil || source.Addr != netip.MustParseAddr("127.0.0.7") {
		t.Errorf("want the source 127.0.0.7; got %v", source)
	}
}
