package relay

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"udprelay/peers"
)

// An answer is at most three times as long as what it answers (RFC 9000,
// section 8.1).
func TestAnswerIsAtMostThreeTimesAsLong(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startGuarded(t, w, on4, guarded(peers.JoinCookie))
		texts := make(map[string]string)
		for size := range 61 {
			texts[fmt.Sprintf("%d bytes", size)] = strings.Repeat("x", size)
			texts[fmt.Sprintf("%d bytes of a proof", size)] = ("udprelay join " + strings.Repeat("0", 50))[:size]
		}
		texts["1472 bytes"], texts["65507 bytes"] = strings.Repeat("x", 1472), strings.Repeat("x", 65507)
		received := uint64(0)
		for what, text := range texts {
			c := newClient(t, near(r))
			before := r.Stats()
			c.send(text)
			received++
			awaitStats(t, r, "it received", func(s Stats) bool { return s.Received == received })
			s := r.Stats()
			answers, bytes := s.Answers-before.Answers, s.AnswerBytes-before.AnswerBytes
			switch {
			case len(text) == 0:
				c.wants("")
				if answers != 1 || bytes != 0 {
					t.Errorf("%s: want one answer, empty; got %d, %d bytes", what, answers, bytes)
				}
			case len(text) >= 13:
				c.getCookie()
				if answers != 1 || bytes != 37 || bytes > 3*uint64(len(text)) {
					t.Errorf("%s: want one answer of 37 bytes; got %d, %d bytes", what, answers, bytes)
				}
			default:
				if answers != 0 || bytes != 0 {
					t.Errorf("%s: want no answer; got %d, %d bytes", what, answers, bytes)
				}
			}
			c.wantsSilence(what)
			c.conn.Close()
		}
		if got := len(r.Peers().Peers()); got != 0 {
			t.Errorf("want no peer; got %d", got)
		}
	})
}

// tellsApart returns a rate that has a bucket of its own for each of addrs. It
// is as new from a second on.
func tellsApart(perSecond int, addrs ...netip.Addr) *peers.AddressRate {
	for {
		rate, apart := peers.NewAddressRate(perSecond), true
		for _, addr := range addrs {
			for range perSecond {
				apart = rate.Take(addr, 0) && apart
			}
		}
		if apart {
			return rate
		}
	}
}

func TestAddressGetsFiveAnswersASecond(t *testing.T) {
	needIPv6(t)
	texts := []string{"udprelay join\n", "some other text", "udprelay join 0123456789abcdef0123"}
	eachWay(t, func(t *testing.T, w way) {
		r := makeRelay(t, w, onAll, guarded(peers.JoinCookie))
		hosts := []string{"127.0.0.1", "::1"}
		r.receiving.door.cookies = tellsApart(answersPerSecond, netip.MustParseAddr(hosts[0]), netip.MustParseAddr(hosts[1]))
		for _, host := range hosts {
			clients := []*client{newClient(t, at(r, host)), newClient(t, at(r, host))}
			now := r.began.Add(time.Minute)
			for _, step := range []struct {
				after time.Duration
				want  int
			}{{0, 5}, {0, 0}, {200 * time.Millisecond, 1}, {time.Second, 4}, {time.Minute, 5}} {
				var counts tally
				for n := range 100 {
					from := clients[n%2] // ports are one address
					b := heard(texts[n%len(texts)], from.addr)
					r.admit(b, now.Add(step.after), &counts)
				}
				if counts.Answers != uint64(step.want) || counts.Dropped[DropUnproven]+counts.Dropped[DropBadProof] != 100 {
					t.Errorf("%s, after %v: want %d answers to 100 datagrams; got %d, %s", host, step.after, step.want, counts.Answers, show(counts.Stats))
				}
			}
		}
	})
}

// As a flood of one address is in fact: whatever the clock does, it gets no
// more than five answers and five for each second that has gone by.
func TestWhoAsksAllTheTimeGetsFewAnswers(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := startRelay(t, w, on4, guarded(peers.JoinCookie))
		c := newClient(t, near(r))
		began := time.Now()
		for range 100 {
			c.send("udprelay join\n")
		}
		awaitStats(t, r, "100 received", func(s Stats) bool { return s.Received == 100 })
		most := 5 + uint64(time.Since(began)/(200*time.Millisecond)) + 1
		s := r.Stats()
		if s.Answers < 5 || s.Answers > most || s.AnswerBytes != 37*s.Answers || s.Dropped[DropUnproven] != 100 {
			t.Errorf("want 5 to %d answers of 37 bytes, and 100 drops as unproven; got %d, %d bytes, %s", most, s.Answers, s.AnswerBytes, show(s))
		}
		for range s.Answers {
			c.getCookie()
		}
		c.wantsSilence("after the answers")
	})
}

// Whom nothing can help to get in is told nothing.
func TestWhoCannotGetInGetsNoAnswer(t *testing.T) {
	wordy := []string{"udprelay join\n", "", "udprelay join 0123456789abcdef0123\n", "some text"}
	silent := func(t *testing.T, r *Relay, reason Drop, c *client) {
		t.Helper()
		before := r.Stats()
		for _, text := range wordy {
			c.tell(r, text)
		}
		s := r.Stats()
		if s.Answers != before.Answers || s.Dropped[reason] != before.Dropped[reason]+4 || r.Peers().Lookup(c.addr) != nil {
			t.Errorf("want no answer and 4 drops as %s; got %d answers, %s", reason, s.Answers-before.Answers, show(s))
		}
		if got := r.counters.lastDropped(reason); got != c.addr {
			t.Errorf("want drops as %s to name %v; got %v", reason, c.addr, got)
		}
		c.wantsSilence(reason.String())
	}
	eachWay(t, func(t *testing.T, w way) {
		for _, join := range []peers.Join{peers.JoinCookie, peers.JoinSecret} {
			nothing := joining("127.0.0.0/8", join)
			nothing.May = peers.MayNothing
			for _, test := range []struct {
				reason Drop
				change func(*peers.Options)
			}{
				{DropRule, func(o *peers.Options) { o.Access = nil }},
				{DropRule, func(o *peers.Options) { o.Access = []peers.Rule{joining("192.0.2.0/24", join)} }},
				{DropRule, func(o *peers.Options) { o.Access = []peers.Rule{nothing, joining("any", join)} }},
				{DropTableFull, func(o *peers.Options) { o.Max = 1 }},
				{DropAddressFull, func(o *peers.Options) { o.MaxPerAddress = 1 }},
			} {
				options := guarded(join)
				options.Secret = []byte("the secret")
				test.change(&options.Peers)
				r := makeGuarded(t, w, on4, options)
				r.Peers().Admit(netip.MustParseAddrPort("127.0.0.1:1"), time.Now(), peers.JoinSecret) // takes the one place, if there is one
				silent(t, r, test.reason, newClient(t, near(r)))
			}
		}
		// Between the cookie and the proof somebody has taken the place.
		options := guarded(peers.JoinCookie)
		options.Peers.Max = 1
		r := makeGuarded(t, w, on4, options)
		c := newClient(t, near(r))
		c.tell(r, "udprelay join\n")
		cookie := c.getCookie()
		r.Peers().Admit(netip.MustParseAddrPort("127.0.0.1:1"), time.Now(), peers.JoinSecret)
		c.tell(r, proofOf(cookie, ""))
		if s := r.Stats(); s.Dropped[DropTableFull] != 1 || s.Answers != 1 || r.counters.lastDropped(DropTableFull) != c.addr {
			t.Errorf("want the proof dropped as table_full, without an answer; got %s", show(s))
		}
		c.wantsSilence("a proof for a full table")
	})
}

func TestAddressesThatCanBeNoPeerGetNoAnswer(t *testing.T) {
	for _, text := range []string{"udprelay join\n", "", "udprelay join 0123456789abcdef0123\n"} {
		r := makeGuarded(t, ways[0], on4, guarded(peers.JoinCookie))
		tapped := &tap{socket: r.socket}
		r.socket = tapped
		for _, from := range []string{
			"127.0.0.1:7", "127.0.0.1:13", "127.0.0.1:17", "127.0.0.1:19", "[::1]:7", "[::1]:19", "127.0.0.1:0", "0.0.0.0:9000",
			"224.0.0.1:9000", "255.255.255.255:9000", "[ff02::1]:9000", "[::]:9000", r.Addr().String(),
		} {
			var counts tally
			r.admit(heard(text, netip.MustParseAddrPort(from)), time.Now(), &counts)
			if counts.Answers != 0 || len(tapped.answers) != 0 || counts.Dropped[DropNeverAPeer] != 1 {
				t.Errorf("%q from %s: want no answer and a drop as never_a_peer; got %s", text, from, show(counts.Stats))
			}
		}
	}
}

// An empty datagram is answered with an empty one, so a relay that gets one
// from another relay must not answer for ever.
func TestRelaysDoNotAnswerEachOtherForEver(t *testing.T) {
	for _, roundTrip := range []time.Duration{time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, 900 * time.Millisecond} {
		for _, payload := range []string{"", "udprelay join\n"} {
			a, b := makeRelay(t, ways[0], on4, guarded(peers.JoinCookie)), makeRelay(t, ways[0], on4, guarded(peers.JoinCookie))
			now, answers := max(a.began.UnixNano(), b.began.UnixNano()), 0
			ends := []*Relay{a, b}
			for ; answers < 20; answers++ {
				now += int64(roundTrip / 2)
				var counts tally
				from := ends[(answers+1)%2].Addr()
				ends[answers%2].admit(heard(payload, from), time.Unix(0, now), &counts)
				if counts.Answers == 0 {
					break
				}
				payload = ""
				if counts.AnswerBytes > 0 {
					payload = "udprelay cookie 0123456789abcdef0123\n"
				}
			}
			if answers > 5 {
				t.Errorf("round trip %v: want relays that answer each other to stop, got %d answers", roundTrip, answers)
			}
		}
	}
}

// A client asks with an empty datagram after each proof, and must hear the no.
func TestQuestionAfterARefusedProofIsAnswered(t *testing.T) {
	r := makeRelay(t, ways[0], on4, guarded(peers.JoinCookie))
	c := newClient(t, r.Addr())
	now := r.began.Add(time.Minute)
	for _, step := range []struct {
		payload string
		answers uint64
	}{
		{"", 1}, {"", 1}, {"", 0}, {"udprelay join\n", 1}, {"udprelay join 0123456789abcdef0123\n", 1}, {"", 1}, {"udprelay join\n", 1},
		{"", 1},
	} {
		now = now.Add(100 * time.Millisecond)
		var counts tally
		r.admit(heard(step.payload, c.addr), now, &counts)
		if counts.Answers != step.answers {
			t.Errorf("%q: want %d answers; got %d", step.payload, step.answers, counts.Answers)
		}
	}
}
