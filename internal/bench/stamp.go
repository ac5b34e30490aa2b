package bench

import (
	"encoding/binary"
	"math/rand/v2"
)

// stampBytes is how long a stamp is: what run the datagram is of, its number
// and the nanoseconds from the start of the run to when it was to leave.
const stampBytes = 4 + 4 + 8

// What the first four bytes of a datagram say. Bit 31 is set, so that no text is
// meant.
func newRunNumbers() (measured, probe uint32) {
	run := rand.Uint32()<<1 | 1<<31
	return run, run | 1
}

func putStamp(datagram []byte, run, number uint32, at int64) {
	binary.BigEndian.PutUint32(datagram, run)
	binary.BigEndian.PutUint32(datagram[4:], number)
	binary.BigEndian.PutUint64(datagram[8:], uint64(at))
}

// stampOf returns what the stamp of a datagram says. False: it has none.
func stampOf(datagram []byte) (run, number uint32, at int64, ok bool) {
	if len(datagram) < stampBytes {
		return 0, 0, 0, false
	}
	return binary.BigEndian.Uint32(datagram), binary.BigEndian.Uint32(datagram[4:]), int64(binary.BigEndian.Uint64(datagram[8:])), true
}
