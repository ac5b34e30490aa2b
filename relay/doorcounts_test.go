package relay

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"udprelay/peers"
)

func TestSendersAreCountedByWhatKeepsThemOut(t *testing.T) {
	options := guarded(peers.JoinSecret)
	options.Secret = []byte("the secret")
	options.Peers.JoinsPerSecond = 2
	options.Limits.PeerDatagrams = 3
	r := makeGuarded(t, ways[0], on4, options)
	tapped := &tap{socket: r.socket}
	r.socket = tapped
	now := time.Now()
	var counts tally
	hears := func(from netip.AddrPort, payload string) {
		t.Helper()
		before := counts.Received
		r.admit(heard(payload, from), now, &counts)
		if counts.Received != before+1 {
			t.Fatalf("want one more received; got %s", show(counts.Stats))
		}
	}
	wants := func(reason Drop, n uint64, whom netip.AddrPort) {
		t.Helper()
		if counts.Dropped[reason] != n || counts.whom[reason] != whom {
			t.Errorf("want %d dropped as %s, the last of %v; got %v, %s", n, reason, whom, counts.whom[reason], show(counts.Stats))
		}
	}
	for i := range uint16(4) {
		who := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), 40000+i)
		hears(who, "some text")
		wants(DropUnproven, uint64(2*i+1), who)
		hears(who, "udprelay join\n")
		wants(DropUnproven, uint64(2*i+2), who)
		cookie := tapped.lastCookie(t)
		hears(who, proofOf(cookie, "not the secret"))
		wants(DropBadProof, uint64(i+1), who)
		hears(who, proofOf(cookie, "the secret"))
		if i < 2 {
			if counts.KeepAlives != uint64(i+1) || r.Peers().Lookup(who) == nil {
				t.Errorf("want %v to join; got %s", who, show(counts.Stats))
			}
			for range 5 {
				hears(who, "text")
			}
			wants(DropPeerRate, uint64(2*i+2), who)
			continue
		}
		wants(DropJoinRate, uint64(i-1), who)
		if r.Peers().Lookup(who) != nil {
			t.Errorf("want %v to join later; it is a peer", who)
		}
	}
	// A second later there is room; the cookie is still good.
	now = now.Add(time.Second)
	late := netip.MustParseAddrPort("127.0.0.1:40003")
	hears(late, proofOf(tapped.lastCookie(t), "the secret"))
	if r.Peers().Lookup(late) == nil {
		t.Errorf("want %v to join a second later; got %s", late, show(counts.Stats))
	}
}

// A tap is a socket that remembers answers and sends none.
type tap struct {
	socket
	answers []reply
	deaf    bool // there is no room
}

func (s *tap) answer(to netip.AddrPort, _ *peers.Source, payload []byte) bool {
	if s.deaf {
		return false
	}
	s.answers = append(s.answers, reply{to, string(payload)})
	return true
}

func (s *tap) lastCookie(t testing.TB) string {
	t.Helper()
	for _, a := range slices.Backward(s.answers) {
		if match := cookieLine.FindStringSubmatch(a.payload); match != nil {
			return match[1]
		}
	}
	t.Fatal("want an answer with a cookie; got none")
	return ""
}

// Whoever sends what, whatever the rules: what is received is relayed, a
// keep-alive or dropped; nobody gets more than three times his bytes in
// answers; only who may is relayed.
func TestEveryDatagramIsRelayedKeepAliveOrDropped(t *testing.T) {
	hosts := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3", "198.51.100.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1", "224.0.0.1", "0.0.0.0"}
	ports := []uint16{0, 7, 1000, 1001, 1002}
	host := makeRelay(t, ways[0], on4, defaults())
	rapid.Check(t, func(t *rapid.T) {
		options := defaults()
		options.Secret = []byte(rapid.SampledFrom([]string{"", "the secret"}).Draw(t, "secret"))
		options.Peers.Max = rapid.SampledFrom([]int{0, 1, 4}).Draw(t, "max")
		options.Peers.MaxPerAddress = rapid.SampledFrom([]int{0, 1, 2}).Draw(t, "max per address")
		options.Peers.JoinsPerSecond = rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "joins a second")
		options.Peers.JoinsPerSecondPerAddress = rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "joins a second for each address")
		options.Limits.PeerDatagrams = rapid.SampledFrom([]int{0, 1, 5}).Draw(t, "datagrams")
		options.Limits.PeerBytes = rapid.SampledFrom([]int{0, 10, 100}).Draw(t, "bytes")
		options.Peers.Expiry = 10 * time.Second
		options.Peers.Access = nil
		for _, from := range []string{"192.0.2.1", "192.0.2.2", "198.51.100.0/24", "2001:db8::/64", "any"} {
			if rapid.Bool().Draw(t, "rule for "+from) {
				rule := joining(from, peers.Join(rapid.IntRange(0, 2).Draw(t, "join")))
				rule.May = peers.May(rapid.IntRange(0, 3).Draw(t, "may"))
				options.Peers.Access = append(options.Peers.Access, rule)
			}
		}
		tapped := &tap{socket: host.socket}
		r := &Relay{options: options, log: host.log, own: host.own, began: time.Now()}
		r.use(tapped)
		now := r.began.Add(time.Minute)
		cookies := make(map[netip.AddrPort]string)
		sent, answered := make(map[netip.AddrPort]int), make(map[netip.AddrPort]int)
		var counts tally
		var bytes, relayed uint64
		received := 0
		for range rapid.IntRange(1, 12).Draw(t, "batches") {
			now = now.Add(time.Duration(rapid.SampledFrom([]int{0, 1, 200, 1000, 11_000, 70_000}).Draw(t, "pause")) * time.Millisecond)
			r.table.Expire(now)
			tapped.deaf = rapid.IntRange(0, 9).Draw(t, "deaf") == 0
			b := newBatch()
			for range rapid.IntRange(1, 10).Draw(t, "datagrams") {
				from := netip.AddrPortFrom(netip.MustParseAddr(rapid.SampledFrom(hosts).Draw(t, "host")), rapid.SampledFrom(ports).Draw(t, "port"))
				text := rapid.SampledFrom([]string{"", "x", "udprelay join\n", "udprelay join 00000000000000000000", "cookie", "secret", strings.Repeat("long", 30)}).Draw(t, "text")
				switch text {
				case "cookie":
					text = proofOf(cookies[from], "")
				case "secret":
					text = proofOf(cookies[from], "the secret")
				}
				for range rapid.SampledFrom([]int{1, 1, 1, 3}).Draw(t, "times") {
					b.datagrams = append(b.datagrams, Datagram{[]byte(text), from})
					b.sources = append(b.sources, nil)
					received++
					bytes += uint64(len(text))
					sent[from] += len(text)
				}
			}
			was := counts
			senders := make(map[netip.AddrPort]bool)
			for _, d := range b.datagrams {
				senders[d.From] = true
			}
			strangers := make(map[netip.AddrPort]bool)
			for from := range senders {
				strangers[from] = r.table.Lookup(from) == nil
			}
			tapped.answers = nil
			r.admit(b, now, &counts)
			relayed += uint64(len(b.datagrams))
			if len(b.origins) != len(b.datagrams) {
				t.Fatalf("want an origin for each of %d datagrams; got %d", len(b.datagrams), len(b.origins))
			}
			for i, d := range b.datagrams {
				if p := b.origins[i]; p.Addr() != d.From && !(p.Sender() && p.Addr().Addr() == d.From.Addr()) || !p.MaySend() || len(d.Payload) == 0 {
					t.Fatalf("want only what peers that may send say; got %q of %v, origin %v", d.Payload, d.From, p.Addr())
				}
				if strangers[d.From] && strings.Contains(string(d.Payload), cookies[d.From]) && cookies[d.From] != "" && r.table.Lookup(d.From) == nil {
					t.Fatalf("want no proof of a stranger relayed; got %q", d.Payload)
				}
			}
			for _, a := range tapped.answers {
				answered[a.to] += len(a.payload)
				if !strangers[a.to] || !senders[a.to] {
					t.Fatalf("want answers only to strangers that asked; got %q to %v", a.payload, a.to)
				}
				if answered[a.to] > 3*sent[a.to] {
					t.Fatalf("want at most three times %d bytes answered to %v; got %d", sent[a.to], a.to, answered[a.to])
				}
				if match := cookieLine.FindStringSubmatch(a.payload); match != nil {
					cookies[a.to] = match[1]
				} else if a.payload != "" {
					t.Fatalf("want a cookie or nothing in an answer; got %q", a.payload)
				}
			}
			answers, answerBytes := len(tapped.answers), 0
			for _, a := range tapped.answers {
				answerBytes += len(a.payload)
			}
			if counts.Answers != was.Answers+uint64(answers) || counts.AnswerBytes != was.AnswerBytes+uint64(answerBytes) {
				t.Fatalf("want %d answers of %d bytes counted; got %d and %d", answers, answerBytes, counts.Answers-was.Answers, counts.AnswerBytes-was.AnswerBytes)
			}
			for _, reason := range Drops() {
				if counts.Dropped[reason] != was.Dropped[reason] && !senders[counts.whom[reason]] {
					t.Fatalf("want a drop as %s to name its sender; got %v", reason, counts.whom[reason])
				}
			}
			if learned, _ := r.table.Counts(); options.Peers.Max > 0 && learned > options.Peers.Max {
				t.Fatalf("want at most %d peers; got %d", options.Peers.Max, learned)
			}
		}
		if counts.Received != uint64(received) || counts.ReceivedBytes != bytes || counts.Received != relayed+counts.KeepAlives+sumDrops(counts.Stats) {
			t.Fatalf("want %d received (%d bytes) = relayed + keep-alives + drops; got %d relayed, %s", received, bytes, relayed, show(counts.Stats))
		}
	})
}

// What a peer may do holds for those, too, that have proved themselves.
func TestPeersOfADoorDoWhatTheyMay(t *testing.T) {
	needLoopback(t)
	eachWay(t, func(t *testing.T, w way) {
		for _, join := range []peers.Join{peers.JoinOpen, peers.JoinCookie, peers.JoinSecret} {
			t.Run(join.String(), func(t *testing.T) {
				options := guarded(join)
				options.Secret = []byte("the secret")
				options.Peers.Access = nil
				for host, may := range map[string]peers.May{"127.0.0.1": peers.MayBoth, "127.0.0.2": peers.MayReceive, "127.0.0.3": peers.MaySend, "127.0.0.4": peers.MayNothing} {
					rule := joining(host, join)
					rule.May = may
					options.Peers.Access = append(options.Peers.Access, rule)
				}
				r := startGuarded(t, w, onAll4, options)
				enter := func(host string) *client {
					c := newClientAt(t, netip.AddrPortFrom(netip.MustParseAddr(host), 0), at(r, "127.0.0.1"))
					switch join {
					case peers.JoinOpen:
						c.join(r)
					default:
						c.prove(r, "the secret")
					}
					return c
				}
				one, two, listener, speaker := enter("127.0.0.1"), enter("127.0.0.1"), enter("127.0.0.2"), enter("127.0.0.3")
				nobody := newClientAt(t, netip.MustParseAddrPort("127.0.0.4:0"), at(r, "127.0.0.1"))
				before := r.Stats()
				nobody.send("udprelay join\n")
				nobody.send("")
				awaitStats(t, r, "2 dropped by rule, without an answer", func(s Stats) bool { return s.Dropped[DropRule] == 2 && s.Answers == before.Answers })

				p := r.Peers().Lookup(listener.addr)
				last, _ := r.Peers().LastHeard(p)
				listener.send("of one who may only receive")
				awaitStats(t, r, "1 dropped as may_not_send", func(s Stats) bool { return s.Dropped[DropMayNotSend] == 1 })
				if heard, _ := r.Peers().LastHeard(p); !heard.After(last) {
					t.Errorf("want a datagram of one who may only receive to refresh it; it was last heard at %v, before at %v", heard, last)
				}
				speaker.send("of one who may only send")
				for _, c := range []*client{one, two, listener} {
					c.wants("of one who may only send")
				}
				one.send("of one who may both")
				two.wants("of one who may both")
				listener.wants("of one who may both")
				two.send("the end")
				one.wants("the end")
				listener.wants("the end")
				awaitStats(t, r, "7 delivered", func(s Stats) bool { return s.Delivered == 7 })
				speaker.wantsSilence("who may only send")
				nobody.wantsSilence("who may nothing")
			})
		}
	})
}
