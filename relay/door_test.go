package relay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"udprelay/internal/proof"
	"udprelay/peers"
)

// joining is a rule by which all at host must prove themselves so.
func joining(host string, join peers.Join) peers.Rule {
	r := rule(host, peers.MayBoth)
	r.Join = join
	return r
}

// guarded returns options by which everyone must prove himself so.
func guarded(join peers.Join) Options {
	options := defaults()
	options.Peers.Access = []peers.Rule{joining("any", join)}
	return options
}

// makeGuarded returns a relay that does not run and answers whoever asks:
// otherwise the clients of a loopback interface share the answers for one
// address.
func makeGuarded(t testing.TB, w way, place string, options Options) *Relay {
	t.Helper()
	r := makeRelay(t, w, place, options)
	r.receiving.door.cookies, r.receiving.door.empties = peers.NewAddressRate(1<<20), peers.NewAddressRate(1<<20)
	return r
}

func startGuarded(t testing.TB, w way, place string, options Options) *Relay {
	t.Helper()
	r := makeGuarded(t, w, place, options)
	run(t, r)
	return r
}

var cookieLine = regexp.MustCompile(`^udprelay cookie ([0-9a-f]{20})\n$`)

// getCookie receives an answer and returns the cookie in it.
func (c *client) getCookie() string {
	c.t.Helper()
	answer := c.receive()
	match := cookieLine.FindStringSubmatch(answer)
	if match == nil {
		c.t.Fatalf("want a cookie at %v; got %s", c.addr, short(answer))
	}
	return match[1]
}

func (c *client) askCookie() string {
	c.t.Helper()
	c.send("udprelay join\n")
	return c.getCookie()
}

// prove makes the client a peer of r, which runs.
func (c *client) prove(r *Relay, secret string) {
	c.t.Helper()
	c.send(proofOf(c.askCookie(), secret))
	await(c.t, func() bool { return r.Peers().Lookup(c.addr) != nil }, "want "+c.addr.String()+" to be a peer by its proof; it is none")
}

// proofOf is the line that answers a cookie, made as with
// "openssl dgst -sha256 -hmac secret"; without a secret if that is empty.
func proofOf(cookie, secret string) string {
	if secret == "" {
		return "udprelay join " + cookie + "\n"
	}
	return "udprelay join " + cookie + " " + hexMAC(cookie, secret) + "\n"
}

func hexMAC(cookie, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(cookie))
	return hex.EncodeToString(mac.Sum(nil))
}

// wantsSilence fails the test if anything has come. What a relay of the same
// system has sent is there when it has been counted.
func (c *client) wantsSilence(why string) {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	buffer := make([]byte, maxDatagram)
	if n, err := c.conn.Read(buffer); !errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("%s: want nothing at %v; got %s, error %v", why, c.addr, short(string(buffer[:max(n, 0)])), err)
	}
}

// tell sends a datagram to r, which does not run, and has it received.
func (c *client) tell(r *Relay, payload string) {
	c.t.Helper()
	c.send(payload)
	before := r.Stats().Received
	for r.Stats().Received == before {
		if err := r.step(); err != nil {
			c.t.Fatal(err)
		}
	}
}

// joinsByHand has a client at each host join with a cookie, while others speak.
func joinsByHand(t *testing.T, r *Relay, clients ...*client) {
	t.Helper()
	members := []*client{clients[0], clients[1]}
	for _, c := range members {
		c.prove(r, "")
	}
	said := 0
	chat := func(listeners ...*client) {
		t.Helper()
		for i, c := range members {
			said++
			text := fmt.Sprintf("datagram %d, by %v", said, c.addr)
			c.send(text)
			for j, other := range members {
				if j != i {
					other.wants(text)
				}
			}
			for _, l := range listeners {
				l.wants(text)
			}
		}
	}
	for n, c := range clients[2:] {
		chat()
		c.send("early")
		chat()
		c.send("what a plain tool says")
		if first, second := c.getCookie(), c.askCookie(); first != second {
			t.Errorf("want the same cookie %q again within a minute; got %q", first, second)
		}
		cookie := c.askCookie()
		chat()
		if r.Peers().Lookup(c.addr) != nil {
			t.Fatalf("want %v to be no peer before its proof; it is", c.addr)
		}
		c.send("udprelay join " + cookie + []string{"\n", "", "\r\n", " \n"}[n%4])
		await(t, func() bool { return r.Peers().Lookup(c.addr) != nil }, "want "+c.addr.String()+" to be a peer by its proof; it is none")
		chat(c)
		// From here on what it says is opaque.
		for _, text := range []string{"hello", "udprelay join " + cookie + "\n", "udprelay join\n", "udprelay cookie " + cookie + "\n"} {
			c.send(text)
			for _, other := range members {
				other.wants(text)
			}
		}
		// The first two were answered once each.
		proofs, cookies, unproven := uint64(2+n+1), uint64(2+3*(n+1)), uint64(2+4*(n+1))
		awaitStats(t, r, fmt.Sprintf("%d proofs, %d cookies, %d unproven, no other drops", proofs, cookies, unproven), func(s Stats) bool {
			return s.KeepAlives == proofs && s.Answers == cookies && s.AnswerBytes == 37*cookies && s.Dropped[DropUnproven] == unproven && sumDrops(s) == unproven
		})
		members = append(members, c)
	}
	chat()
}

func sumDrops(s Stats) (sum uint64) {
	for _, n := range s.Dropped {
		sum += n
	}
	return sum
}

func TestSenderJoinsByHandWithACookie(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range []struct {
			listen string
			hosts  []string
		}{
			{on4, []string{"127.0.0.1"}}, {on6, []string{"::1"}}, {onAll4, []string{"127.0.0.1"}}, {onAll, []string{"127.0.0.1", "::1"}},
		} {
			t.Run(place.listen, func(t *testing.T) {
				r := startGuarded(t, w, place.listen, guarded(peers.JoinCookie))
				var clients []*client
				for n := range 6 {
					clients = append(clients, newClient(t, at(r, place.hosts[n%len(place.hosts)])))
				}
				joinsByHand(t, r, clients...)
			})
		}
	})
}

// A proof may be followed at once by what the sender has to say: it is received
// in one batch, in which it also was no peer yet.
func TestSenderThatJoinsInTheMiddleOfABatchIsRelayed(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		r := makeGuarded(t, w, on4, guarded(peers.JoinCookie))
		member, joiner, other := newClient(t, near(r)), newClient(t, near(r)), newClient(t, near(r))
		member.tell(r, "udprelay join\n")
		member.tell(r, proofOf(member.getCookie(), ""))
		joiner.tell(r, "udprelay join\n")
		other.tell(r, "udprelay join\n")
		cookie, second := joiner.getCookie(), other.getCookie()
		before := r.Stats()
		joiner.send("too early")
		joiner.send(proofOf(cookie, ""))
		joiner.send("one")
		member.send("in between")
		joiner.send("two")
		other.send(proofOf(second, ""))
		joiner.send("three")
		joiner.send("")
		other.send("four")
		for r.Stats().Received < before.Received+9 {
			if err := r.step(); err != nil {
				t.Fatal(err)
			}
		}
		member.wants("one", "two", "three", "four")
		s := r.Stats()
		if s.KeepAlives != before.KeepAlives+3 || s.Dropped[DropUnproven] != before.Dropped[DropUnproven]+1 || s.Answers != before.Answers {
			t.Errorf("want 3 keep-alives, 2 of them proofs, and one drop as unproven, without an answer; got %s", show(s))
		}
		// Who had joined when the batch was sent gets it, and nobody his own.
		if r.Way() != (&plainSocket{}).way() {
			joiner.wants("in between", "four")
			other.wants("one", "in between", "two", "three")
		} else {
			joiner.wants("in between", "four")
			other.wants("three")
		}
		for _, c := range []*client{member, joiner, other} {
			c.wantsSilence("after the batch")
		}
	})
}

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
				r.Peers().Admit(netip.MustParseAddrPort("127.0.0.1:1"), time.Now()) // takes the one place, if there is one
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
		r.Peers().Admit(netip.MustParseAddrPort("127.0.0.1:1"), time.Now())
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

func TestOnlyWhoKnowsTheSecretJoins(t *testing.T) {
	const secret = "correct horse battery staple"
	eachWay(t, func(t *testing.T, w way) {
		var mu sync.Mutex
		var log strings.Builder
		options := guarded(peers.JoinSecret)
		options.Secret = []byte(secret)
		options.Logger = slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return log.Write(p)
		}), &slog.HandlerOptions{Level: slog.LevelDebug}))
		r := makeGuarded(t, w, on4, options)
		stop := run(t, r)
		member := newClient(t, near(r))
		member.prove(r, secret)
		stranger := newClient(t, near(r))
		others := newClient(t, near(r)).askCookie()
		cookie := stranger.askCookie()
		right := hexMAC(cookie, secret)
		bad := uint64(0)
		for what, text := range map[string]string{
			"no HMAC":                               proofOf(cookie, ""),
			"no HMAC but a blank":                   "udprelay join " + cookie + " \n",
			"the HMAC under another secret":         proofOf(cookie, secret+"r"),
			"the HMAC under no secret":              "udprelay join " + cookie + " " + hex.EncodeToString(hmac.New(sha256.New, nil).Sum(nil)) + "\n",
			"the HMAC of another's cookie":          "udprelay join " + cookie + " " + hexMAC(others, secret) + "\n",
			"another's cookie and its HMAC":         proofOf(others, secret),
			"another's cookie and the right HMAC":   "udprelay join " + others + " " + right + "\n",
			"the HMAC without its last digit":       "udprelay join " + cookie + " " + right[:63] + "\n",
			"the HMAC and a digit more":             "udprelay join " + cookie + " " + right + "0",
			"the HMAC twice as blank":               "udprelay join " + cookie + "  " + right + "\n",
			"the secret itself":                     "udprelay join " + cookie + " " + secret + "\n",
			"the cookie as HMAC":                    "udprelay join " + cookie + " " + cookie + "\n",
			"the HMAC of the cookie and line's end": "udprelay join " + cookie + " " + hexMAC(cookie+"\n", secret) + "\n",
		} {
			stranger.send(text)
			bad++
			awaitStats(t, r, fmt.Sprintf("%s: %d dropped as bad_proof", what, bad), func(s Stats) bool { return s.Dropped[DropBadProof] == bad })
			if got := stranger.getCookie(); got != cookie || r.Peers().Lookup(stranger.addr) != nil {
				t.Fatalf("%s: want it to be no peer, and told the cookie %s; got %s", what, cookie, got)
			}
		}
		stranger.send("udprelay join " + cookie + " " + right + "\n")
		await(t, func() bool { return r.Peers().Lookup(stranger.addr) != nil }, "want who has the right HMAC to be a peer; it is none")
		wantsNothingBefore("hello", stranger, member)
		wantsNothingBefore("welcome", member, stranger)
		stop()
		mu.Lock()
		defer mu.Unlock()
		for _, word := range []string{secret, hex.EncodeToString([]byte(secret)), right, "horse"} {
			if strings.Contains(log.String(), word) {
				t.Errorf("want nothing of the secret in the log; got %q in\n%s", word, log.String())
			}
		}
		if !strings.Contains(log.String(), "peer joined") || !strings.Contains(log.String(), "bad_proof") {
			t.Errorf("want the log to have something to look through; got\n%s", log.String())
		}
	})
}

func TestWithoutASecretNobodyKnowsIt(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for _, none := range [][]byte{nil, {}} {
			options := guarded(peers.JoinSecret)
			options.Secret = none
			r := makeGuarded(t, w, on4, options)
			c := newClient(t, near(r))
			c.tell(r, "udprelay join\n")
			cookie := c.getCookie()
			for i, text := range []string{
				proofOf(cookie, ""), proofOf(cookie, "the secret"), "udprelay join " + cookie + " ", string(proof.Join(cookie, []byte{})), string(proof.Join(cookie, nil)),
			} {
				c.tell(r, text)
				if s := r.Stats(); s.Dropped[DropBadProof] != uint64(i+1) || len(r.Peers().Peers()) != 0 {
					t.Fatalf("%q: want it dropped as bad_proof, and no peer; got %s", text, show(s))
				}
			}
		}
	})
}

// letPass has r, which does not run, think that so much more time has gone by.
func letPass(r *Relay, d time.Duration) { r.began = r.began.Add(-d) }

func TestForgedProofLetsNobodyIn(t *testing.T) {
	needIPv6(t)
	flip := func(cookie string, at int) string {
		digit := "0"
		if cookie[at] == '0' {
			digit = "1"
		}
		return cookie[:at] + digit + cookie[at+1:]
	}
	eachWay(t, func(t *testing.T, w way) {
		for _, place := range []struct{ listen, host, other string }{{onAll, "127.0.0.1", "::1"}, {onAll, "::1", "127.0.0.1"}} {
			r := makeGuarded(t, w, place.listen, guarded(peers.JoinCookie))
			honest, otherPort, otherHost := newClient(t, at(r, place.host)), newClient(t, at(r, place.host)), newClient(t, at(r, place.other))
			honest.tell(r, "udprelay join\n")
			cookie := honest.getCookie()
			bad := uint64(0)
			for _, test := range []struct {
				what, text string
				from       *client
			}{
				{"from another port", proofOf(cookie, ""), otherPort},
				{"from another address", proofOf(cookie, ""), otherHost},
				{"truncated", proofOf(cookie[:19], ""), honest},
				{"truncated to one digit", proofOf(cookie[:1], ""), honest},
				{"extended", proofOf(cookie+"0", ""), honest},
				{"twice", proofOf(cookie+cookie, ""), honest},
				{"with text after it", "udprelay join " + cookie + "\nhello", honest},
				{"in capitals", proofOf("ABCDEF"+cookie[6:], ""), honest},
				{"first digit forged", proofOf(flip(cookie, 0), ""), honest},
				{"last digit forged", proofOf(flip(cookie, 19), ""), honest},
				{"of zeros", proofOf(strings.Repeat("0", 20), ""), honest},
				{"of bytes", proofOf(strings.Repeat("\xff", 20), ""), honest},
			} {
				test.from.tell(r, test.text)
				bad++
				if s := r.Stats(); s.Dropped[DropBadProof] != bad || len(r.Peers().Peers()) != 0 || r.counters.lastDropped(DropBadProof) != test.from.addr {
					t.Fatalf("%s: want %v dropped as bad_proof, and no peer; got %s", test.what, test.from.addr, show(s))
				}
				fresh := test.from.getCookie()
				if test.from == honest && fresh != cookie || test.from != honest && fresh == cookie {
					t.Errorf("%s: want another's cookie only for himself, %s; got %s", test.what, cookie, fresh)
				}
			}
			for _, text := range []string{"udprelay join " + cookie + strings.Repeat(" ", 100), "Udprelay join " + cookie, " udprelay join " + cookie, "udprelay join" + cookie, "udprelay join  " + cookie} {
				unproven := r.Stats().Dropped[DropUnproven]
				honest.tell(r, text)
				honest.getCookie()
				if s := r.Stats(); s.Dropped[DropUnproven] != unproven+1 || len(r.Peers().Peers()) != 0 {
					t.Fatalf("%q: want it dropped as unproven; got %s", text, show(s))
				}
			}
			// An honest retry works, for each of them.
			for _, c := range []*client{honest, otherPort, otherHost} {
				c.tell(r, "udprelay join\n")
				c.tell(r, proofOf(c.getCookie(), ""))
				if r.Peers().Lookup(c.addr) == nil {
					t.Errorf("want %v to join after bad proofs; it is no peer", c.addr)
				}
			}
		}
	})
}

func TestCookieIsGoodForAMinuteOrTwo(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		for _, test := range []struct {
			age  time.Duration
			good bool
		}{{0, true}, {50 * time.Second, true}, {time.Minute, true}, {2 * time.Minute, false}, {3 * time.Minute, false}, {24 * time.Hour, false}} {
			r := makeGuarded(t, w, on4, guarded(peers.JoinCookie))
			c := newClient(t, near(r))
			c.tell(r, "udprelay join\n")
			cookie := c.getCookie()
			letPass(r, test.age)
			c.tell(r, proofOf(cookie, ""))
			if got := r.Peers().Lookup(c.addr) != nil; got != test.good {
				t.Fatalf("a cookie of %v: want it good: %t; got %t, %s", test.age, test.good, got, show(r.Stats()))
			}
			if test.good {
				continue
			}
			if s := r.Stats(); s.Dropped[DropBadProof] != 1 {
				t.Errorf("a cookie of %v: want it dropped as bad_proof; got %s", test.age, show(s))
			}
			fresh := c.getCookie() // the answer to the bad proof
			c.tell(r, proofOf(fresh, ""))
			if fresh == cookie || r.Peers().Lookup(c.addr) == nil {
				t.Errorf("a cookie of %v: want another one that is good; got %s after %s, %s", test.age, fresh, cookie, show(r.Stats()))
			}
		}
	})
}

func TestCookieOfARelayBeforeIsNoGood(t *testing.T) {
	eachWay(t, func(t *testing.T, w way) {
		options := guarded(peers.JoinSecret)
		options.Secret = []byte("the secret")
		first := makeGuarded(t, w, on4, options)
		c := newClient(t, near(first))
		c.tell(first, "udprelay join\n")
		cookie := c.getCookie()
		if err := first.socket.close(); err != nil {
			t.Fatal(err)
		}
		conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(first.Addr()))
		if err != nil {
			t.Fatal(err)
		}
		r, err := w.make(conn, options)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.socket.close() })
		c.tell(r, proofOf(cookie, "the secret"))
		if s := r.Stats(); s.Dropped[DropBadProof] != 1 || len(r.Peers().Peers()) != 0 {
			t.Errorf("want a cookie of the relay before dropped as bad_proof; got %s", show(s))
		}
		c.tell(r, proofOf(c.getCookie(), "the secret"))
		if r.Peers().Lookup(c.addr) == nil {
			t.Errorf("want the retry to work; got %s", show(r.Stats()))
		}
	})
}

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

type reply struct {
	to      netip.AddrPort
	payload string
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
				if p := b.origins[i]; p.Addr() != d.From || !p.MaySend() || len(d.Payload) == 0 {
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
