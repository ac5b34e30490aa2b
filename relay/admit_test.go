package relay

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"udprelay/peers"
)

// rule lets host do what may says.
func rule(host string, may peers.May) peers.Rule {
	cover, err := peers.ParseFrom(host)
	if err != nil {
		panic(err)
	}
	return peers.Rule{From: host, Cover: cover, May: may}
}

// heard makes a batch of what was received from these addresses.
func heard(payload string, from ...netip.AddrPort) *batch {
	b := newBatch()
	for _, addr := range from {
		b.datagrams = append(b.datagrams, Datagram{[]byte(payload), addr})
		b.sources = append(b.sources, nil)
	}
	return b
}

func numbered(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr("192.0.2.1"), port)
}

func TestSenderThatMayNotIsCountedByReason(t *testing.T) {
	options := defaults()
	options.Peers.Max, options.Peers.MaxPerAddress = 3, 2
	options.Peers.Access = []peers.Rule{
		rule("192.0.2.66", peers.MayNothing), rule("192.0.2.77", peers.MayReceive), rule("192.0.2.0/24", peers.MayBoth),
	}
	r := makeRelay(t, ways[0], on4, options)
	addr := netip.MustParseAddrPort
	for _, test := range []struct {
		from    string
		relayed bool
		drop    Drop
	}{
		{"192.0.2.1:1", true, 0},
		{"192.0.2.1:2", true, 0},
		{"192.0.2.1:3", false, DropAddressFull},
		{"192.0.2.66:1", false, DropRule},
		{"198.51.100.1:1", false, DropRule},
		{"192.0.2.77:1", false, DropMayNotSend},
		{"192.0.2.2:1", false, DropTableFull},
		{"192.0.2.1:0", false, DropNeverAPeer},
		{"0.0.0.0:1", false, DropNeverAPeer},
		{"224.0.0.1:1", false, DropNeverAPeer},
		{"255.255.255.255:1", false, DropNeverAPeer},
		{"[ff02::1]:1", false, DropNeverAPeer},
		{r.Addr().String(), false, DropNeverAPeer},
		{"192.0.2.1:1", true, 0},
	} {
		var counts tally
		b := heard("hello", addr(test.from))
		r.admit(b, time.Now(), &counts)
		var want Stats
		want.Received, want.ReceivedBytes = 1, 5
		if !test.relayed {
			want.Dropped[test.drop] = 1
		}
		if counts.Stats != want || len(b.datagrams) == 1 != test.relayed {
			t.Errorf("from %s: want %s, relayed: %t; got %s, %d datagrams", test.from, show(want), test.relayed, show(counts.Stats), len(b.datagrams))
		}
		if !test.relayed && counts.whom[test.drop] != addr(test.from) {
			t.Errorf("from %s: want the drop to name it; got %v", test.from, counts.whom[test.drop])
		}
	}
}

func TestReceivedIsRelayedKeepAlivesAndDrops(t *testing.T) {
	options := defaults()
	options.Peers.Max = 2
	r := makeRelay(t, ways[0], on4, options)
	var counts tally
	relayed := 0
	for n := range 50 {
		b := heard(map[bool]string{true: "text"}[n%3 != 0], numbered(uint16(n%4)), numbered(uint16(n%5)), numbered(uint16(n%2)), r.Addr())
		r.admit(b, time.Now(), &counts)
		relayed += len(b.datagrams)
		if len(b.origins) != len(b.datagrams) {
			t.Fatalf("want an origin for each of %d datagrams; got %d", len(b.datagrams), len(b.origins))
		}
		for i, d := range b.datagrams {
			if b.origins[i].Addr() != d.From {
				t.Fatalf("want origin %v; got %v", d.From, b.origins[i].Addr())
			}
		}
	}
	sum := uint64(relayed) + counts.KeepAlives
	for _, n := range counts.Dropped {
		sum += n
	}
	if counts.Received != 200 || sum != 200 {
		t.Errorf("want 200 received = relayed + keep-alives + dropped; got %d relayed, %s", relayed, show(counts.Stats))
	}
}

func TestKeepAliveJoinsAndRefreshesAndIsNotRelayed(t *testing.T) {
	r := makeRelay(t, ways[0], on4, defaults())
	var counts tally
	now := time.Now()
	for _, later := range []time.Duration{0, time.Minute, time.Hour} {
		b := heard("", numbered(1))
		r.admit(b, now.Add(later), &counts)
		if len(b.datagrams) != 0 || len(b.speakers) != 0 {
			t.Errorf("want nothing to relay; got %d datagrams", len(b.datagrams))
		}
		p := r.Peers().Lookup(numbered(1))
		if p == nil {
			t.Fatal("want a peer; got none")
		}
		if at, _ := r.Peers().LastHeard(p); !at.Equal(now.Add(later)) {
			t.Errorf("want the peer heard at %v; got %v", now.Add(later), at)
		}
	}
	if counts.KeepAlives != 3 {
		t.Errorf("want 3 keep-alives; got %s", show(counts.Stats))
	}
}

// A peer can expire and join again within a batch; it is the same client, and
// does not get what it said before.
func TestOriginThatJoinsAgainWithinABatchGetsNoEcho(t *testing.T) {
	r := makeRelay(t, ways[0], on4, defaults())
	now := time.Now()
	first, other := numbered(1), numbered(2)
	// Whoever asks about the second address makes the first one expire.
	r.table = peers.New(peers.Options{Expiry: time.Hour, Access: anyoneMay(peers.MayBoth), Own: func(addr netip.AddrPort) bool {
		if addr == other {
			r.table.Expire(now.Add(2 * time.Hour))
		}
		return false
	}}, now)
	for _, lastIsKeepAlive := range []bool{false, true} {
		b := heard("text", first, other, first)
		if lastIsKeepAlive {
			b.datagrams[2].Payload = nil
		}
		r.table.Expire(now.Add(2 * time.Hour))
		r.table.Heard(first, now)
		r.admit(b, now, new(tally))
		p := r.table.Lookup(first)
		walk := walk{b.speakers}
		for _, receiver := range r.table.Receivers() {
			spoke := walk.meets(receiver)
			for i, d := range b.datagrams {
				if receiver == p && d.From == first && (!spoke || b.origins[i] != p) {
					t.Errorf("last is a keep-alive: %t: want datagram %d not sent to its origin %v; it is", lastIsKeepAlive, i, first)
				}
			}
		}
	}
}

// What one relay counts as a reason, metrics and logs name by one word.
func TestEachDropHasAWordOfItsOwn(t *testing.T) {
	words := make(map[string]bool)
	for i, reason := range Drops() {
		if reason != Drop(i) || reason.String() == "" || words[reason.String()] {
			t.Errorf("want a word of its own for drop %d; got %q", i, reason)
		}
		words[fmt.Sprint(reason)] = true
	}
	if len(words) != int(drops) {
		t.Errorf("want %d words; got %v", drops, words)
	}
}
