package proof

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
)

const (
	// Hello is a datagram that is long enough to be answered with a cookie.
	Hello = "udprelay join\n"

	cookiePrefix = "udprelay cookie "
	joinPrefix   = "udprelay join "

	cookieBytes = 10
	cookieHex   = 2 * cookieBytes

	// cookieLength is the length in bytes of a datagram with a cookie.
	cookieLength = len(cookiePrefix) + cookieHex + 1

	// maxProof bounds what is looked at: a join with a secret's HMAC and a
	// line's end.
	maxProof = len(joinPrefix) + cookieHex + 1 + 2*sha256.Size + 2
)

// Cookie returns the cookie in a datagram of the relay, in hex. False: it is
// something else.
func Cookie(payload []byte) (cookie string, ok bool) {
	text, ok := bytes.CutPrefix(bytes.TrimRight(payload, "\r\n"), []byte(cookiePrefix))
	if !ok || len(text) != cookieHex || !isHex(text) {
		return "", false
	}
	return string(text), true
}

// Join returns the datagram that answers a cookie, with the proof of the secret
// unless that is nil.
func Join(cookie string, secret []byte) []byte {
	text := []byte(joinPrefix + cookie)
	if secret != nil {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(cookie))
		text = hex.AppendEncode(append(text, ' '), mac.Sum(nil))
	}
	return append(text, '\n')
}

// parse takes a datagram that answers a cookie apart. False: it is something
// else. The parts may still be of any length.
func parse(payload []byte) (cookie, mac []byte, ok bool) {
	if len(payload) > maxProof {
		return nil, nil, false
	}
	text, ok := bytes.CutPrefix(payload, []byte(joinPrefix))
	if !ok {
		return nil, nil, false
	}
	cookie, mac, _ = bytes.Cut(bytes.TrimRight(text, " \r\n"), []byte(" "))
	return cookie, mac, len(cookie) > 0
}

func isHex(text []byte) bool {
	_, err := hex.Decode(make([]byte, len(text)/2), text)
	return err == nil
}
