package proof

import (
	"encoding/hex"
	"strings"
	"testing"
)

// printf 0a1b2c3d4e5f60718293 | openssl dgst -sha256 -hmac 'correct horse battery staple'
const (
	vectorCookie = "0a1b2c3d4e5f60718293"
	vectorMAC    = "a9f80dac7afdfb70bd32c561138145740498c9245583e4391972e1086c9f92e8"
)

// So that a shell script can join without our client.
func TestJoinGivesTheHMACThatOpensslGives(t *testing.T) {
	if want, got := "udprelay join "+vectorCookie+" "+vectorMAC+"\n", string(Join(vectorCookie, theSecret)); got != want {
		t.Errorf("Join: want %q, got %q", want, got)
	}
	if want, got := vectorMAC, macOf(vectorCookie, theSecret); got != want {
		t.Errorf("crypto/hmac: want %s, got %s", want, got)
	}
}

// The longest proof that is looked at is the longest that is right.
func TestLongestProofIsLookedAt(t *testing.T) {
	longest := strings.TrimSuffix(string(Join(vectorCookie, theSecret)), "\n") + "\r\n"
	if got := len(longest); got != maxProof {
		t.Fatalf("want %d bytes, got %d", maxProof, got)
	}
	if cookie, mac, ok := parse([]byte(longest)); !ok || string(cookie) != vectorCookie || string(mac) != vectorMAC {
		t.Errorf("parse(%q): want its cookie and HMAC, got %q, %q and %v", longest, cookie, mac, ok)
	}
	if _, _, ok := parse([]byte(longest + "\n")); ok {
		t.Errorf("parse: want %d bytes to be something else, got a proof", maxProof+1)
	}
}

func TestCookieIsFoundOnlyInTheRelaysAnswer(t *testing.T) {
	for payload, want := range map[string]string{
		"udprelay cookie " + vectorCookie + "\n":         vectorCookie,
		"udprelay cookie " + vectorCookie + "\r\n":       vectorCookie,
		"udprelay cookie " + vectorCookie:                vectorCookie,
		"udprelay cookie " + vectorCookie + " \n":        "",
		"udprelay cookie " + vectorCookie + "0\n":        "",
		"udprelay cookie " + vectorCookie[1:] + "\n":     "",
		"udprelay cookie " + vectorCookie[1:] + "g\n":    "",
		"udprelay cookie g" + vectorCookie[1:] + "\n":    "",
		"udprelay cookie  " + vectorCookie[1:] + "\n":    "",
		"udprelay cookie \n":                             "",
		"udprelay join " + vectorCookie + "\n":           "",
		"\nudprelay cookie " + vectorCookie + "\n":       "",
		"UDPRELAY COOKIE " + vectorCookie + "\n":         "",
		"udprelay cookie " + vectorCookie + "\nand more": "",
		"udprelay cookie " + strings.Repeat("\x00", 20):  "",
		"telemetry that happens to come first":           "",
		"":                                               "",
	} {
		if got, ok := Cookie([]byte(payload)); got != want || ok != (want != "") {
			t.Errorf("Cookie(%q): want %q, got %q and %v", payload, want, got, ok)
		}
	}
}

// A relay, or who says he is one, must not be able to make a client send
// anything but a proof.
func FuzzCookie(f *testing.F) {
	for _, payload := range []string{
		"", Hello, "udprelay cookie " + vectorCookie + "\n", "udprelay cookie " + strings.ToUpper(vectorCookie) + "\r\n\n",
		"udprelay cookie 0a1b2c3d4e5f6071829g\n", "udprelay cookie 0a1b2c3d4e5f6071829\n", "udprelay cookie " + vectorCookie + vectorCookie,
	} {
		f.Add([]byte(payload))
	}
	j := NewJar(theSecret)
	f.Fuzz(func(t *testing.T, payload []byte) {
		cookie, ok := Cookie(payload)
		if !ok {
			if cookie != "" {
				t.Fatalf("Cookie(%q): want nothing of what is none, got %q", payload, cookie)
			}
			return
		}
		if digits, err := hex.DecodeString(cookie); err != nil || len(digits) != 10 {
			t.Fatalf("Cookie(%q): want 20 hex digits, got %q", payload, cookie)
		}
		if !strings.HasPrefix(string(payload), "udprelay cookie "+cookie) {
			t.Fatalf("Cookie(%q): want the cookie that is in it, got %q", payload, cookie)
		}
		for _, withSecret := range []bool{false, true} {
			for _, secret := range [][]byte{nil, theSecret} {
				proof := Join(cookie, secret)
				wantCheck(t, j, proof, someone, withSecret, 0, BadProof)
				if len(proof) > maxProof {
					t.Fatalf("Join(%q): want at most %d bytes, got %d", cookie, maxProof, len(proof))
				}
			}
		}
	})
}
