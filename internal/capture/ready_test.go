package capture

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// slowToReady is a sender that takes a second until it may be sent something.
type slowToReady struct {
	*memory
	fail error
}

func (s slowToReady) Ready(ctx context.Context) error {
	select {
	case <-time.After(time.Second):
		return s.fail
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Nothing is sent before a sender is ready, and the pauses of the recording are
// what they were, however many senders there are to wait for.
func TestPlayingWaitsForItsSenders(t *testing.T) {
	r := newRecorder(t, Options{To: relay4})
	for i, port := range []uint16{1, 2, 1, 2} {
		origin := netip.AddrPortFrom(origin4.Addr(), port)
		r.queue.add(&entry{payload: 1, stored: 1, from: origin, at: int64(i) * int64(time.Minute)}, []byte("x"))
	}
	r.queue.publish()
	data := drained(t, r)
	for _, perSource := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var all []*memory
			p := playerOf(data, nil)
			p.Speed, p.PerSource = 1, perSource
			p.Dial = func(context.Context) (Sender, error) {
				all = append(all, newMemory())
				return slowToReady{memory: all[len(all)-1]}, nil
			}
			start := time.Now()
			if got, err := p.Play(t.Context()); err != nil || got.Sent != 4 {
				t.Fatalf("want 4 sent, got %+v, %v", got, err)
			}
			var got []time.Duration
			for _, m := range all {
				for _, at := range m.at {
					got = append(got, at.Sub(start))
				}
			}
			slices.Sort(got)
			second := time.Second
			want := []time.Duration{second, 61 * second, 121 * second, 181 * second}
			if perSource {
				want = []time.Duration{second, 62 * second, 122 * second, 182 * second}
			}
			if !slices.Equal(got, want) {
				t.Errorf("a sender for each source: %v: want %v, got %v", perSource, want, got)
			}
		})
	}
}

func TestASenderThatDoesNotGetReadyEndsThePlaying(t *testing.T) {
	data := recording(t, "1", "2")
	synctest.Test(t, func(t *testing.T) {
		p := playerOf(data, nil)
		m := newMemory()
		p.Dial = func(context.Context) (Sender, error) { return slowToReady{m, errFull}, nil }
		if got, err := p.Play(t.Context()); !errors.Is(err, errFull) || got.Sent != 0 || len(m.sent) != 0 {
			t.Errorf("want nothing sent and %v, got %+v, %v", errFull, got, err)
		}
	})
}

func TestPlayingIsStoppedWhileASenderGetsReady(t *testing.T) {
	data := recording(t, "1")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		p := playerOf(data, nil)
		p.Dial = func(context.Context) (Sender, error) { return slowToReady{memory: newMemory()}, nil }
		start := time.Now()
		if got, err := p.Play(ctx); err != nil || got.Sent != 0 || time.Since(start) > time.Millisecond {
			t.Errorf("want the end at once, got %+v, %v", got, err)
		}
	})
}
