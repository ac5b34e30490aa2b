package storm

const (
	sets = 1 << 14 // of 64 bytes, 1 MiB in all
	ways = 4       // slots in a set, which fill a cache line

	// Times in the table are in units of 2²⁰ ns, about a millisecond.
	unitBits    = 20
	staleAfter  = uint32(2_000_000_000 >> unitBits) // a payload that has not passed for so long is new
	passesAgain = uint32(500_000_000 >> unitBits)   // of a cut peer that brought it first

	// The time of the last other origin is in units of 2²⁸ ns, about 0.27 s,
	// modulo 255: a payload that does not become stale is looked at more often.
	markBits   = 28
	marks      = 255
	markForget = 8 // units
)

// A slot remembers one payload that has passed.
type slot struct {
	tag    uint32 // the upper half of the payload's hash
	first  uint32 // the number of the origin that brought it first, its lower half; 0: a link
	passed uint32 // when it last was not dropped
	count  uint8  // how often it has come, up to 255; 0: the slot is empty
	other  uint8  // when it last came from another origin than the first; 0: never
}

// A seen is the table of payloads that have passed lately.
type seen [sets][ways]slot

// find returns the slot of the payload and whether it was there. If not, the
// slot is that of a new payload, in the place of the one that passed the
// longest time ago.
func (t *seen) find(hash uint64, now uint32) (*slot, bool) {
	set := &t[hash%sets]
	tag := uint32(hash >> 32)
	var (
		oldest *slot
		age    uint32
	)
	for i := range set {
		s := &set[i]
		if s.count == 0 {
			if oldest == nil || oldest.count > 0 {
				oldest = s
			}
			continue
		}
		since := now - s.passed
		if s.tag == tag {
			if since <= staleAfter {
				return s, true
			}
			oldest = s
			break
		}
		if oldest == nil || oldest.count > 0 && since > age {
			oldest, age = s, since
		}
	}
	*oldest = slot{tag: tag, passed: now}
	return oldest, false
}

// markAt returns the mark of a time: never 0.
func markAt(now int64) uint8 { return 1 + uint8(uint64(now)>>markBits%marks) }

// mixed reports whether an origin other than the first has brought the payload
// lately.
func (s *slot) mixed(mark uint8) bool {
	if s.other == 0 {
		return false
	}
	age := int(mark) - int(s.other)
	if age < 0 {
		age += marks
	}
	if age > markForget {
		s.other = 0
		return false
	}
	return true
}
