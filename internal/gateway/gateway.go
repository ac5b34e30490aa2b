package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"udprelay/peers"
	"udprelay/relay"
)

// Options say where clients connect, and what they may. All can be changed, see
// [Gateway.Apply].
type Options struct {
	TCP, TLS, WebSocket string // host:port to listen at; "": not. Port 0 lets the system choose

	Certificates *tls.Config // of TLS and of encrypted WebSockets, see [certificate.Load]; nil: there are none

	Encrypted bool     // WebSockets are wss
	Path      string   // of the WebSocket
	Origins   []string // scheme://host[:port] of the pages that may open one, besides that of the gateway itself; "*": all

	Secret []byte // what clients must know where a rule says join: secret; nil: nobody does

	Connections int           // at once; more are closed as soon as they are there
	PerAddress  int           // of them, from one host as peers.HostOf says, handshakes included; 0: no limit
	Queue       int           // bytes that may wait for a client
	Idle        time.Duration // a client that has sent nothing for so long is disconnected; 0: it may be silent
}

// A Gateway serves clients without UDP.
type Gateway struct {
	relay    *relay.Relay
	entrance *relay.Entrance
	log      *slog.Logger
	options  atomic.Pointer[Options]
	door     *door
	counts   counts
	waits    waits
	began    time.Time

	handshakes chan struct{}      // has room for those that may compute at once
	closing    context.Context    // done: the gateway is closed
	closeNow   context.CancelFunc // makes it so
	idle       chan struct{}      // has an entry when Options.Idle has changed

	connections atomic.Int64 // open now

	applying  sync.Mutex // held while what follows changes
	listeners map[way]*listener
	applied   bool // at least once

	mu      sync.Mutex           // guards what follows
	clients map[*client]struct{} // those whose connection has not ended
	ending  Reason               // not 0: no more clients are taken
	hosts   map[peers.Host]int   // connections of each

	working sync.WaitGroup // goroutines
}

// A way is one of those that clients come by.
type way uint8

const (
	byTCP way = iota
	byTLS
	byWebSocket

	allWays
)

// ways are all, with what the configuration calls them.
var ways = map[way]string{byTCP: "gateway.tcp.listen", byTLS: "gateway.tls.listen", byWebSocket: "gateway.websocket.listen"}

// address returns where clients come by that way, or "".
func (o *Options) address(w way) string {
	return map[way]string{byTCP: o.TCP, byTLS: o.TLS, byWebSocket: o.WebSocket}[w]
}

// waits are how long things are waited for.
type waits struct{ handshake, prove, stuck, linger, leave, vanished time.Duration }

// New returns a gateway to r that listens nowhere until [Gateway.Apply].
func New(r *relay.Relay, log *slog.Logger) *Gateway {
	g := &Gateway{
		relay: r, entrance: r.Entrance(), log: log, door: newDoor(), began: time.Now(),
		waits:      waits{handshake: handshakeWithin, prove: proveWithin, stuck: stuckAfter, linger: lingerWithin, leave: leaveWithin, vanished: vanishedAfter},
		handshakes: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
		idle:       make(chan struct{}, 1),
		listeners:  make(map[way]*listener),
		clients:    make(map[*client]struct{}),
		hosts:      make(map[peers.Host]int),
	}
	g.closing, g.closeNow = context.WithCancel(context.Background())
	g.options.Store(&Options{})
	return g
}

// A ListenError is why a gateway cannot listen.
type ListenError struct {
	Key     string // of the configuration
	Address string
	Err     error
}

func (e *ListenError) Error() string { return e.Key + " " + e.Address + ": " + e.Err.Error() }

func (e *ListenError) Unwrap() error { return e.Err }

// ErrClosed is returned when the gateway is closed.
var ErrClosed = errors.New("the gateway is closed")

// errNoCertificate is why a gateway cannot listen for encrypted connections.
var errNoCertificate = errors.New("there is no certificate to show to those who connect: want gateway.tls.certificate and gateway.tls.key")

// Apply makes options hold from now on. Clients that are connected stay, unless
// their way is turned off; new certificates, paths and origins are for those
// that come. If it cannot listen somewhere, nothing is changed, and the error is
// a [*ListenError]. A host name is looked up until ctx is cancelled.
func (g *Gateway) Apply(ctx context.Context, options Options) error {
	g.applying.Lock()
	defer g.applying.Unlock()
	if g.closing.Err() != nil {
		return ErrClosed
	}
	options.Secret, options.Origins = bytes.Clone(options.Secret), slices.Clone(options.Origins)
	before := g.options.Load()
	opened, err := g.open(ctx, before, &options)
	if err != nil {
		return err
	}
	g.options.Store(&options)
	g.door.setSecret(options.Secret)
	for w := range allWays {
		l, fresh := g.listeners[w], opened[w]
		if l != nil && (fresh != nil || options.address(w) == "") {
			delete(g.listeners, w)
			l.stop()
			if fresh == nil {
				g.endAll(Stopped, func(c *client) bool { return c.way == w })
				g.log.Info("gateway closed", "key", ways[w])
			}
		}
		if fresh != nil {
			g.listeners[w] = fresh
			g.working.Go(fresh.serve)
			g.log.Info("gateway open", "key", ways[w], "listen", fresh.Addr())
		}
	}
	g.changeClients(before, &options)
	return nil
}

// open opens what options have and before has not.
func (g *Gateway) open(ctx context.Context, before, options *Options) (map[way]*listener, error) {
	opened, err := g.tryOpen(ctx, before, options)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return opened, err
	}
	// By one of ours, perhaps, that is to close: they change places, or the
	// same port is to be at other addresses.
	var closed []*listener
	for w, l := range g.listeners {
		if options.address(w) != before.address(w) {
			l.stop()
			closed = append(closed, l)
		}
	}
	if len(closed) == 0 {
		return nil, err
	}
	if opened, err = g.tryOpen(ctx, before, options); err == nil {
		return opened, nil
	}
	for _, l := range closed {
		again, lost := g.listen(ctx, l.way, l.Addr().String())
		if lost != nil {
			delete(g.listeners, l.way)
			g.log.Error("the gateway cannot listen any more where it did", "key", ways[l.way], "listen", l.Addr(), "error", lost)
			continue
		}
		g.listeners[l.way] = again
		g.working.Go(again.serve)
	}
	return nil, err
}

// tryOpen is open, if all of it can be opened beside what is open already.
func (g *Gateway) tryOpen(ctx context.Context, before, options *Options) (map[way]*listener, error) {
	opened := make(map[way]*listener)
	for w := range allWays {
		address := options.address(w)
		if address == "" {
			continue
		}
		var l *listener
		err := errNoCertificate
		if options.Certificates != nil || w == byTCP || w == byWebSocket && !options.Encrypted {
			if address == before.address(w) && g.listeners[w] != nil {
				continue
			}
			l, err = g.listen(ctx, w, address)
		}
		if err != nil {
			for _, l := range opened {
				l.stop()
			}
			return nil, &ListenError{ways[w], address, err}
		}
		opened[w] = l
	}
	return opened, nil
}

// changeClients makes what has changed hold for those that are there.
func (g *Gateway) changeClients(before, now *Options) {
	if before.Queue != now.Queue {
		g.mu.Lock()
		for c := range g.clients {
			c.queue.setMost(now.Queue)
		}
		g.mu.Unlock()
	}
	if !g.applied {
		g.applied = true
		g.working.Go(g.watchSilence)
	}
	select {
	case g.idle <- struct{}{}:
	default:
	}
}

// Addrs returns where the gateway listens, by what clients come by.
func (g *Gateway) Addrs() map[peers.Transport]netip.AddrPort {
	g.applying.Lock()
	defer g.applying.Unlock()
	addrs := make(map[peers.Transport]netip.AddrPort)
	for w, l := range g.listeners {
		addrs[g.transport(w)] = addrOf(l.Addr())
	}
	return addrs
}

// transport returns what those are that come by that way.
func (g *Gateway) transport(w way) peers.Transport {
	switch {
	case w == byTCP:
		return peers.TCP
	case w == byTLS:
		return peers.TLS
	case g.options.Load().Encrypted:
		return peers.SecureWebSocket
	}
	return peers.WebSocket
}

// Close ends all connections and returns when they have ended. Clients have 80 ms
// to take what waits for them; then their connections are cut.
func (g *Gateway) Close() {
	g.applying.Lock()
	g.closeNow()
	for _, l := range g.listeners {
		l.stop()
	}
	clear(g.listeners)
	g.applying.Unlock()
	g.mu.Lock()
	g.ending = Stopped
	g.mu.Unlock()
	g.endAll(Stopped, func(*client) bool { return true })
	defer time.AfterFunc(g.waits.leave, g.abort).Stop()
	g.working.Wait()
}

// abort cuts all connections.
func (g *Gateway) abort() {
	g.mu.Lock()
	list := slices.Collect(maps.Keys(g.clients))
	g.mu.Unlock()
	for _, c := range list { // each makes room, with the mutex
		c.wire.abort()
	}
}

// endAll ends the clients for which mine holds.
func (g *Gateway) endAll(why Reason, mine func(*client) bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.clients {
		if mine(c) {
			c.end(why)
		}
	}
}

// serve serves a client whose handshake is done, until its connection has ended.
func (g *Gateway) serve(c *client) {
	g.mu.Lock()
	g.clients[c] = struct{}{}
	switch o := g.options.Load(); {
	case g.ending != 0:
		c.end(g.ending)
		defer time.AfterFunc(g.waits.leave, c.wire.abort).Stop() // Close may have cut the others already
	case o.address(c.way) == "": // turned off since it came
		c.end(Stopped)
	default:
		c.queue.setMost(o.Queue)
	}
	g.mu.Unlock()
	why := c.run()
	g.mu.Lock()
	delete(g.clients, c)
	g.mu.Unlock()
	if why == NotLetIn {
		g.ended(c.addr, c.transport, why, "because", c.refused)
		return
	}
	g.ended(c.addr, c.transport, why)
}

// now returns the time since the gateway was made, in nanoseconds.
func (g *Gateway) now() int64 { return int64(time.Since(g.began)) }

// addrOf returns the address, unmapped, of a TCP socket.
func addrOf(addr net.Addr) netip.AddrPort {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	a := tcp.AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
