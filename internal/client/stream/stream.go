package stream

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"udprelay/internal/client"
)

// Tests on slow machines have more of both.
var (
	// refusalGrace is how long a client stays after the last datagram it sent:
	// if nothing listens at the relay's address, the refusal is the only sign
	// of it, and it takes a round trip. On one machine and in one building this
	// is enough; for a relay further away there is Options.Wait.
	refusalGrace = 100 * time.Millisecond

	// noticeDelay lets a session that ends at once end with one message, its
	// error, in place of two that say the same.
	noticeDelay = 250 * time.Millisecond
)

// stopGrace is how long a stopped session waits for an output that does not take
// what is being written.
const stopGrace = 100 * time.Millisecond

// A Mode says how payloads appear on the streams.
type Mode int

const (
	Text Mode = iota // a line is a datagram, newline included
	Hex              // a line is a datagram in hex
	Raw              // a read is a datagram; nothing stands between those received
)

// Options are what Run joins the client to.
type Options struct {
	In       io.Reader // nil: nothing is sent, and only ctx or the output's end ends the session
	Out      io.Writer
	Mode     Mode
	Terminal bool                 // Out is a terminal: in mode Text, show what would control it
	Size     int                  // bytes read at most for one datagram in mode Raw
	Wait     time.Duration        // how long to go on receiving when In has ended
	Say      func(message string) // takes what a person should know at once; not called after Run returned
}

// A RefusedError says that datagrams were refused, or could not be delivered,
// and, as far as one can know, lost.
type RefusedError struct {
	Problem  error             // the last error; nil: over a connection
	Relay    string            // as client.Client.Relay
	Lost     bool              // payloads, not only keep-alives
	Over     bool              // a datagram has come since, or no error for a while
	Connects bool              // the relay is reached by a connection
	Why      *client.LostError // which is lost; nil: another one has been made
}

func (e *RefusedError) Error() string {
	message := "nothing listens at " + e.Relay + " (connection refused)"
	unreachable := e.Problem != nil && !client.IsRefused(e.Problem)
	switch {
	case e.Why != nil:
		message = e.Why.Error()
	case e.Connects:
		message = "the connection to " + e.Relay + " was lost for a while"
	case unreachable && e.Over:
		message = "could not reach " + e.Relay + " for a while (" + e.Problem.Error() + ")"
	case unreachable:
		message = "cannot reach " + e.Relay + " (" + e.Problem.Error() + ")"
	case e.Over:
		message = "nothing listened for a while at " + e.Relay + " (connection refused)"
	}
	if e.Lost {
		message += "; datagrams were lost"
	}
	return message
}

// An UnprovenError says that the relay wants a proof, and did not get one that
// it accepts, or not before datagrams were lost.
type UnprovenError struct {
	Relay string             // as client.Client.Relay
	Why   *client.ProofError // nil: it accepted one in the end
	Lost  bool               // payloads, sent before or not sent
}

func (e *UnprovenError) Error() string {
	message := "the relay at " + e.Relay + " wants a proof, and accepted ours late"
	if e.Why != nil {
		message = e.Why.Error()
	}
	if e.Lost {
		message += "; datagrams were lost"
	}
	return message
}

// errOutputClosed: whoever read the output has seen enough.
var errOutputClosed = errors.New("output closed")

type session struct {
	client  *client.Client
	options Options
	unsent  unsent

	printed  chan struct{} // closed when nothing is written any more
	printErr error         // why; read it after printed is closed

	noticed bool   // a refusal has been noticed since the last datagram came
	heard   uint64 // datagrams received when it was
	notice  <-chan time.Time
	leaving bool // the error at the end, which is near, says it

	relay   string // where the client sends to, as far as a person has been told
	failing bool   // it has been said that the relay cannot be reached
	silent  bool   // it has been said that nothing comes

	said *client.LostError // what a person has been told; nil: there is a connection, as far as is known

	unproven bool // lines were not sent, for the relay did not accept a proof
	shutOut  bool // it has been said that it does not
}

// Run sends what In yields and writes what c receives to Out, until In has
// ended and Wait is over, or the reader of Out is gone, or ctx is done; the
// latter two are no errors. It closes c. A read of In that waits is not waited
// for, as it cannot be cancelled; what it reads is dropped.
//
// While the relay is given a proof that it wants, nothing is sent, and the
// session does not end with In; Client.Send says how long that may take.
//
// When In has ended, the error tells of a refusal (*RefusedError), of a proof
// that the relay did not accept (*UnprovenError) and of what could not be sent
// (*UnsentError), or of several of them, joined.
func Run(ctx context.Context, c *client.Client, options Options) error {
	s := &session{
		client:  c,
		options: options,
		relay:   c.Relay(),
		unsent:  unsent{say: options.Say, mode: options.Mode},
		printed: make(chan struct{}),
	}
	inside, cancel := context.WithCancel(ctx)
	defer cancel()
	go s.print()
	err := s.serve(inside, readAll(inside, options), watchClosed(inside, options.Out))
	c.Close()
	select { // what was received is written
	case <-s.printed:
	case <-ctx.Done():
		select {
		case <-s.printed:
		case <-time.After(stopGrace):
		}
	}
	return err
}

// serve is the heart of a session. It alone sends and speaks.
func (s *session) serve(ctx context.Context, inputs <-chan input, closed <-chan struct{}) error {
	var end <-chan time.Time
	over := false // the end waits only for the proof
	for {
		ready := inputs
		if s.proving() {
			ready = nil
		} else if over {
			return s.verdict()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-closed:
			return nil
		case <-s.printed:
			if errors.Is(s.printErr, errOutputClosed) || ctx.Err() != nil {
				return nil
			}
			return s.printErr
		case in := <-ready:
			switch {
			case in.err == nil:
				s.send(in)
			case errors.As(in.err, new(*badInput)):
				s.unsent.add(in.err)
			case errors.Is(in.err, io.EOF):
				inputs = nil
				end = time.After(max(s.options.Wait, refusalGrace))
				if s.options.Wait < noticeDelay {
					s.leaving, s.notice = true, nil
				}
			default:
				return errors.Join(&inputError{in.err}, s.verdict())
			}
		case <-s.client.Refused():
			s.noteRefusal()
		case <-s.notice:
			s.sayRefusal()
		case <-s.client.Proofs():
			s.noteProof()
		case <-end:
			over = true
		}
	}
}

func (s *session) send(in input) {
	switch err := s.client.Send(in.payload); {
	case err == nil, errors.Is(err, net.ErrClosed):
	case errors.As(err, new(*client.ProofError)):
		s.unproven = true // which is said once, and not of each line
	default:
		s.unsent.add(&badInput{in.where, err.Error()})
	}
}

// proving reports whether the relay is being given a proof.
func (s *session) proving() bool {
	h := s.client.Health()
	return h.Proving && !h.ShutOut
}

// noteProof tells a person that the relay accepts no proof, once until it does.
func (s *session) noteProof() {
	why := s.client.ProofError()
	if why != nil && !s.shutOut && !s.leaving {
		s.options.Say(why.Error() + "; still trying")
	}
	s.shutOut = why != nil
}

// noteRefusal arranges that a person hears of a relay that cannot be reached.
func (s *session) noteRefusal() {
	if s.client.Connects() {
		s.noteConnection()
		return
	}
	s.noteReach()
	reach, received := s.client.Reach(), s.client.Health().Received
	if reach.Failing && (!s.noticed || received > s.heard) {
		s.noticed, s.heard = true, received
		if !s.leaving && !s.failing {
			s.notice = time.After(noticeDelay)
		}
	}
}

func (s *session) sayRefusal() {
	if s.client.Connects() {
		s.sayLost()
		return
	}
	s.notice = nil
	if reach := s.client.Reach(); reach.Failing && s.client.Health().Received == s.heard {
		s.failing = true
		s.options.Say((&RefusedError{Problem: reach.Problem, Relay: reach.At}).Error() + "; still trying")
	}
}

// noteReach tells a person, once each time, that the client joins again, and that
// the relay can be reached again. Of several addresses that fail in turn nothing
// more is said.
func (s *session) noteReach() {
	reach, relay := s.client.Reach(), s.client.Relay()
	if s.leaving {
		return
	}
	if reach.Silent && !s.silent {
		s.options.Say("nothing received from " + s.relay + " for a while; joining again from a new port")
	}
	over := !reach.Failing && !reach.Silent
	switch {
	case s.failing && over && s.client.Health().Received > s.heard:
		s.options.Say(relay + " is reachable again")
	case s.failing && !reach.Failing:
		s.options.Say("sending to " + relay + " no longer fails")
	case s.silent && over:
		s.options.Say("receiving from " + relay + " again")
	case over && relay != s.relay:
		s.options.Say("now sending to " + relay)
	}
	if over {
		s.relay = relay
	}
	s.failing, s.silent = s.failing && reach.Failing, reach.Silent
}

// verdict is the error of a session whose input has ended.
func (s *session) verdict() error {
	var refused error
	h, lost, why := s.client.Health(), s.client.Lost(), s.client.ProofError()
	reach, relay := s.client.Reach(), s.client.Relay()
	if why != nil && h.PayloadsRefused == 0 {
		lost, h.Refusing = nil, h.Refusing && lost == nil // it is why the relay ends the connection
	}
	if reach.Problem != nil {
		relay = reach.At
	}
	if h.Refusing || h.PayloadsRefused > 0 || lost != nil && lost.TurnedAway {
		refused = &RefusedError{
			Problem:  reach.Problem,
			Relay:    relay,
			Lost:     h.PayloadsRefused > 0,
			Over:     !h.Refusing && (h.Received > s.heard || !reach.Failing),
			Connects: s.client.Connects(),
			Why:      lost,
		}
	}
	var unproven error
	if why != nil || s.unproven || h.PayloadsLost > 0 {
		unproven = &UnprovenError{s.client.Relay(), why, s.unproven || h.PayloadsLost > 0}
	}
	return errors.Join(refused, unproven, s.unsent.err())
}

// print writes what is received, each datagram at once.
func (s *session) print() {
	defer close(s.printed)
	buf := make([]byte, client.MaxPayload)
	var shown []byte
	for {
		n, err := s.client.Receive(buf)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				s.printErr = err
			}
			return
		}
		shown = s.options.appendPayload(shown[:0], buf[:n])
		if _, err := s.options.Out.Write(shown); err != nil {
			s.printErr = outputError(err)
			return
		}
	}
}
