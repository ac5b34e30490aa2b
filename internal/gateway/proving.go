package gateway

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"strings"
	"sync"
	"time"

	"udprelay/internal/framing"
	"udprelay/internal/proof"
	"udprelay/peers"
	"udprelay/relay"
)

const (
	// proveWithin is how long a client has to prove itself where its rule asks
	// for the secret.
	proveWithin = 10 * time.Second

	// proofTries is how many datagrams it may use for that.
	proofTries = 16
)

// A door knows the secret. Any goroutine may use it.
type door struct {
	began time.Time

	mu     sync.Mutex // guards what follows
	jar    *proof.Jar
	secret []byte
}

func newDoor() *door { return &door{began: time.Now(), jar: proof.NewJar(nil)} }

// setSecret makes secret the one that counts from now on. Who is showing the old
// one has become a peer before, or comes too late.
func (d *door) setSecret(secret []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.secret = secret
	d.jar.SetSecret(secret)
}

// is reports whether shown is the secret. It takes as long whatever is shown.
// The caller holds d.mu.
func (d *door) is(shown []byte) bool {
	a, b := sha256.Sum256(shown), sha256.Sum256(d.secret)
	return len(d.secret) > 0 && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// prove makes the client a peer, once it has shown the secret if its rule asks
// for that. The reason is 0 if it is one.
//
// The secret is asked for by an empty frame, as by an empty datagram at the
// relay's UDP socket. A client shows that it knows it by the same exchange as
// there, or, for clients that cannot, by the secret itself as a datagram; not
// where others could read it on the way.
func (c *client) prove() Reason {
	if why, done := c.admit(peers.JoinCookie); done {
		return why
	}
	if c.shown != nil {
		why, _, _ := c.show(c.shown, true)
		return why
	}
	late := time.AfterFunc(c.gateway.waits.prove, func() { c.end(Unproven) })
	defer late.Stop()
	if _, err := c.wire.send(framing.Append(nil, nil)); err != nil {
		return Broken
	}
	batch := make([]relay.Datagram, 0, 1)
	for range proofTries {
		var err error
		if batch, err = c.wire.receive(batch[:0]); err != nil {
			if why := reasonOf(err); why == BadFrame {
				return why
			}
			return Unproven
		}
		for _, d := range batch {
			why, answer, done := c.show(d.Payload, false)
			if done {
				return why
			}
			if _, err := c.wire.send(framing.Append(nil, answer)); err != nil {
				return Broken
			}
		}
	}
	return Unproven
}

// show judges what the client says to prove itself: it is done, for that reason
// or as a peer, or there is an answer. What is no part of the exchange can only
// be the secret.
func (c *client) show(payload []byte, isSecret bool) (why Reason, answer []byte, done bool) {
	door := c.gateway.door
	now := int64(time.Since(door.began))
	door.mu.Lock()
	defer door.mu.Unlock()
	check := proof.NoProof
	if !isSecret {
		check = door.jar.Check(payload, c.addr, true, now)
	}
	switch {
	case check == proof.Proved:
		why, _ = c.admit(peers.JoinSecret)
	case check == proof.BadProof:
		why = BadProof
	case !isSecret && (len(payload) == 0 || isHello(payload)):
		answer, _ = door.jar.Answer(c.addr, payload, now)
		return 0, bytes.Clone(answer), false
	case !door.is(payload):
		why = BadProof
	case !c.secretIsSafe():
		why = ClearSecret
	default:
		why, _ = c.admit(peers.JoinSecret)
	}
	return why, nil, true
}

// isHello reports whether payload asks for a cookie. Over UDP anything long
// enough does; here it would give who guesses the secret more than one try.
func isHello(payload []byte) bool {
	return string(bytes.TrimRight(payload, "\r\n")) == strings.TrimRight(proof.Hello, "\r\n")
}

// secretIsSafe reports whether nobody reads the secret on its way.
func (c *client) secretIsSafe() bool { return c.encrypted || c.addr.Addr().IsLoopback() }

// admit makes the client a peer if it may be one with a proof. It is not done if
// that lacks the secret.
func (c *client) admit(proof peers.Join) (why Reason, done bool) {
	switch verdict := c.place.Admit(c.addr, c.transport, proof); {
	case verdict == peers.NeedsSecret && proof < peers.JoinSecret:
		return 0, false
	case verdict.Refused():
		c.refused = verdict
		return NotLetIn, true
	}
	return 0, true
}
