//go:build !nocluster

package cluster

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// errSecret is of a message that was not sealed with the secret of this room.
var errSecret = errors.New("a message that is not sealed with the secret of the cluster")

// derive returns n bytes that only who knows the secret can know.
func derive(secret, salt []byte, purpose string, n int) []byte {
	key, err := hkdf.Key(sha256.New, secret, salt, "udprelay cluster 1 "+purpose, n)
	if err != nil {
		panic(err) // n is no such length
	}
	return key
}

// routePassword is what nodes that share the secret show to each other. The
// secret does not follow from it.
func routePassword(secret []byte) string {
	return hex.EncodeToString(derive(secret, nil, "routes", 32))
}

// newSealer returns what seals the messages of a node in a room, and opens
// them. Each node has a key of its own, and numbers its messages, so that no
// nonce is used twice.
func newSealer(secret []byte, room string, node nodeID) cipher.AEAD {
	if len(secret) == 0 {
		return nil
	}
	block, err := aes.NewCipher(derive(secret, node[:], "room "+room, 32))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func nonce(h *header) (n [12]byte) {
	n[0] = byte(h.kind)
	binary.BigEndian.PutUint64(n[4:], h.number)
	return n
}

// finish puts the header to the first bytes of p and seals the rest in place,
// if there is a sealer. The returned message is that of p, with a tag then.
func finish(p []byte, h header, sealer cipher.AEAD) []byte {
	h.sealed = sealer != nil
	h.put(p)
	if sealer == nil {
		return p
	}
	n := nonce(&h)
	return sealer.Seal(p[:headerBytes], n[:], p[headerBytes:], p[:headerBytes])
}

// open returns the body of the message p, opened in place if there is a
// sealer. The error is errSecret.
func open(p []byte, h *header, sealer cipher.AEAD) ([]byte, error) {
	if h.sealed != (sealer != nil) {
		return nil, errSecret
	}
	body := p[headerBytes:]
	if sealer == nil {
		return body, nil
	}
	n := nonce(h)
	body, err := sealer.Open(body[:0], n[:], body, p[:headerBytes])
	if err != nil {
		return nil, errSecret
	}
	return body, nil
}
