package bench

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	progressEvery = 250 * time.Millisecond

	// mostDrain is how long what is under way is waited for at most.
	mostDrain = 30 * time.Second

	// sampled is how many datagrams in a second each latency peer receives at
	// most, about: the others are dropped by its filter.
	sampled = 5000

	// sampleUnpaced is one of how many they receive where there is no rate. It
	// is prime, so that it is not always the same one of a batch.
	sampleUnpaced = 61

	// marksOfWindow is how many datagrams of a window a mark reads, about.
	marksOfWindow = 16

	// A generator that is not waiting for the relay sets the pace itself.
	busyShare = 0.02
)

// quiet is how long nothing must come before what is under way counts as lost.
// Tests on slow machines have more.
var quiet = time.Second

// A running is a run.
type running struct {
	config          *Config
	sockets         []socket  // receivers, then senders
	measured, probe uint32    // what the run's datagrams begin with
	every           uint32    // one of how many the latency peers receive
	latency         []*socket // the latency peers
	marks           []mark    // where there is a window
	passesEmpty     bool      // the relay passes on empty datagrams
	generator       *generator
	listener        *listener
	tell            func(Snapshot)

	last     Snapshot
	lastTime int64
}

// A mark is a receiver at which the generator looks how far the relay is.
type mark struct {
	socket *socket
	got    uint64 // datagrams that were sent up to the last that it got
}

// Run loads the relay as c says, and returns what it measured. It calls progress,
// if that is not nil, some times a second, and not at the same time. When ctx is
// done while datagrams are sent, or sending fails, it ends early, and the result
// is of what was sent until then.
func Run(ctx context.Context, c Config, progress func(Snapshot)) (Result, error) {
	if err := c.Check(); err != nil {
		return Result{}, err
	}
	r, err := newRunning(&c, progress)
	if err != nil {
		return Result{}, err
	}
	defer r.close()
	return r.joinAndMeasure(ctx)
}

// newRunning opens the sockets, and says what each is for.
func newRunning(c *Config, progress func(Snapshot)) (*running, error) {
	for _, relay := range []*netip.AddrPort{&c.Relay, &c.ReceiversAt} {
		*relay = netip.AddrPortFrom(relay.Addr().Unmap(), relay.Port())
	}
	if c.KeepAlive == 0 {
		c.KeepAlive = defaultKeepAlive
	}
	if c.PID > 0 {
		if _, _, err := memoryOf(c.PID); err != nil {
			return nil, err
		}
	}
	r := &running{config: c, tell: progress, every: 1}
	r.measured, r.probe = newRunNumbers()
	switch {
	case c.Rate == 0:
		r.every = sampleUnpaced
	case c.Rate > sampled:
		r.every = uint32(math.Ceil(c.Rate/sampled)) | 1
	}
	var err error
	if r.sockets, err = openSockets(c); err != nil {
		return nil, err
	}
	if err := r.prepare(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *running) close() {
	closeSockets(r.sockets)
	if r.listener != nil {
		unix.Close(r.listener.wake)
	}
}

func (r *running) joinAndMeasure(ctx context.Context) (Result, error) {
	if err := r.join(ctx); err != nil {
		return Result{}, err
	}
	return r.measure(ctx)
}

// prepare says what each socket is for, and attaches its filter.
func (r *running) prepare() (err error) {
	every := map[*socket]uint32{}
	free := make([]*socket, r.config.receivers()) // in the order of joining
	for i := range free {
		free[i] = &r.sockets[i]
	}
	look := func(at int) {
		s := free[at]
		free = slices.Delete(free, at, at+1)
		every[s] = uint32(r.config.window()/marksOfWindow) | 1
		s.readElse = true
		r.marks = append(r.marks, mark{socket: s})
	}
	if r.config.Rate == 0 && !r.config.Flood {
		look(len(free) - 1) // one that gets things last
		if len(free) > 2 {
			look(len(free) / 2)
		}
	}
	count := min(r.config.LatencyPeers, len(free))
	for i := range count {
		at := len(free) - 1
		if count > 1 {
			at = i * (len(free) - 1) / (count - 1)
		}
		every[free[at]] = r.every
		free[at].readElse = true
		r.latency = append(r.latency, free[at])
	}
	for i := range r.sockets {
		if err := filter(r.sockets[i].fd, r.measured, every[&r.sockets[i]]); err != nil {
			return err
		}
	}
	if count > 0 {
		r.listener, err = newListener(r, r.latency)
	}
	return err
}

// counted returns how many sockets datagrams are due to: the first ones.
func (r *running) counted() int {
	if len(r.config.Static) > 0 || r.config.Senders == 1 {
		return r.config.receivers()
	}
	return len(r.sockets)
}

func (r *running) progress(s Snapshot) {
	if r.tell != nil {
		r.tell(s)
	}
}

// came returns how many datagrams have come in all.
func (r *running) came() (total uint64) {
	for i := range r.counted() {
		total += r.sockets[i].count()
	}
	return total
}

// measure is the run itself, with all peers in.
func (r *running) measure(ctx context.Context) (Result, error) {
	for i := range r.sockets {
		r.sockets[i].drain(r.probe)
		r.sockets[i].begin()
	}
	g := newGenerator(r)
	r.generator = g

	var running sync.WaitGroup
	var heard error
	offset := realOffset()
	meter, err := newMeter(r.config)
	if err != nil {
		return Result{}, err
	}
	g.began = clock()
	if r.listener != nil {
		r.listener.began = g.began + offset
		running.Go(func() { heard = r.listener.listen() })
	}
	keeping, stopKeeping := context.WithCancel(context.Background())
	if len(r.config.Static) == 0 {
		running.Go(func() { r.keepAlive(keeping) })
	}
	sent := make(chan error, 1)
	go func() { sent <- g.send(ctx) }()
	failed := r.watch(sent)
	sending, interrupted := r.last.Came, ctx.Err() != nil || failed != nil
	if g.sent.Load() > 0 || failed == nil {
		err = nil
		r.drain()
	} else {
		err = failed
	}
	stopKeeping()
	if r.listener != nil {
		r.listener.end()
	}
	running.Wait()
	if err == nil {
		err = heard
	}
	if err != nil {
		return Result{}, err
	}
	result := r.result(sending)
	if result.Interrupted = interrupted; failed != nil {
		result.Notes = append(result.Notes, fmt.Sprintf("it ended early: %v", failed))
	}
	meter.read(&result)
	if moved := realOffset() - offset; r.listener != nil && (moved > 1e6 || moved < -1e6) {
		result.Notes = append(result.Notes, "the system's clock was set meanwhile, so latency is wrong")
	}
	return result, nil
}

// realOffset returns what the clock that the kernel stamps with is ahead of
// clock. Adjusting its speed changes both.
func realOffset() int64 { return time.Now().UnixNano() - clock() }

// watch tells what is going on until the generator has ended.
func (r *running) watch(sent <-chan error) error {
	// To look at 100,000 receivers takes time that the relay may need.
	every := max(progressEvery, time.Duration(r.counted())*25*time.Microsecond)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	first := time.NewTicker(r.pause())
	defer first.Stop()
	r.lastTime = r.generator.began
	for {
		select {
		case err := <-sent:
			r.generator.back()
			r.look(Sending)
			return err
		case <-ticker.C:
			r.look(Sending)
		case <-first.C:
			if r.came() > 0 {
				r.generator.heard.Store(true)
				first.Stop()
			}
		}
	}
}

// pause is how often it is asked whether something has come, where that matters.
func (r *running) pause() time.Duration {
	return max(time.Millisecond, time.Duration(r.counted())*5*time.Microsecond)
}

// look takes a snapshot.
func (r *running) look(phase Phase) {
	g, now := r.generator, clock()
	s := Snapshot{Phase: phase, Joined: r.counted(), Peers: r.counted(), Elapsed: time.Duration(now - g.began), Sent: g.sent.Load(), Came: r.came()}
	for i := range r.sockets {
		if s := &r.sockets[i]; s.waits && !s.readElse {
			s.drain(r.probe)
		}
	}
	s.Due = s.Sent * uint64(r.config.due())
	if passed := float64(now-r.lastTime) / 1e9; passed > 0 {
		s.SentRate, s.DeliveredRate = float64(s.Sent-r.last.Sent)/passed, float64(s.Came-r.last.Came)/passed
	}
	r.last, r.lastTime = s, now
	r.progress(s)
}

// drain waits for what is under way.
func (r *running) drain() {
	pause := r.pause()
	shown := clock()
	for began, moved, before := clock(), clock(), r.came(); ; {
		r.generator.back()
		came, now := r.came(), clock()
		if came != before {
			before, moved = came, now
		}
		if came >= r.generator.sent.Load()*uint64(r.config.due()) || now-moved > int64(quiet) || now-began > int64(mostDrain) {
			return
		}
		if now-shown > int64(progressEvery) {
			shown = now
			r.look(Draining)
		}
		time.Sleep(pause)
	}
}

// keepAlive keeps the peers known, one after the other, and drops what others
// have sent them.
func (r *running) keepAlive(ctx context.Context) {
	const most = 100 * time.Microsecond // between two
	pause := r.config.KeepAlive / time.Duration(len(r.sockets))
	atOnce := 1
	if pause < most {
		atOnce, pause = int(most/max(pause, 1)), most
	}
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for at := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for range atOnce {
			s := &r.sockets[at]
			_ = unix.Send(s.fd, nil, unix.MSG_DONTWAIT) // a refusal is the generator's to count
			if !s.readElse {
				s.drain(r.probe)
			}
			at = (at + 1) % len(r.sockets)
		}
	}
}

// result returns what was measured. While datagrams were sent, so many came.
func (r *running) result(sending uint64) Result {
	c, g := r.config, r.generator
	seconds := float64(g.ended-g.began) / 1e9
	result := Result{
		Relay: c.Relay, Peers: c.receivers(), Senders: c.Senders, Static: len(c.Static) > 0, Sizes: c.Mix.String(), Rate: c.Rate,
		Trains: c.Trains, LatencyPeers: len(r.latency), Seconds: seconds,
		Sent: g.sent.Load(), SentBytes: g.sentBytes.Load(), Refused: g.refused.Load(), Notes: []string{},
		LeastDelivered: math.MaxUint64,
	}
	result.Due = result.Sent * uint64(c.due())
	// Each receiver is counted for itself: what one has too often is no reason to
	// overlook what another one lacks. Senders are due what others sent.
	full, fromSenders := false, uint64(0)
	count := func(came, due uint64) {
		result.Delivered += came
		result.Lost += due - min(came, due)
		result.Surplus += came - min(came, due)
	}
	for i := range r.counted() {
		s := &r.sockets[i]
		came := s.count()
		full = full || s.full
		result.Foreign = max(result.Foreign, s.foreign.Load())
		if i >= c.receivers() {
			fromSenders += came
			continue
		}
		count(came, result.Sent)
		result.LeastDelivered, result.MostDelivered = min(result.LeastDelivered, came), max(result.MostDelivered, came)
	}
	count(fromSenders, result.Due-result.Sent*uint64(c.receivers()))
	if result.Surplus > 0 {
		result.Notes = append(result.Notes, "more came than was due: something repeats datagrams")
	}
	if full {
		result.Notes = append(result.Notes, "others send so much to this relay that receivers had no room for it: more was lost, and less was delivered, than the figures say")
	}
	if r.passesEmpty {
		result.Notes = append(result.Notes, fmt.Sprintf("the relay passes on empty datagrams: it also relays the keep-alives of all %d peers, one of each every %v", len(r.sockets), c.KeepAlive))
	}
	if result.Due > 0 {
		result.LossRatio = float64(result.Lost) / float64(result.Due)
	}
	result.SentPerSecond, result.DeliveredPerSecond = float64(result.Sent)/seconds, float64(sending)/seconds
	result.Generator = Generator{ProcessorSeconds: g.processor.Seconds(), ProcessorShare: g.processor.Seconds() / seconds, Late: timesOf(g.late)}
	switch {
	case c.Rate > 0:
		result.Pace = "rate"
		// Of what was to leave until it ended, early or not.
		planned := c.Rate * min(seconds, c.Duration.Seconds())
		result.Generator.Limit = float64(result.Sent) < 0.99*planned-1
	case c.Flood:
		result.Pace = "flood"
		result.Generator.Limit = result.LossRatio < 0.001
	default:
		result.Pace, result.Window = "window", c.window()
		result.Generator.Limit = float64(g.waited)/1e9 < busyShare*seconds
	}
	r.listened(&result)
	if result.Refused > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf("the relay's host refused datagrams %d times: nothing listened there for a while", result.Refused))
	}
	return result
}

// listened adds what the latency peers have noted, and what others have sent.
func (r *running) listened(result *Result) {
	l := r.listener
	if l != nil {
		result.Latency, result.Spread = timesOf(l.latency), timesOf(l.spread)
		for _, n := range l.foreign {
			result.Foreign = max(result.Foreign, n)
		}
	}
	if result.Foreign > 0 {
		result.Notes = append(result.Notes, "others send to this relay, too, so that the bench does not measure all that it does")
	}
	if l != nil && l.early > 0 {
		result.Notes = append(result.Notes, fmt.Sprintf("%d datagrams came before they left: the system's clock was set meanwhile, so latency is wrong", l.early))
	}
}
