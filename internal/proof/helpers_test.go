package proof

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"testing"
)

var (
	someone   = netip.MustParseAddrPort("192.0.2.1:40000")
	theSecret = []byte("correct horse battery staple")
)

// tester is what *testing.T and *rapid.T have in common.
type tester interface {
	Helper()
	Fatalf(string, ...any)
}

// cookieFor asks the jar for a cookie as a sender does.
func cookieFor(t tester, j *Jar, addr netip.AddrPort, now int64) string {
	t.Helper()
	answer, ok := j.Answer(addr, []byte(Hello), now)
	if !ok {
		t.Fatalf("Answer(%v): want one to %q, got none", addr, Hello)
	}
	cookie, ok := Cookie(answer)
	if !ok {
		t.Fatalf("Cookie(%q): want the cookie of an answer, got none", answer)
	}
	return cookie
}

func wantCheck(t tester, j *Jar, payload []byte, addr netip.AddrPort, withSecret bool, now int64, want Verdict) {
	t.Helper()
	if got := j.Check(payload, addr, withSecret, now); got != want {
		t.Fatalf("Check(%q, %v, with secret %v): want %s, got %s", payload, addr, withSecret, words[want], words[got])
	}
}

var words = [...]string{NoProof: "no proof", BadProof: "a bad proof", Proved: "proved"}

// macOf is what "openssl dgst -sha256 -hmac secret" says of the cookie.
func macOf(cookie string, secret []byte) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(cookie))
	return hex.EncodeToString(mac.Sum(nil))
}

func wantNoAllocation(t *testing.T, what string, do func()) {
	t.Helper()
	if raceEnabled {
		return
	}
	if allocs := testing.AllocsPerRun(1000, do); allocs != 0 {
		t.Errorf("%s: want no allocation, got %v", what, allocs)
	}
}
