package relay

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"udprelay/peers"
)

func TestRefusedSendersAreRemembered(t *testing.T) {
	options := defaults()
	open := rule("192.0.2.0/24", peers.MayBoth)
	options.Peers.Access = []peers.Rule{rule("192.0.2.66", peers.MayNothing), open}
	r := makeRelay(t, ways[0], on4, options)
	addr := netip.MustParseAddrPort
	now := r.began
	hear := func(from string, texts ...string) {
		now = now.Add(time.Second)
		r.admit(heardTexts(addr(from), texts...), now, new(tally))
	}
	hear("192.0.2.66:1", "a", "b")
	hear("192.0.2.1:1", "joins")
	hear("192.0.2.66:2", "a")
	hear("8.8.8.8:1", "a")
	hear("192.0.2.66:1", "c")
	hear("192.0.2.66:0", "a")
	r.Apply(Options{Peers: peers.Options{Expiry: time.Hour, Access: []peers.Rule{open}, Max: 1}})
	hear("192.0.2.66:2", "a")
	hear("8.8.8.8:1", "a")

	after := func(seconds int) time.Time { return r.began.Add(time.Duration(seconds) * time.Second) }
	wants := func(from string, want ...Refusal) {
		t.Helper()
		if got := r.Recent(addr(from)); !slices.Equal(got, want) {
			t.Errorf("Recent(%s):\nwant %+v\n got %+v", from, want, got)
		}
	}
	first := Refusal{addr("192.0.2.66:1"), DropRule, "access[0] from 192.0.2.66", 3, after(5)}
	wants("192.0.2.66:1", first)
	wants("192.0.2.66:0",
		Refusal{addr("192.0.2.66:2"), DropTableFull, "access[0] from 192.0.2.0/24", 1, after(7)},
		Refusal{addr("192.0.2.66:0"), DropNeverAPeer, "", 1, after(6)},
		first,
		Refusal{addr("192.0.2.66:2"), DropRule, "access[0] from 192.0.2.66", 1, after(3)})
	wants("8.8.8.8:1", Refusal{addr("8.8.8.8:1"), DropRule, "no rule", 2, after(8)})
	wants("[::ffff:8.8.8.8]:1", Refusal{addr("8.8.8.8:1"), DropRule, "no rule", 2, after(8)})
	wants("192.0.2.1:1")
	wants("192.0.2.2:1")
	if rules := r.Peers().Rules(); rules[0].Refused != 0 || rules[1].Refused != 1 {
		t.Errorf("want the rules that hold to have refused none, and the lack of one 1; got %+v", rules)
	}
}

// A flood of forged senders takes no memory, is counted to the datagram by its
// rule, and leaves the last of them remembered.
func TestFloodOfForgedSendersIsRememberedInFixedSpace(t *testing.T) {
	options := defaults()
	options.Peers.Access = nil
	r := makeRelay(t, ways[0], on4, options)
	var counts tally
	b, text := newBatch(), []byte("x")
	n := 0
	flood := func() {
		b.reset()
		for range maxBatch {
			n++
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 9000)
			b.datagrams = append(b.datagrams, Datagram{text, from})
			b.sources = append(b.sources, nil)
		}
		r.admit(b, r.began.Add(time.Duration(n)), &counts)
	}
	if !raceEnabled { // it allocates
		if allocs := testing.AllocsPerRun(1000, flood); allocs != 0 {
			t.Errorf("want no allocations for %d datagrams; got %v", maxBatch, allocs)
		}
	}
	for n < 1_000_000 {
		flood()
	}
	if counts.Dropped[DropRule] != uint64(n) || r.Peers().Rules()[0].Refused != uint64(n) {
		t.Errorf("want %d refused by no rule; got %d, %d of them by it", n, counts.Dropped[DropRule], r.Peers().Rules()[0].Refused)
	}
	last := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 0)
	if got := r.Recent(last); len(got) != 1 || got[0].Count != 1 || got[0].From.Addr() != last.Addr() {
		t.Errorf("want the last sender remembered; got %+v", got)
	}
	remembered := 0
	for i := range r.recent.slots {
		if r.recent.slots[i].count > 0 {
			remembered++
		}
	}
	if remembered != recentSlots {
		t.Errorf("want all of %d places taken; got %d", recentSlots, remembered)
	}
}

// Everything that can be asked may be asked while the relay relays.
func TestAskingBesideRelaying(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := defaults()
		options.Peers.Access = append([]peers.Rule{rule("127.0.0.2", peers.MayNothing)}, options.Peers.Access...)
		r := startRelay(t, w, onAll4, options)
		clients := newPeers(t, r, near(r), 3)
		refused := newClientAt(t, netip.MustParseAddrPort("127.0.0.2:0"), near(r))
		link := r.Attach(discard{})
		const each = 300
		var all sync.WaitGroup
		ask := func() {
			for range each {
				for _, p := range r.Peers().Peers() {
					_, _ = r.PeerStats(p), r.PeerState(p)
				}
				r.Stats()
				r.Recent(netip.AddrPortFrom(refused.addr.Addr(), 0))
				x := r.Explain(clients[0].addr)
				if x.Peer == nil || x.FromVerdict == "" || x.ToVerdict == "" {
					t.Errorf("want an explanation of a peer; got %+v", x)
				}
				r.Peers().Ban(netip.MustParsePrefix("127.0.0.9/32"), time.Time{}, "", time.Now())
			}
		}
		all.Go(ask)
		all.Go(ask)
		all.Go(func() {
			for range each {
				link.Bring([]Datagram{{Payload: []byte("from a link")}})
			}
		})
		for range each {
			clients[0].send("text")
			refused.send("refused")
		}
		all.Wait()
		awaitStats(t, r, "everything received and accounted for", func(s Stats) bool {
			return s.Received+s.Dropped[DropReceiveQueueFull] == 3+3*each && s.KeepAlives == 3 && s.Dropped[DropRule]+s.Relayed+3+s.Dropped[DropReceiveQueueFull] == 3+3*each
		})
		await(t, func() bool {
			s := r.Stats()
			return s.Due == 3*each+2*(s.Relayed-each) && s.Due == s.Delivered+sumOut(s)
		},
			func() string { return "want all that is due delivered or dropped; got " + show(r.Stats()) })
		var delivered uint64
		for _, c := range clients {
			delivered += r.PeerStats(r.Peers().Lookup(c.addr)).Delivered
		}
		if s := r.Stats(); delivered != s.Delivered {
			t.Errorf("want %d delivered to the peers together; got %d", s.Delivered, delivered)
		}
		got := r.Recent(refused.addr)
		if len(got) != 1 || got[0].Count != r.Stats().Dropped[DropRule] || got[0].Rule != "access[0] from 127.0.0.2" {
			t.Errorf("want %d refusals remembered; got %+v", r.Stats().Dropped[DropRule], got)
		}
	})
}

// sumOut returns the drops on the way out.
func sumOut(s Stats) (sum uint64) {
	for _, reason := range Drops() {
		if reason.OnTheWayOut() {
			sum += s.Dropped[reason]
		}
	}
	return sum
}

func BenchmarkAdmitForged(b *testing.B) {
	options := defaults()
	options.Peers.Access = nil
	r := makeRelay(b, ways[0], on4, options)
	var counts tally
	batch := newBatch()
	n := 0
	b.ReportAllocs()
	for b.Loop() { // an operation is a batch of 64
		batch.reset()
		for range maxBatch {
			n++
			from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), 9000)
			batch.datagrams = append(batch.datagrams, Datagram{nil, from})
			batch.sources = append(batch.sources, nil)
		}
		r.admit(batch, r.began.Add(time.Duration(n)), &counts)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/maxBatch, "ns/datagram")
}
