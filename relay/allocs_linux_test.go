package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

// Whatever the batch looks like, once the relay is warm it takes no memory.
func TestRelayingAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates: this is tested without it")
		return
	}
	same := func(int) int { return 200 }
	mixed := func(n int) int { return []int{200, 200, 200, 150, 1400, 1400, 9, 9000}[n%8] }
	for _, test := range []struct {
		name    string
		origins int
		size    func(n int) int
	}{
		{"one origin", 1, same},
		{"one origin, mixed sizes", 1, mixed},
		{"twenty origins", 20, same},
		{"twenty origins, mixed sizes", 20, mixed},
	} {
		for _, place := range []struct{ name, listen, host string }{
			{"IPv4", on4, "127.0.0.1"}, {"IPv6", on6, "::1"}, {"IPv4 dual-stack", onAll, "127.0.0.2"}, {"IPv6 dual-stack", onAll, "::1"},
		} {
			for _, w := range []way{ways[0], ways[1], ways[3]} { // the plain loop makes no such promise
				t.Run(fmt.Sprintf("%s/%s/%s", w.name, place.name, test.name), func(t *testing.T) {
					r := makeRelay(t, w, place.listen, defaults())
					r.receiving.sender.start()
					t.Cleanup(r.receiving.sender.stop)
					sinks := newSinks(t, place.host, 100)
					r.Peers().SetStatic(addrsOf(sinks), time.Now())
					var clients []*client
					for range test.origins {
						clients = append(clients, newClient(t, at(r, place.host)))
					}
					payload := bytes.Repeat([]byte{'x'}, 9000)
					const burst = 2 * maxBatch
					want, sent := uint64(0), uint64(0)
					relayBurst := func() {
						for n := range burst {
							sent++ // no payload twice: a peer that begins to repeat what others send is an event
							binary.BigEndian.PutUint64(payload, sent)
							clients[n%len(clients)].conn.Write(payload[:test.size(n/len(clients))])
						}
						for want += burst; r.Stats().Received < want; {
							if err := r.step(); err != nil {
								t.Fatal(err)
							}
						}
					}
					for range 2 { // the origins join, the buffers grow
						relayBurst()
					}
					if allocs := testing.AllocsPerRun(4, relayBurst); allocs != 0 {
						t.Errorf("want no allocations for %d datagrams; got %v", burst, allocs)
					}
					s := r.Stats()
					t.Logf("%s: %s", r.Way(), show(s))
					// Each origin is also a receiver of the others.
					if least := s.Received * 100; s.Delivered < least {
						t.Errorf("want at least %d delivered, to 100 sinks; got %d", least, s.Delivered)
					}
				})
			}
		}
	}
}
