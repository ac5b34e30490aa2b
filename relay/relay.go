package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"udprelay/peers"
)

// Options say how a [Relay] works. Most can be changed later, see [Relay.Apply].
type Options struct {
	Peers peers.Options // Own is set by the relay

	ReceiveBuffer int  // bytes that may wait in the kernel to be received; 0: the system's default
	SendBuffer    int  // bytes that may wait in the kernel to leave; 0: the system's default
	NoTrains      bool // each datagram leaves in a message of its own
	Senders       int  // goroutines that share out the receivers of each batch; 0 is 1

	// Coalesce is how long a batch that is not full waits for more datagrams, so
	// that trains grow; 0: not at all. Linux only.
	Coalesce time.Duration

	Limits Limits
	Secret []byte // what senders must know where a rule says join: secret

	Logger *slog.Logger // nil: nothing is logged
}

// Limits bound what passes in a second. 0: no limit.
type Limits struct {
	PeerDatagrams int // datagrams that are relayed for one peer, or for one [peers.Peer.Sender], whatever its ports
	PeerBytes     int // payload bytes that are relayed for one peer or sender
	EgressBytes   int // payload bytes that leave, once a receiver
}

// A Relay relays the datagrams of one socket.
type Relay struct {
	// Never change after New.
	socket socket
	table  *peers.Table
	own    *own
	began  time.Time // times in nanoseconds are distances from here
	log    *slog.Logger
	grace  time.Duration // stopGrace
	sent   *sentLog
	storms *storms
	recent *recent

	counters counters
	egress   peers.Bucket
	limits   atomic.Pointer[Limits]

	applying      sync.Mutex
	options       Options       // guarded by applying: those that hold
	expiryChanged chan struct{} // has an entry when keepHouse has to look

	turns    turns         // of the loop in Run
	ended    chan struct{} // closed when that loop has ended
	bringing bringing

	attachMu sync.Mutex // held while attached changes
	attached atomic.Pointer[attached]

	receiving struct { // of the goroutine in Run
		batch   *batch
		sender  *crew
		tally   tally
		door    *door
		backlog backlog

		refusals batchRefusals    // of the batch in hand
		rule     *peers.RuleTally // that has decided about the sender in hand; nil: none was asked

		forgetting peers.Bucket                              // of peers that refuse
		failed     func(netip.AddrPort, Report, []byte) bool // undeliverable
	}
}

// New makes a relay of conn, which must not be connected and belongs to the
// relay from then on, also if there is an error: the caller must not use it
// again.
//
// The socket may have been another relay's before, of this process or not, and
// may be one of several descriptors of one socket: datagrams and errors that
// wait are received, options that are set are set again. Run closes this
// descriptor only, and changes nothing more then. What other descriptors share,
// and find changed: on Linux the socket is in blocking mode (O_NONBLOCK is off),
// and the options of the socket are as the relay needs them, among them its
// buffers, IP_RECVERR, IP_PKTINFO and UDP_GRO on, and SO_BROADCAST off. Who
// reads from another descriptor gets trains whole, and is told so by UDP_GRO.
func New(conn *net.UDPConn, options Options) (*Relay, error) {
	bound, ok := conn.LocalAddr().(*net.UDPAddr)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("relay: %v is no UDP address", conn.LocalAddr())
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Relay{options: options, log: options.Logger, began: time.Now()}
	r.own = &own{bound: unmap(bound.AddrPort())}
	if err := r.own.refresh(); err != nil {
		r.log.Warn(err.Error(), "hint", "the relay may take an address of its own for a peer")
	}
	socket, err := newSocket(conn, r.own, options)
	if err != nil {
		conn.Close()
		return nil, err
	}
	r.use(socket)
	return r, nil
}

// use makes a relay that works with s of what New has begun.
func (r *Relay) use(s socket) {
	r.socket = s
	r.options.Peers.Own = r.own.contains
	r.options.Secret = bytes.Clone(r.options.Secret)
	limits := r.options.Limits
	r.limits.Store(&limits)
	r.expiryChanged = make(chan struct{}, 1)
	r.ended = make(chan struct{})
	r.grace = stopGrace
	r.table = peers.New(r.options.Peers, r.began)
	r.sent = newSentLog()
	r.storms = newStorms()
	r.recent = newRecent()
	r.receiving.batch = newBatch()
	r.receiving.sender = r.newCrew()
	r.receiving.failed = r.undeliverable
	r.receiving.refusals.list = make([]refused, 0, maxBatch)
	r.receiving.door = newDoor(r.options.Secret)
}

// newCrew makes the way out of the goroutine that receives.
func (r *Relay) newCrew() *crew {
	var others []sender
	for range r.options.Senders - 1 {
		others = append(others, r.socket.newSender(nil))
	}
	return newCrew(&r.turns, r.socket.newSender(&r.turns), others...)
}

// since returns t in nanoseconds since the relay was made.
func (r *Relay) since(t time.Time) int64 { return int64(t.Sub(r.began)) }

// Addr returns the address that the relay listens on.
func (r *Relay) Addr() netip.AddrPort { return r.own.bound }

// Peers returns the table of peers.
func (r *Relay) Peers() *peers.Table { return r.table }

// SetStatic makes addrs the static peers, see [peers.Table.SetStatic], and
// returns those that it passed over: with a zone that no interface has at the
// moment, or leading to the relay itself. Any goroutine may call it.
func (r *Relay) SetStatic(addrs []netip.AddrPort) (passedOver []netip.AddrPort) {
	list := make([]netip.AddrPort, 0, len(addrs))
	for _, addr := range addrs {
		numeric, ok := numericZone(unmap(addr))
		if !ok || r.own.contains(numeric) {
			passedOver = append(passedOver, addr)
			continue
		}
		list = append(list, numeric)
	}
	added, removed := r.table.SetStatic(list, time.Now())
	for _, p := range added {
		r.log.Debug("static peer added", "peer", p.Addr())
	}
	for _, p := range removed {
		r.log.Debug("static peer removed", "peer", p.Addr())
	}
	return passedOver
}

// Way says in words how datagrams leave.
func (r *Relay) Way() string { return r.socket.way() }

// yieldEvery is after how many batches other goroutines get their turn, if
// there is no processor free for them. A batch that takes long lets them in
// between.
const yieldEvery = 32

// Run relays until ctx is cancelled, which is no error, or the socket fails.
// It closes its descriptor of the socket and may be called once.
//
// When ctx is cancelled nothing more is received, and what was received is sent
// to everyone before Run returns, also what links are bringing. What takes
// longer than a second is dropped and counted as [DropStopped]. What waits in
// the socket stays there for other descriptors of it.
func (r *Relay) Run(ctx context.Context) error {
	keep, leave := context.WithCancel(context.WithoutCancel(ctx))
	var keeping sync.WaitGroup
	keeping.Go(func() { r.keepHouse(keep) })
	r.receiving.sender.start()
	interrupt := func() { r.socket.interrupt(time.Now().Add(r.grace)) }
	stop := context.AfterFunc(ctx, interrupt)
	defer func() {
		stop()
		r.liftLimits()
		close(r.ended)
		interrupt() // the time of links begins to run, if the socket has failed
		r.bringing.stop(2 * r.grace)
		leave()
		keeping.Wait()
		r.receiving.sender.stop()
		r.socket.close()
	}()
	for batches := 1; ctx.Err() == nil || r.socket.holds() || r.receiving.backlog.waiting(); batches++ {
		r.turns.answer()
		if batches%yieldEvery == 0 {
			runtime.Gosched()
		}
		if err := r.step(); err != nil && ctx.Err() == nil {
			return fmt.Errorf("relay on %v: %w", r.own.bound, err)
		}
	}
	return nil
}

// step receives one batch and relays it, or the next one of the backlog.
func (r *Relay) step() error {
	b, t, backlog := r.receiving.batch, &r.receiving.tally, &r.receiving.backlog
	if !backlog.waiting() {
		b.reset()
		if err := r.socket.receive(b, r.receiving.failed); err != nil {
			return err
		}
		now := time.Now()
		r.balance(now)
		if len(b.datagrams) == 0 { // woken
			b.at = r.since(now)
			r.filterStorms(b, true, t)
			r.counters.publish(t)
			return nil
		}
		r.admit(b, now, t)
		if !backlog.balancing.Load() && !r.socket.crowded() {
			return r.relay(b, r.receiving.sender, nil, t)
		}
		r.overloaded(b)
	}
	r.takeIn()
	backlog.next(b, r.since(time.Now()))
	r.turns.meanwhile = backlog.takeIn
	err := r.relay(b, r.receiving.sender, nil, t)
	r.turns.meanwhile = nil
	return err
}

// admit looks up or admits the sender of each datagram and leaves in the batch
// what is to be relayed.
func (r *Relay) admit(b *batch, now time.Time, t *tally) {
	var (
		from    netip.AddrPort // the sender of the datagram before, for they come in runs
		peer    *peers.Peer
		verdict peers.Verdict
		kept    int
		heard   heardRun
	)
	b.at = r.since(now)
	t.at = b.at
	t.Received += uint64(len(b.datagrams))
	t.ReceivedBytes += uint64(b.bytes())
	for i := range b.datagrams {
		d := &b.datagrams[i]
		if d.From != from {
			from = d.From
			peer, verdict, r.receiving.rule = r.table.Hear(from, now, peers.JoinOpen)
			if verdict == peers.Joined {
				r.joined(peer, b)
			} else if verdict == peers.Known && peer.Path.Failing() {
				r.isBack(peer)
			}
		}
		if verdict == peers.NeedsCookie || verdict == peers.NeedsSecret {
			if peer, verdict = r.prove(d, verdict, b.sources[i], now, t); peer == nil {
				continue
			}
			t.KeepAlives++
			heard.note(peer, len(d.Payload))
			peer.Path.Source.Store(b.sources[i])
			r.joined(peer, b)
			continue
		}
		if verdict.Refused() {
			r.refuse(from, dropFor[verdict], t)
			continue
		}
		heard.note(peer, len(d.Payload))
		if peer.Path.Source.Load() != b.sources[i] {
			peer.Path.Source.Store(b.sources[i])
		}
		if admits(peer, len(d.Payload), t) {
			b.keep(kept, i, peer)
			b.speaks(peer)
			kept++
		}
	}
	b.datagrams = b.datagrams[:kept]
	heard.flush()
	if len(r.receiving.refusals.list) > 0 {
		r.receiving.refusals.count()
		r.recent.note(&r.receiving.refusals, b.at)
	}
	r.filter(b, true, t)
}

// joined is told of a peer that has joined with a datagram of b.
func (r *Relay) joined(p *peers.Peer, b *batch) {
	b.joined(p)
	if p.Sender() {
		r.log.Debug("new sender", "address", p.Addr().Addr())
		return
	}
	if r.receiving.backlog.waiting() {
		r.receiving.backlog.queue.SetOrigin(p.Addr(), p)
	}
	r.log.Debug("peer joined", "peer", p.Addr())
}

// dropFor translates what the table says of a sender.
var dropFor = [...]Drop{
	peers.RefusedByRule: DropRule,
	peers.Banned:        DropBanned,
	peers.TableFull:     DropTableFull,
	peers.AddressFull:   DropAddressFull,
	peers.JoinsTooFast:  DropJoinRate,
	peers.NeverAPeer:    DropNeverAPeer,
}

// relay sends the batch to every receiver and hands it to every link but
// brought, then publishes the tally.
func (r *Relay) relay(b *batch, out sender, brought *Attachment, t *tally) error {
	defer r.counters.publish(t)
	t.at = b.at
	receivers := r.table.Receivers()
	r.seat(b)
	t.due(b, receivers)
	if perSecond := r.limits.Load().EgressBytes; perSecond > 0 {
		r.capEgress(b, receivers, perSecond, t)
	}
	if len(b.datagrams) == 0 {
		return nil
	}
	r.sent.note(b)
	if err := out.send(b, everyoneFrom(receivers, b.number), t); err != nil {
		if left := t.unaccounted(); left > 0 { // the socket is closed
			t.drop(DropStopped, left, netip.AddrPort{})
		}
		return err
	}
	r.handOver(b, brought, t)
	return nil
}

// closed reports whether err says that the socket was closed.
func closed(err error) bool { return errors.Is(err, net.ErrClosed) }
