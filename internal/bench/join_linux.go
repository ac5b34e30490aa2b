package bench

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/client"
	"udprelay/internal/proof"
)

const (
	// A relay that is silent for so long after an empty datagram wants no proof.
	silence = 100 * time.Millisecond

	firstKnock, lastKnock = 100 * time.Millisecond, 2 * time.Second // pauses between two tries of a peer
	knocksAtOnce          = 256                                     // so that they fit into a receive queue
	firstProbe, lastProbe = 2 * time.Millisecond, 250 * time.Millisecond

	// joinPatience is how long nobody more may get in before it is given up. A
	// relay that wants proofs answers an address a few times a second.
	joinPatience = 5 * time.Second

	mostRefusals = 3 // of a peer's proof
)

// What a peer says next, until it is in.
type step uint8

const (
	knock  step = iota // an empty datagram
	hello              // the relay wants a proof: ask for a cookie
	prove              // give it back
	joined             // it gets what is sent
)

// An entrant is a peer on its way in.
type entrant struct {
	step     step
	tries    uint8
	refusals uint8
	cookie   string
	next     time.Time
}

// A joining has all peers join, and finds out that they did: it sends probes
// until each has got one.
type joining struct {
	run      *running
	entrants []entrant // of each socket
	total    int       // that something is due to
	left     int       // of them, that are not in
	wants    bool      // the relay wants proofs
	refused  bool
	heard    bool // anything of the relay
	wrong    *client.ProofError
	number   uint32 // of the last probe
	buffer   []byte
}

// join returns when all get what is sent.
func (r *running) join(ctx context.Context) error {
	j := &joining{run: r, entrants: make([]entrant, len(r.sockets)), total: r.counted(), buffer: make([]byte, 2048)}
	j.left = j.total
	return j.wait(ctx)
}

func (j *joining) wait(ctx context.Context) error {
	began := time.Now()
	progressed, pause, probeAt, shown := began, firstProbe, began.Add(silence), time.Time{}
	if len(j.run.config.Static) > 0 {
		probeAt = began
	}
	for {
		before := j.left
		more := j.turn(time.Now())
		now := time.Now()
		switch {
		case j.left == 0:
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case j.wrong != nil:
			return j.wrong
		case j.left < before:
			progressed, pause = now, firstProbe
		case now.Sub(progressed) > joinPatience || j.refused && !j.heard && now.Sub(began) > time.Second:
			return j.failure()
		}
		if now.Sub(shown) > progressEvery {
			shown = now
			j.run.progress(Snapshot{Phase: Joining, Joined: j.total - j.left, Peers: j.total})
		}
		if !more && !now.Before(probeAt) {
			j.probe()
			probeAt = now.Add(pause)
			pause = min(2*pause, lastProbe)
		}
		time.Sleep(time.Millisecond)
	}
}

// failure says why not all are in.
func (j *joining) failure() error {
	c := j.run.config
	switch {
	case j.left < j.total:
		return &JoinError{c.receiversAt(), j.total - j.left, j.total}
	case j.wants:
		return &client.ProofError{Addr: c.Relay, Secret: len(c.Secret) > 0}
	}
	return &NoRelayError{c.receiversAt(), j.refused}
}

// turn reads what came for those that are not in, and says what is due. It
// reports whether there is more to say.
func (j *joining) turn(now time.Time) (more bool) {
	said := 0
	for i := range j.entrants {
		// Senders first: without them nobody gets a probe, where a relay has no
		// room for all.
		i = (i + j.run.config.receivers()) % len(j.entrants)
		e := &j.entrants[i]
		if e.step == joined {
			continue
		}
		j.read(i, e, now)
		if e.step == joined || len(j.run.config.Static) > 0 || now.Before(e.next) {
			continue
		}
		if e.step == knock && j.wants {
			*e = entrant{step: hello} // answers are scarce
		}
		if said == knocksAtOnce {
			return true
		}
		said++
		j.say(i, e, now)
	}
	return false
}

// say says what is next for the peer.
func (j *joining) say(i int, e *entrant, now time.Time) {
	switch fd := j.run.sockets[i].fd; e.step {
	case hello:
		j.write(fd, []byte(proof.Hello))
	case prove:
		j.write(fd, proof.Join(e.cookie, j.run.config.Secret))
		j.write(fd, nil) // its answer says that the proof was no good
	default:
		j.write(fd, nil)
	}
	e.next = now.Add(min(firstKnock<<min(e.tries, 8), lastKnock))
	e.tries++
}

func (j *joining) write(fd int, datagram []byte) {
	if err := unix.Send(fd, datagram, unix.MSG_DONTWAIT); errors.Is(err, unix.ECONNREFUSED) {
		j.refused = true // by an earlier datagram, of which the system tells now
		_ = unix.Send(fd, datagram, unix.MSG_DONTWAIT)
	}
}

// read takes what came for a peer.
func (j *joining) read(i int, e *entrant, now time.Time) {
	for range 64 {
		n, _, err := unix.Recvfrom(j.run.sockets[i].fd, j.buffer, unix.MSG_DONTWAIT)
		if errors.Is(err, unix.ECONNREFUSED) {
			j.refused = true
			continue
		}
		if err != nil {
			return
		}
		j.heard = true
		cookie, isCookie := proof.Cookie(j.buffer[:n])
		run, _, _, stamped := stampOf(j.buffer[:n])
		switch {
		case stamped && run == j.run.probe:
			j.enter(i, e)
			return
		case e.step == hello && string(j.buffer[:n]) == proof.Hello:
			// It passes on the questions of others, and so their empty datagrams,
			// which asked for nothing.
			j.passes()
			return
		case n == 0 && e.step == knock && !j.run.config.Open && !j.run.passesEmpty:
			*e = entrant{step: hello, next: now}
			j.wants = true
		case n == 0 && e.step == prove:
			if e.refusals++; e.refusals == mostRefusals {
				j.wrong = &client.ProofError{Addr: j.run.config.Relay, Refused: true, Secret: len(j.run.config.Secret) > 0}
			}
			e.step, e.next = hello, now.Add(firstKnock<<e.refusals)
		case isCookie && e.step == hello:
			e.step, e.cookie, e.next = prove, cookie, now
		}
	}
}

// passes is told that the relay passes on empty datagrams. All begin again, and
// take them for nothing.
func (j *joining) passes() {
	j.run.passesEmpty, j.wants = true, false
	for i := range j.entrants {
		if j.entrants[i].step != joined {
			j.entrants[i] = entrant{}
		}
	}
}

// enter notes that a peer gets what is sent. A probe is of sender 0, or, for
// sender 0, of another.
func (j *joining) enter(i int, e *entrant) {
	e.step = joined
	if i < j.total {
		j.left--
	}
}

// probe sends one datagram for those that wait, as a sender that may have to
// prove itself first.
func (j *joining) probe() {
	first := j.run.config.receivers()
	for i := first; i < min(first+2, len(j.run.sockets)); i++ {
		if s := j.entrants[i].step; s == hello {
			continue
		}
		var datagram [stampBytes]byte
		j.number++
		putStamp(datagram[:], j.run.probe, j.number, 0)
		j.write(j.run.sockets[i].fd, datagram[:])
	}
}
