package relay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"testing"
	"time"

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

type reply struct {
	to      netip.AddrPort
	payload string
}
