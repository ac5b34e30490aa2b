package proof

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"net/netip"
	"time"
)

// Period is how long a key makes cookies. A cookie is good for one to two
// periods.
const Period = time.Minute

// A Jar makes cookies and recognizes them. It belongs to one goroutine. It
// allocates nothing but for the new key of each period.
type Jar struct {
	period  int64        // the number of the period that keys[0] is for
	keys    [2]hash.Hash // of this period and of the one before
	secret  hash.Hash    // keyed; nil: there is none
	message []byte
	sum     []byte
	text    [cookieHex]byte
	answer  []byte
}

// A Verdict says what a datagram of a sender that has not joined is.
type Verdict uint8

const (
	NoProof  Verdict = iota // something else
	BadProof                // a proof that is forged, for another address, too old or not whole
	Proved
)

// NewJar returns a jar. The secret may be nil; then nobody can prove that he
// knows it. Times given to the methods of a jar are nanoseconds from any
// moment, and must not go back.
func NewJar(secret []byte) *Jar {
	j := &Jar{keys: [2]hash.Hash{newKey(), newKey()}}
	j.SetSecret(secret)
	return j
}

// SetSecret makes secret the one that counts from now on, as for [NewJar].
// Cookies stay good. It may run beside Answer, and not beside Check.
func (j *Jar) SetSecret(secret []byte) {
	j.secret = nil
	if len(secret) > 0 {
		j.secret = hmac.New(sha256.New, secret)
	}
}

func newKey() hash.Hash {
	key := make([]byte, sha256.Size)
	rand.Read(key) // never fails
	return hmac.New(sha256.New, key)
}

// Answers reports whether there is an answer to payload: it is long enough or
// empty, and no answer itself, for two relays must not answer each other.
func Answers(payload []byte) bool {
	_, isCookie := Cookie(payload)
	return !isCookie && (len(payload) == 0 || 3*len(payload) >= cookieLength)
}

// Answer returns what to answer to a payload from addr, which must be unmapped.
// False: nothing. The answer is good until the next call.
func (j *Jar) Answer(addr netip.AddrPort, payload []byte, now int64) (answer []byte, ok bool) {
	switch {
	case !Answers(payload):
		return nil, false
	case len(payload) == 0:
		return nil, true
	}
	j.turn(now)
	j.answer = append(j.answer[:0], cookiePrefix...)
	j.answer = append(j.answer, j.cookie(j.keys[0], addr)...)
	j.answer = append(j.answer, '\n')
	return j.answer, true
}

// Check says what payload, from addr, proves: with withSecret, that its sender
// knows the secret, too.
func (j *Jar) Check(payload []byte, addr netip.AddrPort, withSecret bool, now int64) Verdict {
	cookie, mac, ok := parse(payload)
	if !ok {
		return NoProof
	}
	j.turn(now)
	// Both are always compared, and hmac.Equal takes as long whatever they
	// differ in.
	first := hmac.Equal(j.cookie(j.keys[0], addr), cookie)
	second := hmac.Equal(j.cookie(j.keys[1], addr), cookie)
	if !first && !second || withSecret && !j.knowsSecret(cookie, mac) {
		return BadProof
	}
	return Proved
}

func (j *Jar) knowsSecret(cookie, mac []byte) bool {
	if j.secret == nil {
		return false
	}
	j.secret.Reset()
	j.secret.Write(cookie)
	j.sum = j.secret.Sum(j.sum[:0])
	j.message = hex.AppendEncode(j.message[:0], j.sum)
	return hmac.Equal(j.message, mac)
}

// cookie returns, until the next call, the cookie for addr under a key.
func (j *Jar) cookie(key hash.Hash, addr netip.AddrPort) []byte {
	ip := addr.Addr().As16()
	j.message = append(j.message[:0], ip[:]...)
	j.message = binary.BigEndian.AppendUint16(j.message, addr.Port())
	j.message = append(j.message, addr.Addr().Zone()...)
	key.Reset()
	key.Write(j.message)
	j.sum = key.Sum(j.sum[:0])
	hex.Encode(j.text[:], j.sum[:cookieBytes])
	return j.text[:]
}

// turn makes a new key when the period is over. After a long silence the one
// before is new, too, for cookies made with the old one are too old.
func (j *Jar) turn(now int64) {
	period := now / int64(Period)
	switch passed := period - j.period; {
	case passed <= 0:
		return
	case passed == 1:
		j.keys = [2]hash.Hash{newKey(), j.keys[0]}
	default:
		j.keys = [2]hash.Hash{newKey(), newKey()}
	}
	j.period = period
}
