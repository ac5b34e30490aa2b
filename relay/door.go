package relay

import (
	"hash/maphash"
	"sync"
	"time"

	"udprelay/internal/proof"
	"udprelay/peers"
)

// answersPerSecond is how many cookies an address gets that has to prove
// itself: enough for a person who mistypes, and for the clients behind one
// address to get in one after the other. It gets as many empty answers, which
// are counted apart: a client takes silence for a yes.
const answersPerSecond = 5

// After so many empty answers, each within askedAgain of the one before and with
// nothing in between, another empty datagram is no question of a client, which
// would go on with more, but the answer of another relay.
const (
	emptiesInARow = 2
	askedAgain    = time.Second
)

// A door is where senders prove themselves that a rule asks to. It keeps
// nothing of them but when those were last answered that it can remember in
// fixed space. It belongs to the goroutine that receives.
type door struct {
	proving sync.Mutex // held from the look at a proof until its sender has joined, and while the secret changes

	jar     *proof.Jar
	cookies *peers.AddressRate
	empties *peers.AddressRate

	seed  maphash.Seed
	empty [1 << 12]emptyAnswer // by hash of address and port
}

// An emptyAnswer is those that went to an address and port.
type emptyAnswer struct {
	hash  uint64
	at    int64 // when the last did
	count int
}

func newDoor(secret []byte) *door {
	return &door{jar: proof.NewJar(secret), cookies: peers.NewAddressRate(answersPerSecond), empties: peers.NewAddressRate(answersPerSecond), seed: maphash.MakeSeed()}
}

// prove looks at a datagram of a sender that has to prove itself, and returns
// the peer if it has. If not, the datagram is counted, and answered with a
// cookie. The verdict is the one that holds for the next datagram.
func (r *Relay) prove(d *Datagram, needs peers.Verdict, source *peers.Source, now time.Time, t *tally) (*peers.Peer, peers.Verdict) {
	reason := DropUnproven
	switch peer, check, verdict := r.tryProof(d, needs, now); {
	case peer != nil:
		return peer, verdict
	case check == proof.Proved && verdict != peers.NeedsSecret:
		r.refuse(d.From, dropFor[verdict], t) // the table has become full, or too many join
		return nil, needs
	case check == proof.Proved:
		needs = verdict // since a moment ago
	case check == proof.BadProof:
		reason = DropBadProof
	}
	r.refuse(d.From, reason, t)
	r.answer(d, source, r.since(now), t)
	return nil, needs
}

// tryProof checks the proof in a datagram, and admits its sender if it is good.
func (r *Relay) tryProof(d *Datagram, needs peers.Verdict, now time.Time) (*peers.Peer, proof.Verdict, peers.Verdict) {
	door := r.receiving.door
	door.proving.Lock()
	defer door.proving.Unlock()
	check := door.jar.Check(d.Payload, d.From, needs == peers.NeedsSecret, r.since(now))
	if check != proof.Proved {
		return nil, check, needs
	}
	peer, verdict := r.table.Admit(d.From, now, proofFor[needs])
	return peer, check, verdict
}

// answer answers a datagram, if there is an answer to it, the address has not
// had enough of them, and there is room: answers to strangers take no room from
// peers.
func (r *Relay) answer(d *Datagram, source *peers.Source, at int64, t *tally) {
	door := r.receiving.door
	rate := door.cookies
	if len(d.Payload) == 0 {
		rate = door.empties
	}
	if !proof.Answers(d.Payload) || door.isAnswer(d, at) || !rate.Take(d.From.Addr(), at) {
		return
	}
	if answer, ok := door.jar.Answer(d.From, d.Payload, at); ok && r.socket.answer(d.From, source, answer) {
		t.Answers++
		t.AnswerBytes += uint64(len(answer))
	}
}

// isAnswer reports whether an empty datagram answers an empty one of ours, as
// another relay would, and so on for ever.
func (door *door) isAnswer(d *Datagram, at int64) bool {
	hash := maphash.Comparable(door.seed, d.From)
	last := &door.empty[hash%uint64(len(door.empty))]
	again := last.hash == hash && last.at > 0 && at-last.at < int64(askedAgain)
	if len(d.Payload) > 0 {
		if again {
			*last = emptyAnswer{}
		}
		return false
	}
	if again && last.count >= emptiesInARow {
		return true
	}
	if !again {
		*last = emptyAnswer{hash: hash}
	}
	last.at = at
	last.count++
	return false
}

// proofFor is the proof that a verdict asks for.
var proofFor = map[peers.Verdict]peers.Join{peers.NeedsCookie: peers.JoinCookie, peers.NeedsSecret: peers.JoinSecret}
