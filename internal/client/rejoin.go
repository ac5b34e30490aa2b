package client

import "time"

// askWithin is how long a relay has to ask for a proof when a connection has
// begun, where it may well do so: the client has a secret, or was asked before.
// What is sent meanwhile waits, for a relay takes it for a proof.
const askWithin = time.Second

// anew forgets what concerns the previous connection or port.
func (j *joiner) anew(now time.Time) {
	j.provedAt, j.cookie, j.roundTrip, j.refusing, j.suspect = time.Time{}, "", 0, false, false
	j.doubts, j.noDoubt = 0, time.Time{}
	j.probe(now)
	j.sentAt = time.Time{} // an empty datagram is due
}

// renewed begins anew from another port: as another peer, to the relay. Who was
// not in asks first, and keeps what was not taken.
func (j *joiner) renewed(now time.Time) {
	j.anew(now)
	if j.out() {
		j.refusals = 0
		j.enter(asking, now, now)
		return
	}
	j.forget()
	j.state, j.asked, j.keepUntil = in, false, now.Add(keepFor)
}

// connected begins anew over a connection. Who gave the relay a proof over the
// one before, and was not let in, gives it another one; what is kept of the
// user's was never taken.
func (j *joiner) connected(now time.Time) {
	j.anew(now)
	if j.state != waiting {
		j.keepUntil, j.asked = now.Add(keepFor), false
	}
	if j.state == waiting || len(j.secret) > 0 {
		j.enter(waiting, now, now.Add(askWithin))
	}
	j.unconnected = false
}

// disconnected notes that the connection is lost. A relay that wanted a proof
// may have ended it because it did not accept the one it got, so that who was
// not in keeps what has not been taken, and holds payloads back.
func (j *joiner) disconnected(now time.Time) {
	j.probing, j.refusing, j.suspect = false, false, false
	if !j.wanted() {
		j.forget()
		j.state = in
		return
	}
	if j.out() {
		j.refusals++
	}
	j.unconnected = true
	j.enter(waiting, now, now.Add(shutOutAfter))
}

// wanted reports whether the relay wants a proof that it has not accepted.
func (j *joiner) wanted() bool { return j.out() || j.state == waiting && j.refusals > 0 }
