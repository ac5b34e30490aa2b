package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"

	"udprelay/relay"
)

// A gate is a writer that waits while it is shut, and keeps what is written.
type gate struct {
	mu      sync.Mutex
	open    sync.Cond
	shut    bool
	waiting bool
	data    bytes.Buffer
}

func newGate() *gate {
	g := new(gate)
	g.open.L = &g.mu
	return g
}

func (g *gate) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.shut {
		g.waiting = true
		g.open.Wait()
	}
	g.waiting = false
	return g.data.Write(p)
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = shut
	g.open.Broadcast()
}

func (g *gate) look() (size int, waiting bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.data.Len(), g.waiting
}

func (g *gate) bytes() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return bytes.Clone(g.data.Bytes())
}

// startStream streams r to w until the function that it returns is called.
func startStream(t *testing.T, r *Recorder, w io.Writer) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Stream(ctx, w) }()
	ended := false
	stop = func() error {
		cancel()
		if ended {
			return nil
		}
		ended = true
		return <-done
	}
	t.Cleanup(func() { _ = stop() })
	return stop
}

func TestAFullQueueDropsAndSaysHowMany(t *testing.T) {
	r := newRecorder(t, Options{To: relay4, Queue: leastQueue})
	g := newGate()
	stop := startStream(t, r, g)
	await(t, "the header", func() bool { size, _ := g.look(); return size > 0 })

	g.set(true)
	r.Deliver(from(origin4, "first"))
	await(t, "a write that hangs", func() bool { _, waiting := g.look(); return waiting })
	large := from(origin4, strings.Repeat("x", 10_000))[0]
	var passed uint64 = 1
	for range 50 {
		r.Deliver([]relay.Datagram{large})
		passed++
	}
	during := r.Stats()
	if during.Dropped == 0 || during.Passed != passed {
		t.Fatalf("want drops among %d, got %+v", passed, during)
	}
	g.set(false)
	// It is said without another packet, as soon as there is room again.
	await(t, "all that fitted", func() bool { return r.Stats().Recorded == passed-during.Dropped })
	await(t, "statistics", func() bool { return lastBlock(t, g.bytes()) == statistics })
	r.Deliver(from(origin4, "after"))
	passed++
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got, want := r.Stats(), (Stats{passed, passed - during.Dropped, during.Dropped}); got != want {
		t.Errorf("want %+v, got %+v", want, got)
	}
	missing := strconv.FormatUint(during.Dropped, 10)
	file := save(t, g.bytes())
	comments := tshark(t, file, "-Y", "frame.comment", "-T", "fields", "-e", "frame.comment", "-e", "frame.packet_id", "-e", "data.text", "-e", "udp.length")
	if len(comments) != 1 || !strings.HasPrefix(comments[0], "udprelay: "+missing+" datagrams before this one are missing") || !strings.HasSuffix(comments[0], "\t13") {
		t.Errorf("want one comment, at the packet after the gap, that %s are missing, got %q", missing, comments)
	}
	var out bytes.Buffer
	saved, err := Save(context.Background(), bytes.NewReader(g.bytes()), ToWriter(&out), 0)
	if err != nil || saved.Datagrams != passed-during.Dropped || saved.Missing != during.Dropped {
		t.Errorf("want %d datagrams and %s missing, got %+v, %v", passed-during.Dropped, missing, saved, err)
	}
	if !bytes.Equal(out.Bytes(), g.bytes()) {
		t.Error("want a recording that is complete saved as it is")
	}
}

// lastBlock returns the type of the last block in data.
func lastBlock(t *testing.T, data []byte) (last uint32) {
	t.Helper()
	r := blocksOf(data)
	for {
		kind, err := r.next(func(uint32) bool { return true })
		if err == io.EOF {
			return last
		}
		if err != nil {
			t.Fatal(err)
		}
		last = kind
	}
}

// TestRecordedAndDroppedArePassed has the queue overflow all the time, from two
// sides at once.
func TestRecordedAndDroppedArePassed(t *testing.T) {
	r := newRecorder(t, Options{To: relay4, Queue: leastQueue})
	var out bytes.Buffer
	stop := startStream(t, r, &out)
	batch := from(origin4, numbered(64)...)
	big := strings.Repeat("x", 60_000)
	var handed uint64
	for r.Stats().Dropped < 1000 || r.Stats().Recorded < 1000 {
		r.Deliver(batch)
		r.Deliver(from(origin6, big, big, big))
		handed += 67
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	stats := r.Stats()
	if stats.Passed != handed || stats.Recorded+stats.Dropped != stats.Passed {
		t.Errorf("want recorded + dropped = %d passed, got %+v", handed, stats)
	}
	saved, err := Save(context.Background(), &out, ToWriter(io.Discard), 0)
	if err != nil || saved.Datagrams != stats.Recorded || saved.Missing != stats.Dropped {
		t.Errorf("want the file to say so too, got %+v, %v", saved, err)
	}
}

type failing struct{ after int }

var errFull = errors.New("no space left")

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestAWriterThatFailsEndsTheStream(t *testing.T) {
	for _, after := range []int{0, 1} {
		r := newRecorder(t, Options{To: relay4})
		r.Deliver(from(origin4, "1", "2", "3"))
		if err := r.Stream(context.Background(), &failing{after}); !errors.Is(err, errFull) {
			t.Errorf("want %v, got %v", errFull, err)
		}
		if got, want := r.Stats(), (Stats{Passed: 3, Dropped: 3}); got != want {
			t.Errorf("after %d writes: want %+v, got %+v", after, want, got)
		}
		r.Deliver(from(origin4, "4")) // nobody takes it
		if got := r.Stats().Passed; got != 3 {
			t.Errorf("want nothing taken after the end, got %d", got)
		}
	}
}

func BenchmarkDeliver(b *testing.B) {
	r := newRecorder(b, Options{To: relay4})
	batch := from(origin4, numbered(64)...)
	var e entry
	buf := make([]byte, maxPacket)
	for b.Loop() {
		r.Deliver(batch)
		b.StopTimer()
		for r.queue.take(&e, buf) {
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/datagram")
}
