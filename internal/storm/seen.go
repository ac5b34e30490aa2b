package storm

const (
	fromClean = 1 << 7 // in slot.ticks: the origin that brought it first brought no repeats then
	maxTicks  = fromClean - 1

	sets = 1 << 14 // of 64 bytes, 1 MiB in all
	ways = 4       // slots in a set, which fill a cache line

	unitBits = 20 // slot.passed is in units of 2²⁰ ns, about a millisecond
	tickBits = 24 // slot.came is in ticks of 2²⁴ ns, about 17 ms

	// slot.other is in units of 2²⁸ ns, about 0.27 s, modulo 255. It is valid
	// for 24 of them, 6.4 s, which is longer than the round trip of any loop
	// that the watch looks for.
	markBits   = 28
	marks      = 255
	markForget = 24
)

// A slot remembers a payload.
type slot struct {
	tag    uint32 // the upper half of the payload's hash
	first  uint32 // the number of the origin that brought it first, its lower half; 0: a link
	passed uint32 // when it was last relayed, in units; far in the past if never
	came   uint16 // when it last came, in ticks
	ticks  uint8  // in how many ticks it came, up to maxTicks; 0: the slot is empty. And the bit fromClean
	other  uint8  // when another origin than the first last brought it; 0: never
}

// A seen is the table of the payloads that came last. It is bounded by their
// number, not by their age, so that a loop with a long round trip is found as
// long as fewer than 64Ki different payloads come in that time.
type seen [sets][ways]slot

// find returns the slot of the payload and whether it was there. If not, it is
// a new slot, in the place of the payload of its set that has not come for the
// longest time.
func (t *seen) find(hash uint64, now int64) (*slot, bool) {
	set := &t[hash%sets]
	tag, tick := uint32(hash>>32), uint16(uint64(now)>>tickBits)
	oldest := &set[0]
	for i := range set {
		s := &set[i]
		switch {
		case s.ticks == 0:
			oldest = s
		case s.tag == tag:
			if s.came != tick {
				s.came = tick
				if s.ticks&maxTicks < maxTicks {
					s.ticks++
				}
			}
			return s, true
		case oldest.ticks > 0 && tick-s.came > tick-oldest.came:
			oldest = s
		}
	}
	*oldest = slot{tag: tag, came: tick, ticks: 1, passed: unitAt(now) - 1<<31}
	return oldest, false
}

func unitAt(now int64) uint32 { return uint32(uint64(now) >> unitBits) }

// passedWithin reports whether the payload was relayed less than d
// nanoseconds ago.
func (s *slot) passedWithin(d, now int64) bool {
	return unitAt(now)-s.passed < unitAt(d)
}

// again reports whether a repeat is of a payload that has come for some time,
// or from the same origin before.
func (s *slot) again(own bool) bool { return own || s.ticks&maxTicks >= againTicks }

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
