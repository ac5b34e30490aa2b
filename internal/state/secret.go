package state

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	saltSize        = 16 // bytes
	fingerprintSize = 8  // bytes
)

// Fingerprint returns a text that [SameSecret] can tell the join secret by, and
// that does not contain it: a random salt, and the HMAC-SHA256 of that under
// the secret, cut to 64 bits, both in hex. Each call returns another. For no
// secret it is empty.
//
// Who gets hold of it can try secrets on it, as on a cookie and its answer: one
// that is long and random is not found.
func Fingerprint(secret []byte) string {
	if len(secret) == 0 {
		return ""
	}
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	return hex.EncodeToString(salt) + ":" + hex.EncodeToString(fingerprint(salt, secret))
}

// SameSecret reports whether the fingerprint is of secret. That there was none
// and is none is not the same secret: there is nothing to rely on.
func SameSecret(of string, secret []byte) bool {
	if len(secret) == 0 || !isFingerprint(of) {
		return false
	}
	salt, sum, _ := strings.Cut(of, ":")
	saltBytes, _ := hex.DecodeString(salt) // both are hex: isFingerprint
	want, _ := hex.DecodeString(sum)
	return hmac.Equal(fingerprint(saltBytes, secret), want)
}

func fingerprint(salt, secret []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("udprelay state ")) // no cookie looks like this
	mac.Write(salt)
	return mac.Sum(nil)[:fingerprintSize]
}

func isFingerprint(text string) bool {
	salt, sum, found := strings.Cut(text, ":")
	return found && len(salt) == 2*saltSize && isHex(salt) && len(sum) == 2*fingerprintSize && isHex(sum)
}

func isHex(text string) bool { return strings.Trim(text, "0123456789abcdef") == "" }
