package relay

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"udprelay/internal/nettest"
	"udprelay/peers"
)

// Connected clients get only what comes from the address that they asked.
func TestCookieComesFromTheAddressThatWasAsked(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range []string{onAll4, onAll} {
			t.Run(place, func(t *testing.T) {
				r := startGuarded(t, w, place, guarded(peers.JoinCookie))
				var clients []*client
				for _, host := range []string{"127.0.0.1", "127.0.0.2", "127.9.8.7", "127.0.0.2"} {
					clients = append(clients, newClient(t, at(r, host)))
				}
				clients = append(clients, newClientAt(t, netip.MustParseAddrPort("127.0.0.6:0"), at(r, "127.0.0.6")))
				if place == onAll {
					clients = append(clients, newClient(t, at(r, "::1")))
				}
				joinsByHand(t, r, clients...)
			})
		}
	})
}

// Several interfaces with several addresses, and the default measure of
// answers: each address has its own.
func TestCookieComesFromTheAddressOfTheInterfaceThatWasAsked(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	other.connect(t, 1)
	nettest.IP(t, "address add 10.77.0.2/24 dev cable0", "address add fd77:0::2/64 dev cable0 nodad")
	nettest.AwaitAddress(t, "fd77:0::2")
	other.linkLocal(t)
	const zone = "%100" // cable0
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range []string{onAll4, onAll} {
			t.Run(place, func(t *testing.T) {
				r := startGuarded(t, w, place, guarded(peers.JoinCookie))
				clients := []*client{
					other.client(t, "10.77.0.11", at(r, "10.77.0.1")), other.client(t, "10.77.0.12", at(r, "10.77.0.2")),
					other.client(t, "10.77.1.13", at(r, "10.77.1.1")), other.client(t, "10.77.1.14", at(r, "10.77.1.1")),
					newClient(t, at(r, "10.77.0.2")), newClient(t, at(r, "127.0.0.3")),
				}
				if place == onAll {
					local := other.client(t, "fe80::77:2"+zone, at(r, "fe80::77:1"+zone))
					local.addr = netip.AddrPortFrom(netip.MustParseAddr("fe80::77:2"+zone), local.addr.Port())
					clients = append(clients, local, other.client(t, "fd77:0::11", at(r, "fd77:0::1")),
						other.client(t, "fd77:0::12", at(r, "fd77:0::2")), other.client(t, "fd77:1::13", at(r, "fd77:1::1")))
				}
				joinsByHand(t, r, clients...)
			})
		}
	})
}

// Ports do not count for the measure of answers, nor does what is behind an
// IPv6 /64.
func TestEachAddressHasItsOwnAnswers(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	other := newMachine(t)
	other.connect(t, 0)
	other.connect(t, 1)
	keys := []netip.Addr{netip.MustParseAddr("127.0.0.1")}
	for _, host := range []string{"10.77.0.11", "10.77.0.12", "10.77.1.11", "fd77:0::11", "fd77:1::11"} {
		keys = append(keys, netip.MustParseAddr(host))
	}
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, onAll, guarded(peers.JoinCookie))
		r.receiving.door.cookies = tellsApart(answersPerSecond, keys...)
		r.began = r.began.Add(-time.Minute)
		run(t, r)
		groups := [][]*client{
			{newClient(t, at(r, "127.0.0.1")), newClient(t, at(r, "127.0.0.2"))},
			{other.client(t, "10.77.0.11", at(r, "10.77.0.1")), other.client(t, "10.77.0.11", at(r, "10.77.0.1"))},
			{other.client(t, "10.77.0.12", at(r, "10.77.0.1"))},
			{other.client(t, "10.77.1.11", at(r, "10.77.1.1"))},
			{other.client(t, "fd77:0::11", at(r, "fd77:0::1")), other.client(t, "fd77:0::12", at(r, "fd77:0::1"))},
			{other.client(t, "fd77:1::11", at(r, "fd77:1::1"))},
		}
		total := uint64(0)
		for _, group := range groups {
			before, began := r.Stats(), time.Now()
			for n := range 100 {
				group[n%len(group)].send("udprelay join\n")
			}
			total += 100
			awaitStats(t, r, fmt.Sprintf("%d received", total), func(s Stats) bool { return s.Received == total })
			answers := r.Stats().Answers - before.Answers
			if most := 5 + uint64(time.Since(began)/(200*time.Millisecond)) + 1; answers < 5 || answers > most {
				t.Errorf("%v: want 5 to %d answers to 100 datagrams; got %d", group[0].addr, most, answers)
			}
		}
	})
}

// A service that answers whatever it gets would answer the answer.
func TestServicesThatAnswerAnythingGetNoAnswer(t *testing.T) {
	if !nettest.Inside(t) {
		return
	}
	eachWay(t, func(t *testing.T, w way) {
		r := startGuarded(t, w, onAll, guarded(peers.JoinCookie))
		dropped := uint64(0)
		for _, port := range []uint16{7, 13, 17, 19} {
			for _, host := range []string{"127.0.0.1", "::1"} {
				c := newClientAt(t, netip.AddrPortFrom(netip.MustParseAddr(host), port), at(r, host))
				for _, text := range []string{"udprelay join\n", "", "udprelay join 0123456789abcdef0123"} {
					c.send(text)
					dropped++
				}
				awaitStats(t, r, fmt.Sprintf("%d dropped as never_a_peer, without an answer", dropped), func(s Stats) bool {
					return s.Dropped[DropNeverAPeer] == dropped && s.Answers == 0
				})
				c.wantsSilence("a service")
				c.conn.Close()
			}
		}
	})
}

// An answer that the kernel does not take costs the next stranger nothing.
func TestAnswerThatCannotLeaveIsNotCounted(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeGuarded(t, w, onAll4, guarded(peers.JoinCookie))
		c := newClient(t, at(r, "127.0.0.1"))
		c.tell(r, "udprelay join\n")
		c.tell(r, proofOf(c.getCookie(), ""))
		source := r.Peers().Lookup(c.addr).Path.Source.Load()
		before := r.Stats()
		b := newBatch()
		for _, from := range []string{"255.255.255.254:9", "127.0.0.1:9"} { // the first is a reserved address (RFC 1112), no route leads there from 127.0.0.1
			b.datagrams = append(b.datagrams, Datagram{[]byte("udprelay join\n"), netip.MustParseAddrPort(from)})
			b.sources = append(b.sources, source)
		}
		var counts tally
		r.admit(b, time.Now(), &counts)
		if counts.Answers != 1 || counts.AnswerBytes != 37 || counts.Dropped[DropUnproven] != 2 {
			t.Errorf("want one answer to two datagrams; got %d, %s, before %s", counts.Answers, show(counts.Stats), show(before))
		}
	})
}

// A flood of strangers, and peers over their limits, take no memory.
func TestDoorAndLimitsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates: this is tested without it")
		return
	}
	for _, w := range ways[:2] { // the plain loop makes no such promise
		for _, test := range []struct {
			name    string
			payload string
			join    peers.Join
			roomy   bool
		}{
			{"hellos, answered", "udprelay join\n", peers.JoinCookie, true},
			{"hellos, few answered", "udprelay join\n", peers.JoinCookie, false},
			{"keep-alives", "", peers.JoinCookie, true},
			{"bad proofs", "udprelay join 0123456789abcdef0123\n", peers.JoinCookie, true},
			{"bad proofs with a secret", proofOf("0123456789abcdef0123", "another secret"), peers.JoinSecret, true},
			{"what plain tools say", "some text", peers.JoinSecret, true},
		} {
			t.Run(w.name+"/"+test.name, func(t *testing.T) {
				options := guarded(test.join)
				options.Secret = []byte("the secret")
				r := makeRelay(t, w, onAll4, options)
				if test.roomy {
					r.receiving.door.cookies, r.receiving.door.empties = peers.NewAddressRate(1<<30), peers.NewAddressRate(1<<30)
				}
				sink := newSinks(t, "0.0.0.0", 1)[0]
				now := time.Now()
				var counts tally
				b, n := newBatch(), 0
				payload := []byte(test.payload)
				flood := func() {
					b.reset()
					for range maxBatch {
						n++
						from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, byte(n >> 16), byte(n >> 8), byte(n)}), sink.addr.Port())
						b.datagrams = append(b.datagrams, Datagram{payload, from})
						b.sources = append(b.sources, nil)
					}
					r.admit(b, now, &counts)
				}
				flood()
				if allocs := testing.AllocsPerRun(50, flood); allocs != 0 {
					t.Errorf("want no allocations for %d strangers; got %v", maxBatch, allocs)
				}
				if got := counts.Dropped[DropUnproven] + counts.Dropped[DropBadProof]; got != uint64(n) || len(r.Peers().Peers()) != 0 {
					t.Errorf("want %d strangers kept out; got %s", n, show(counts.Stats))
				}
				if answered := test.roomy && test.payload != "some text"; answered != (counts.Answers == uint64(n)) {
					t.Errorf("want all %d answered: %t; got %d", n, answered, counts.Answers)
				}
			})
		}
		t.Run(w.name+"/limits", func(t *testing.T) {
			options := defaults()
			options.Limits = Limits{PeerDatagrams: 1000, PeerBytes: 100_000, EgressBytes: 200_000}
			r := makeRelay(t, w, on4, options)
			r.Peers().SetStatic(addrsOf(newSinks(t, "127.0.0.1", 10)), time.Now())
			now := r.began.Add(time.Minute)
			var counts tally
			var spoken [4]netip.AddrPort
			for i := range spoken {
				spoken[i] = newClient(t, near(r)).addr
			}
			payloads := make([][]byte, maxBatch)
			for i := range payloads {
				payloads[i] = fmt.Appendf(nil, "%0*d", 100+i, i)
			}
			b := newBatch()
			talk := func() {
				now = now.Add(10 * time.Millisecond)
				b.reset()
				for i := range maxBatch {
					b.datagrams = append(b.datagrams, Datagram{payloads[i], spoken[i%len(spoken)]})
					b.sources = append(b.sources, nil)
				}
				r.admit(b, now, &counts)
				if err := r.relay(b, r.receiving.sender, nil, &counts); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				talk()
			}
			if allocs := testing.AllocsPerRun(100, talk); allocs != 0 {
				t.Errorf("want no allocations under limits; got %v", allocs)
			}
			if s := r.Stats(); s.Dropped[DropPeerRate] == 0 || s.Dropped[DropEgressLimit] == 0 || s.Delivered == 0 {
				t.Errorf("want drops as peer_rate and egress_limit; got %s", show(s))
			}
		})
	}
}
