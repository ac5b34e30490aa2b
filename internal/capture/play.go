package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"time"
)

const (
	// MaxSources bounds the sockets of Player.PerSource.
	MaxSources = 1000

	// progressEvery is how often progress is told.
	progressEvery = 100 * time.Millisecond

	// busyFor is how long a player waits for senders that are busy at the end.
	busyFor = 10 * time.Second

	// answerSize is read of each answer.
	answerSize = 2048
)

// ErrNothing is a file in which nothing is to be played.
var ErrNothing = errors.New("there is no UDP datagram to send")

// A Sender sends payloads to where a recording is played. Receive is called
// again and again, at the same time, and what it brings is dropped; its error
// ends that. Close ends calls that wait. A sender with a method Busy() bool is
// not closed while that reports true, for up to ten seconds. One with a method
// Ready(context.Context) error is not sent anything before that has returned;
// the pauses of the file are counted without this time, and an error ends the
// playing.
type Sender interface {
	Send(payload []byte) error
	Receive(buf []byte) (int, error)
	Close() error
}

// A Player plays a file.
type Player struct {
	Name string                                    // of the file, for errors
	Open func() (io.ReadCloser, error)             // opens it, once for each pass
	Dial func(ctx context.Context) (Sender, error) // where it is played to

	FromPorts []uint16 // only datagrams from one of these ports; none: from any
	ToPorts   []uint16 // only datagrams that went to one of these; none: to any

	Speed     float64       // 1: as it was; 2: twice as fast; 0: as fast as can be
	MaxGap    time.Duration // longer pauses in the file are shortened to this; 0: none is
	Passes    int           // how often it is played; 0: again and again
	Count     uint64        // end after so many datagrams; 0: do not
	PerSource bool          // a sender for each source in the file, at most MaxSources
	Linger    time.Duration // stay so long after the last datagram

	Progress func(Progress) // called now and then; nil: nobody asks
}

// Progress says how far a player is.
type Progress struct {
	Read int64  // bytes of the file, in all passes
	Sent uint64 // datagrams
}

// Played is what came of playing. Each packet read was sent, failed or skipped.
type Played struct {
	Packets  uint64 // read from the file, in all passes
	Sent     uint64
	Bytes    uint64 // of payloads sent
	Failed   uint64 // could not be sent
	FirstErr error  // why the first of them could not
	Skipped  [skips]uint64
	Sources  int           // senders used
	Passes   int           // complete ones
	Late     time.Duration // how much later than due a datagram left, at most
	Took     time.Duration // from the first datagram to the last
}

// Skips returns all reasons to skip a packet, for the counts of [Played].
func Skips() []Skip {
	all := make([]Skip, skips)
	for i := range all {
		all[i] = Skip(i)
	}
	return all
}

// A playing is the state of Player.Play.
type playing struct {
	*Player
	ctx      context.Context
	played   Played
	schedule schedule
	timer    *time.Timer
	senders  map[netip.AddrPort]Sender // by source; one, of no source, without PerSource
	readers  sync.WaitGroup
	read     int64
	told     time.Time
	first    time.Time
	last     time.Time
}

// Play plays the file until its end, or until ctx is done, which is no error.
// What is wrong with the file is a *[FileError]; what was sent before that is
// counted. A datagram that cannot be sent is counted and does not end it.
func (p *Player) Play(ctx context.Context) (Played, error) {
	r := &playing{
		Player:   p,
		ctx:      ctx,
		schedule: schedule{speed: p.Speed, maxGap: p.MaxGap},
		timer:    time.NewTimer(0),
		senders:  make(map[netip.AddrPort]Sender),
	}
	defer r.timer.Stop()
	err := r.play()
	if ctx.Err() == nil && r.played.Sent > 0 {
		r.linger()
	}
	for _, sender := range r.senders {
		sender.Close()
	}
	r.readers.Wait()
	r.played.Sources = len(r.senders)
	r.played.Took = r.last.Sub(r.first)
	r.tell(time.Now())
	if ctx.Err() != nil {
		err = nil
	}
	return r.played, err
}

// errEnough ends a pass at the count.
var errEnough = errors.New("enough")

func (r *playing) play() error {
	if !r.PerSource { // before the file, so that a relay that cannot be reached is told at once
		if _, err := r.sender(netip.AddrPort{}); err != nil {
			return err
		}
	}
	for r.Passes == 0 || r.played.Passes < r.Passes {
		before := r.played.Sent + r.played.Failed
		err := r.pass()
		if err == errEnough {
			return nil
		}
		if err != nil {
			return err
		}
		if r.played.Sent+r.played.Failed == before {
			return &FileError{r.Name, 0, 0, ErrNothing}
		}
		r.played.Passes++
	}
	return nil
}

// pass plays the file once.
func (r *playing) pass() error {
	file, err := r.Open()
	if err != nil {
		return err
	}
	defer file.Close()
	frames, err := newReader(r.Name, &counter{file, &r.read})
	if err != nil {
		return err
	}
	r.schedule.pass()
	for {
		f, err := frames.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		r.played.Packets++
		d, skip := decode(f)
		if skip == kept && !r.wants(d) {
			skip = SkipPort
		}
		if skip == kept {
			skip, err = r.send(d, f.at)
		}
		if err != nil {
			return err
		}
		if skip != kept {
			r.played.Skipped[skip]++
			if err := r.ctx.Err(); err != nil {
				return err
			}
		}
		if r.Count > 0 && r.played.Sent == r.Count {
			return errEnough
		}
	}
}

func (r *playing) wants(d datagram) bool {
	return (len(r.FromPorts) == 0 || slices.Contains(r.FromPorts, d.from.Port())) &&
		(len(r.ToPorts) == 0 || slices.Contains(r.ToPorts, d.to.Port()))
}

// send sends d when it is due. An error ends the playing.
func (r *playing) send(d datagram, at time.Time) (Skip, error) {
	source := netip.AddrPort{}
	if r.PerSource {
		source = d.from
		if _, known := r.senders[source]; !known && len(r.senders) == MaxSources {
			return SkipSource, nil
		}
	}
	sender, err := r.sender(source)
	if err != nil {
		return kept, err
	}
	now, err := r.wait(at)
	if err != nil {
		return kept, err
	}
	if err := sender.Send(d.payload); err != nil {
		if r.ctx.Err() != nil {
			return kept, r.ctx.Err()
		}
		if r.played.Failed++; r.played.FirstErr == nil {
			r.played.FirstErr = err
		}
		return kept, nil
	}
	r.played.Sent++
	r.played.Bytes += uint64(len(d.payload))
	if r.first.IsZero() {
		r.first = now
	}
	r.last = now
	if now.Sub(r.told) >= progressEvery {
		r.tell(now)
	}
	return kept, nil
}

// wait waits until what was recorded at is due, and returns the time then.
func (r *playing) wait(at time.Time) (time.Time, error) {
	now := time.Now()
	due := r.schedule.due(at, now)
	if ahead := due.Sub(now); ahead > 0 {
		r.timer.Reset(ahead)
		select {
		case <-r.timer.C:
			now = time.Now()
		case <-r.ctx.Done():
		}
	}
	if r.Speed > 0 {
		r.played.Late = max(r.played.Late, now.Sub(due))
	}
	return now, r.ctx.Err()
}

// sender returns the sender for a source.
func (r *playing) sender(source netip.AddrPort) (Sender, error) {
	if sender := r.senders[source]; sender != nil {
		return sender, nil
	}
	sender, err := r.Dial(r.ctx)
	if err != nil {
		return nil, err
	}
	r.senders[source] = sender
	r.readers.Go(func() {
		buf := make([]byte, answerSize)
		for {
			if _, err := sender.Receive(buf); err != nil {
				return
			}
		}
	})
	if s, ok := sender.(interface{ Ready(context.Context) error }); ok {
		began := time.Now()
		if err := s.Ready(r.ctx); err != nil {
			return nil, err
		}
		r.schedule.hold(time.Since(began))
	}
	return sender, nil
}

// linger stays for what may come of the last datagrams.
func (r *playing) linger() {
	const look = 10 * time.Millisecond
	until := time.Now().Add(r.Linger)
	for giveUp := until.Add(busyFor); ; {
		now := time.Now()
		if now.After(giveUp) || !now.Before(until) && !r.busy() {
			return
		}
		r.timer.Reset(max(look, until.Sub(now)))
		select {
		case <-r.timer.C:
		case <-r.ctx.Done():
			return
		}
	}
}

func (r *playing) busy() bool {
	for _, sender := range r.senders {
		if s, ok := sender.(interface{ Busy() bool }); ok && s.Busy() {
			return true
		}
	}
	return false
}

func (r *playing) tell(now time.Time) {
	if r.told = now; r.Progress != nil {
		r.Progress(Progress{r.read, r.played.Sent})
	}
}

// A counter counts what is read.
type counter struct {
	r io.Reader
	n *int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}

// String sums up in a line.
func (p *Played) String() string {
	text := fmt.Sprintf("sent %d datagrams (%d bytes) in %v", p.Sent, p.Bytes, p.Took.Round(time.Millisecond))
	if p.Sources > 1 {
		text += fmt.Sprintf(" from %d sockets", p.Sources)
	}
	for reason, n := range p.Skipped {
		if n > 0 {
			text += fmt.Sprintf("; skipped %d %v", n, Skip(reason))
		}
	}
	if p.Failed > 0 {
		text += fmt.Sprintf("; %d could not be sent", p.Failed)
	}
	return text
}
