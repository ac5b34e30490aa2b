package relay

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/peers"
)

// numberedTexts are count payloads of so many bytes, no two alike.
func numberedTexts(from, count, size int) (texts []string) {
	for n := range count {
		texts = append(texts, fmt.Sprintf("%08d%s", from+n, strings.Repeat("x", size-8)))
	}
	return texts
}

// heardTexts makes a batch of what one sender said.
func heardTexts(from netip.AddrPort, texts ...string) *batch {
	b := newBatch()
	for _, text := range texts {
		b.datagrams = append(b.datagrams, Datagram{[]byte(text), from})
		b.sources = append(b.sources, nil)
	}
	return b
}

func TestPeerOverItsLimitLosesTheSurplusAndStays(t *testing.T) {
	for _, test := range []struct {
		name       string
		limits     Limits
		size       int
		first, new int // of a hundred that pass at once, and half a second later
	}{
		{"no limit", Limits{}, 100, 100, 100},
		{"datagrams", Limits{PeerDatagrams: 10}, 100, 10, 5},
		{"bytes", Limits{PeerBytes: 1000}, 100, 10, 5},
		{"bytes of long datagrams", Limits{PeerBytes: 1000}, 5000, 1, 0},
		{"datagrams before bytes", Limits{PeerDatagrams: 10, PeerBytes: 100_000}, 100, 10, 5},
		{"bytes before datagrams", Limits{PeerDatagrams: 90, PeerBytes: 1000}, 100, 10, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			options := defaults()
			options.Limits = test.limits
			r := makeRelay(t, ways[0], on4, options)
			loud, quiet := numbered(1), numbered(2)
			now := r.began.Add(time.Minute)
			for i, want := range []int{test.first, test.new} {
				now = now.Add(time.Duration(i) * time.Second / 2)
				var counts tally
				texts := numberedTexts(0, 100, test.size)
				var relayed []string
				for _, text := range texts {
					b := heardTexts(loud, text, "")
					r.admit(b, now, &counts)
					for k, d := range b.datagrams {
						relayed = append(relayed, string(d.Payload))
						if b.origins[k].Addr() != loud {
							t.Errorf("want the origin %v; got %v", loud, b.origins[k].Addr())
						}
					}
				}
				if !slices.Equal(relayed, texts[:want]) || counts.Dropped[DropPeerRate] != uint64(100-want) || sumDrops(counts.Stats) != uint64(100-want) {
					t.Errorf("part %d: want the first %d of 100 relayed and the others dropped as peer_rate; got %d relayed, %s", i, want, len(relayed), show(counts.Stats))
				}
				if want < 100 && counts.whom[DropPeerRate] != loud {
					t.Errorf("want the drop to name %v; got %v", loud, counts.whom[DropPeerRate])
				}
				if counts.KeepAlives != 100 {
					t.Errorf("want no keep-alive dropped by the limit; got %s", show(counts.Stats))
				}
				p := r.Peers().Lookup(loud)
				if p == nil {
					t.Fatal("want who is over the limit to stay a peer; it is none")
				}
				if at, _ := r.Peers().LastHeard(p); !at.Equal(now) {
					t.Errorf("want who is over the limit refreshed at %v; got %v", now, at)
				}
				// Others have a measure of their own.
				counts = tally{}
				b := heardTexts(quiet, numberedTexts(0, 1, 100)...)
				r.admit(b, now, &counts)
				if len(b.datagrams) != 1 {
					t.Errorf("want another peer untouched; got %s", show(counts.Stats))
				}
			}
		})
	}
}

// A datagram that is over the limit refreshes all the same: only dropped ones
// keep the peer from its expiry.
func TestPeerThatOnlySendsTooMuchDoesNotExpire(t *testing.T) {
	options := defaults()
	options.Limits.PeerBytes = 1
	options.Peers.Expiry = 10 * time.Second
	r := makeRelay(t, ways[0], on4, options)
	now := r.began
	var counts tally
	for n := range 100 {
		now = now.Add(9 * time.Second)
		if gone := r.Peers().Expire(now); len(gone) != 0 {
			t.Fatalf("want nobody to expire; got %v", gone[0].Addr())
		}
		r.admit(heardTexts(numbered(1), numberedTexts(n, 1, 10_000)...), now, &counts)
	}
	if counts.Dropped[DropPeerRate] != 99 {
		t.Errorf("want 99 of 100 dropped as peer_rate; got %s", show(counts.Stats))
	}
}

func TestPeersAreLimitedEachOnItsOwn(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for _, limits := range []Limits{{PeerDatagrams: 10}, {PeerBytes: 1000}} {
			options := defaults()
			options.Limits = limits
			r := startRelay(t, w, on4, options)
			clients := newPeers(t, r, near(r), 3)
			loud, quiet, listener := clients[0], clients[1], clients[2]
			began := time.Now()
			texts := numberedTexts(0, 60, 100)
			for _, text := range texts {
				loud.send(text)
			}
			for _, text := range numberedTexts(1000, 5, 100) {
				quiet.send(text)
			}
			loud.send("")
			awaitStats(t, r, "69 received", func(s Stats) bool { return s.Received == 69 })
			most := 10 + int(time.Since(began)/(100*time.Millisecond)) + 1
			s := r.Stats()
			passed := 60 - int(s.Dropped[DropPeerRate])
			if passed < 10 || passed > most || s.KeepAlives != 4 || sumDrops(s) != s.Dropped[DropPeerRate] {
				t.Errorf("%+v: want 10 to %d of 60 relayed, the others dropped as peer_rate, and 4 keep-alives; got %s", limits, most, show(s))
			}
			var loudly, quietly []string
			for range passed + 5 {
				if text := listener.receive(); text < "00001000" {
					loudly = append(loudly, text)
				} else {
					quietly = append(quietly, text)
				}
			}
			if !slices.Equal(loudly[:10], texts[:10]) || !slices.IsSorted(loudly) || !slices.Equal(quietly, numberedTexts(1000, 5, 100)) {
				t.Errorf("want the first ten of the loud one, what came later in order, and all of the quiet one; got %.8q, %.8q", loudly, quietly)
			}
			loud.wants(quietly...) // it receives as before
			listener.wantsSilence("after the end")
		}
	})
}

// What leaves is counted for all receivers together: none starves, and a second
// brings no more than a second's worth, and, when nothing had left before, the
// second's worth that may leave at once.
func TestEgressStaysWithinItsLimit(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for _, test := range []struct{ receivers, size, limit int }{{3, 500, 100_000}, {1, 1400, 20_000}, {5, 100, 1000}, {4, 60_000, 100_000}} {
			t.Run(fmt.Sprintf("%d receivers, %d bytes, limit %d", test.receivers, test.size, test.limit), func(t *testing.T) {
				options := defaults()
				options.Limits.EgressBytes = test.limit
				r := makeRelay(t, w, on4, options)
				link := newRecorder("link")
				r.Attach(link)
				now := r.began.Add(time.Minute)
				// Who speaks also receives, but not its own.
				speaker := newClient(t, near(r))
				r.Peers().Heard(speaker.addr, now)
				var clients []*client
				for range test.receivers {
					c := newClient(t, near(r))
					r.Peers().Heard(c.addr, now)
					clients = append(clients, c)
				}
				const tick, seconds = 100 * time.Millisecond, 4
				const ticks = int(seconds * time.Second / tick)
				// Twice the limit is said, but at least something.
				each := max(1, int(int64(2*test.limit/(test.size*test.receivers))*int64(tick)/int64(time.Second))+1)
				var said, passed int
				left := make([]int, ticks) // bytes in each tick
				for n := range left {
					texts := numberedTexts(said, each, test.size)
					said += each
					before := r.Stats()
					b := heardTexts(speaker.addr, texts...)
					r.admit(b, now, &r.receiving.tally)
					if err := r.relay(b, r.receiving.sender, nil, &r.receiving.tally); err != nil {
						t.Fatal(err)
					}
					s := r.Stats()
					var kept []string
					for _, d := range b.datagrams {
						kept = append(kept, string(d.Payload))
					}
					passed += len(kept)
					left[n] = int(s.DeliveredBytes - before.DeliveredBytes)
					if want := test.receivers * (each - len(kept)); s.Dropped[DropEgressLimit] != before.Dropped[DropEgressLimit]+uint64(want) {
						t.Fatalf("want %d more dropped as egress_limit, once a receiver; got %s", want, show(s))
					}
					for _, c := range clients {
						c.wants(kept...)
					}
					if len(kept) > 0 {
						link.wants(t, kept...)
					}
					now = now.Add(tick)
				}
				speaker.wantsSilence("what it said itself")
				for _, c := range clients {
					c.wantsSilence("after the end")
				}
				s := r.Stats()
				if s.Delivered != uint64(passed*test.receivers) || s.Dropped[DropEgressLimit] != uint64((said-passed)*test.receivers) || sumDrops(s) != s.Dropped[DropEgressLimit] {
					t.Errorf("want %d of %d delivered to %d receivers, the others dropped as egress_limit; got %s", passed, said, test.receivers, show(s))
				}
				if p := r.counters.lastDropped(DropEgressLimit); p != speaker.addr {
					t.Errorf("want the drop to name %v; got %v", speaker.addr, p)
				}
				over := test.size * test.receivers
				if left[0] > test.limit+over {
					t.Errorf("want at most %d bytes at once; got %d", test.limit+over, left[0])
				}
				perSecond := int(time.Second / tick)
				total := 0
				for n, bytes := range left {
					total += bytes
					if n < perSecond {
						continue
					}
					second := 0
					for _, bytes := range left[n-perSecond+1 : n+1] {
						second += bytes
					}
					most := test.limit + over
					if n < 2*perSecond {
						most += test.limit // what may leave at once after a silence
					}
					if second > most {
						t.Errorf("want at most %d bytes in the second up to tick %d; got %d", most, n, second)
					}
				}
				if most := test.limit*(seconds+1) + over; total > most {
					t.Errorf("want at most %d bytes in %d s; got %d", most, seconds, total)
				}
				if least := test.limit * (seconds - 1); total < least {
					t.Errorf("want at least %d bytes in %d s, for there was enough to say; got %d", least, seconds, total)
				}
			})
		}
	})
}

// A receiver that is the origin does not count, nor one that may not receive.
func TestEgressIsCountedOnceAReceiver(t *testing.T) {
	options := defaults()
	options.Limits.EgressBytes = 1000
	options.Peers.Access = append([]peers.Rule{rule("192.0.2.9", peers.MaySend)}, options.Peers.Access...)
	for _, test := range []struct {
		name    string
		peers   []netip.AddrPort
		speaker netip.AddrPort
		pass    int // of 100 bytes each
	}{
		{"two peers that hear", []netip.AddrPort{numbered(1), numbered(2)}, numbered(1), 10},
		{"three peers", []netip.AddrPort{numbered(1), numbered(2), numbered(3)}, numbered(1), 5},
		{"the speaker may not receive", []netip.AddrPort{numbered(1), numbered(2)}, netip.MustParseAddrPort("192.0.2.9:1"), 5},
		{"nobody hears", nil, numbered(1), 50},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := makeRelay(t, ways[0], on4, options)
			now := r.began.Add(time.Minute)
			for _, addr := range append(test.peers, test.speaker) {
				r.Peers().Heard(addr, now)
			}
			var counts tally
			b := heardTexts(test.speaker, numberedTexts(0, 50, 100)...)
			r.admit(b, now, &counts)
			r.capEgress(b, r.Peers().Receivers(), r.limits.Load().EgressBytes, &counts)
			to := uint64(len(r.Peers().Receivers()))
			if r.Peers().Origin(test.speaker).MayReceive() {
				to--
			}
			if len(b.datagrams) != test.pass || len(b.origins) != test.pass || counts.Dropped[DropEgressLimit] != uint64(50-test.pass)*to {
				t.Errorf("want the first %d of 50 to leave, the others dropped once for each of %d; got %d, %s", test.pass, to, len(b.datagrams), show(counts.Stats))
			}
			for i, d := range b.datagrams {
				if want := numberedTexts(i, 1, 100)[0]; string(d.Payload) != want {
					t.Fatalf("want %s as datagram %d; got %s", short(want), i, short(string(d.Payload)))
				}
			}
		})
	}
}

// What a link brings leaves by the same measure, and other links get what
// leaves.
func TestEgressOfLinksIsLimited(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := defaults()
		options.Limits.EgressBytes = 20_000
		r := startRelay(t, w, on4, options)
		clients := newPeers(t, r, near(r), 2)
		other := newRecorder("other")
		r.Attach(other)
		a := r.Attach(discard{})
		began := time.Now()
		texts := numberedTexts(0, 200, 500)
		bring(t, a, texts...)
		elapsed := time.Since(began)
		s := r.Stats()
		most := 20_000 + int(20_000*elapsed.Seconds()) + 2*500
		if s.DeliveredBytes > uint64(most) || s.DeliveredBytes < 20_000 || s.Delivered+s.Dropped[DropEgressLimit] != 400 || s.Delivered%2 != 0 {
			t.Errorf("want 20000 to %d bytes of 200 datagrams to 2 receivers delivered, the others dropped as egress_limit; got %s", most, show(s))
		}
		var got []string
		for range s.Delivered / 2 {
			got = append(got, clients[0].receive())
		}
		if !slices.IsSorted(got) || !slices.Equal(got[:20], texts[:20]) {
			t.Errorf("want the first twenty and what came later in order; got %.8q", got)
		}
		clients[1].wants(got...)
		other.wants(t, got...)
		for _, c := range clients {
			c.wantsSilence("after the end")
		}
	})
}
