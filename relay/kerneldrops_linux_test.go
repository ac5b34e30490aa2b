package relay

import (
	"fmt"
	"net"
	"testing"
	"time"
)

// What the kernel drops because nobody received it in time is counted to the
// datagram: received and dropped make what was sent.
func TestFullReceiveQueueIsCounted(t *testing.T) {
	for _, w := range ways[:2] { // the plain loop cannot know
		t.Run(w.name, func(t *testing.T) {
			options := defaults()
			options.ReceiveBuffer = 16 << 10
			options.Peers.Expiry = time.Second // the kernel is asked each tenth of it
			r := makeRelay(t, w, on4, options)
			speaker := newClient(t, near(r))
			total := uint64(0)
			for _, count := range []uint64{500, 1, 300} { // while nobody receives
				for range count {
					speaker.send("a datagram of some bytes")
				}
				total += count
				for n := uint64(0); n == 0; { // some got in: receive these
					before := r.Stats().Received
					if err := r.step(); err != nil {
						t.Fatal(err)
					}
					n = r.Stats().Received - before
				}
			}
			stop := run(t, r)
			awaitStats(t, r, fmt.Sprintf("%d received or dropped as receive_queue_full, and more than one dropped", total), func(s Stats) bool {
				return s.Received+s.Dropped[DropReceiveQueueFull] == total && s.Dropped[DropReceiveQueueFull] > 1
			})
			// It is told once more when the relay stops, and no more than once.
			stop()
			if s := r.Stats(); s.Received+s.Dropped[DropReceiveQueueFull] != total {
				t.Errorf("want %d received or dropped; got %s", total, show(s))
			}
		})
	}
}

// The kernel counts modulo 2³², the relay does not.
func TestKernelDropsAreCountedBeyond32Bits(t *testing.T) {
	fake := &fakeSocket{}
	r := &Relay{socket: fake}
	for _, test := range []struct {
		kernel uint32
		want   uint64
	}{
		{0, 0}, {7, 7}, {7, 7}, {1<<32 - 1, 1<<32 - 1}, {0, 1 << 32}, {5, 1<<32 + 5}, {1 << 31, 1<<32 + 1<<31}, {3, 2<<32 + 3},
	} {
		fake.drops = test.kernel
		r.countKernelDrops()
		if got := r.Stats().Dropped[DropReceiveQueueFull]; got != test.want {
			t.Fatalf("kernel says %d: want %d; got %d", test.kernel, test.want, got)
		}
	}
}

// A fakeSocket is one that only counts drops.
type fakeSocket struct {
	socket
	drops uint32
}

func (s *fakeSocket) buffers() Buffers            { return Buffers{} }
func (s *fakeSocket) kernelDrops() (uint32, bool) { return s.drops, true }

// What waits to be received is in the figures, as the kernel counts it.
func TestBuffersSayWhatWaits(t *testing.T) {
	options := defaults()
	options.ReceiveBuffer, options.SendBuffer = 64<<10, 32<<10
	r := makeRelay(t, ways[0], on4, options)
	if got, want := r.Buffers(), (Buffers{Receive: 128 << 10, Send: 64 << 10}); got != want {
		t.Fatalf("want %+v, got %+v", want, got)
	}
	sender, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(r.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	const size, count = 1000, 10
	for range count {
		if _, err := sender.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.Buffers(); got.ReceiveUsed < size*count || got.ReceiveUsed > got.Receive {
		t.Errorf("want %d bytes and what the kernel adds to wait, got %+v", size*count, got)
	}
	r.socket.close()
	if got := r.Buffers(); got != (Buffers{}) {
		t.Errorf("want none when it is closed, got %+v", got)
	}
}
