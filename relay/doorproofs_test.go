package relay

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"udprelay/internal/proof"
	"udprelay/internal/testlog"
	"udprelay/peers"
)

func TestOnlyWhoKnowsTheSecretJoins(t *testing.T) {
	const secret = "correct horse battery staple"
	eachWay(t, func(t *testing.T, w way) {
		log := new(testlog.Log)
		options := guarded(peers.JoinSecret)
		options.Secret = []byte(secret)
		options.Logger = log.Logger()
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
		for _, word := range []string{secret, hex.EncodeToString([]byte(secret)), right, "horse"} {
			if log.Has(word) {
				t.Errorf("want nothing of the secret in the log; got %q in\n%s", word, log.String())
			}
		}
		if !log.Has("peer joined") || !log.Has("bad_proof") {
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
