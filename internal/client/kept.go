package client

import "time"

// sends notes that a payload, or an empty datagram of the user's, is about to
// leave.
func (j *joiner) sends(empty bool, now time.Time) {
	j.sentAt, j.refusing = now, false
	if empty {
		j.asks(now)
	}
}

// sent notes that a payload has left, and keeps it if the relay may turn out
// not to have taken it, or, from what came meanwhile, is known not to have.
func (j *joiner) sent(payload []byte, now time.Time) {
	if !j.out() && (j.asked || !j.probing) {
		return
	}
	j.early++
	if !j.out() && !now.Before(j.keepUntil) {
		return
	}
	size := len(payload) + keptOverhead
	var room []byte
	for len(j.kept) > 0 && j.keptSize+size > keepBytes {
		room = j.kept[0]
		j.kept[0] = nil
		j.kept = j.kept[1:]
		j.keptSize -= len(room) + keptOverhead
	}
	j.kept = append(j.kept, append(room[:0], payload...))
	j.keptSize += size
}

// forget drops what was kept, and keeps no more of what is sent.
func (j *joiner) forget() {
	j.kept, j.keptSize, j.early, j.keepUntil = nil, 0, 0, time.Time{}
}
