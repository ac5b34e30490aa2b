package relay

import (
	"hash/maphash"
	"sync/atomic"
)

const (
	// sentSlots is how many datagrams a sentLog remembers at most.
	sentSlots = 1 << 14

	// trialSlots is how many of those that tried a quarantined peer again are
	// remembered besides, for nothing else is sent to it meanwhile, and a
	// neighbour is given up only after seconds.
	trialSlots = 1 << 10

	// sentPrefix is how many bytes of a payload it goes by. Errors of the
	// network quote what they are about: as much as fits into 576 bytes
	// (RFC 1812, section 4.3.2.3) or 1280 (RFC 4443, section 3). The little that
	// RFC 792 asks for is the UDP header only, and proves nothing.
	sentPrefix = 32

	// sentAge is how long after a datagram an error may come, in milliseconds:
	// a neighbour is given up after three seconds (arp(7)).
	sentAge = 10_000
)

// A sentLog remembers what was relayed lately, so that errors of the network
// that quote something else can be told to be forged. Any goroutine may use it.
type sentLog struct {
	seed  maphash.Seed
	slots [sentSlots]atomic.Uint64 // the hash's upper half and the time in milliseconds

	trials [trialSlots]atomic.Uint64 // the same
}

func newSentLog() *sentLog { return &sentLog{seed: maphash.MakeSeed()} }

// note remembers the datagrams of b.
func (l *sentLog) note(b *batch) {
	b.sent = l
	at := uint64(uint32(b.at / 1e6))
	for i := range b.datagrams {
		hash := l.hash(b.datagrams[i].Payload)
		l.slots[hash%sentSlots].Store(hash&^0xffffffff | at)
	}
}

// noteTrial remembers a datagram that tries a peer again at the time at, in
// nanoseconds.
func (l *sentLog) noteTrial(payload []byte, at int64) {
	hash := l.hash(payload)
	l.trials[hash%trialSlots].Store(hash&^0xffffffff | uint64(uint32(at/1e6)))
}

func (l *sentLog) hash(payload []byte) uint64 {
	return maphash.Bytes(l.seed, payload[:min(len(payload), sentPrefix)])
}

// when returns the time in nanoseconds at which the datagram that quote begins
// with was relayed, to a millisecond. False: no such datagram is known. What is
// quoted of a train goes on with its next datagrams.
func (l *sentLog) when(quote []byte, now int64) (at int64, ok bool) {
	for size := min(len(quote), sentPrefix); size > 0; size-- {
		hash := maphash.Bytes(l.seed, quote[:size])
		for _, entry := range [...]uint64{l.slots[hash%sentSlots].Load(), l.trials[hash%trialSlots].Load()} {
			age := uint32(now/1e6) - uint32(entry)
			if entry>>32 == hash>>32 && entry != 0 && age <= sentAge {
				return now - int64(age)*1e6, true
			}
		}
	}
	return 0, false
}
