package daemon

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"udprelay/internal/config"
	"udprelay/internal/state"
	"udprelay/relay"
)

const (
	// resolveEvery is how often the names of static peers are looked up again.
	resolveEvery = time.Minute

	// resolveTimeout bounds one look-up; it is below resolveEvery, so that no
	// two of a name run at once.
	resolveTimeout = 20 * time.Second

	// resolveFirst is how long the start waits for names whose address is not
	// known, so that datagrams which wait already reach those peers as well.
	resolveFirst = time.Second

	// resolveAtOnce is how many look-ups run at a time.
	resolveAtOnce = 8
)

// A nameResolver looks names up, as *net.Resolver does.
type nameResolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Static keeps the static peers of the configuration in the relay's table.
// Names are looked up beside the datapath, which never waits for them. A name
// that fails keeps the address that it had.
type static struct {
	relay    *relay.Relay
	resolver nameResolver
	network  string // of the addresses that the relay's socket can reach: ip, ip4, ip6
	every    time.Duration
	log      *slog.Logger
	entries  []*entry
	note     func([]state.Name) // is told the addresses that names have
}

// An entry is one static peer.
type entry struct {
	text string // as configured
	host string // the name to look up; empty: an address
	port uint16

	addr       netip.AddrPort // the zero AddrPort: not known yet
	failed     bool           // the last look-up did
	passedOver bool           // the relay did not take addr
}

// newStatic returns the static peers of cfg, and gives those with a known
// address to the relay. Names have the address that they had before, until they
// are looked up. Note is told what addresses names have, each time that may have
// changed.
func newStatic(cfg *config.Config, r *relay.Relay, resolver nameResolver, log *slog.Logger, note func([]state.Name), before []state.Name) *static {
	s := &static{relay: r, resolver: resolver, network: "ip6", every: resolveEvery, log: log, note: note}
	switch bound := r.Addr().Addr(); {
	case bound.Is4():
		s.network = "ip4"
	case bound.IsUnspecified():
		s.network = "ip"
	}
	known := make(map[string]*entry, len(before))
	for _, name := range before {
		known[name.Text] = &entry{addr: name.Addr}
	}
	s.enter(cfg, known)
	s.apply()
	return s
}

// after returns the static peers of cfg, which take the place of s. What is
// known of those that stay holds. Between is called when the new ones are there
// as well, and the old ones are still.
func (s *static) after(cfg *config.Config, between func()) *static {
	known := make(map[string]*entry, len(s.entries))
	for _, e := range s.entries {
		known[e.text] = e
	}
	next := &static{relay: s.relay, resolver: s.resolver, network: s.network, every: s.every, log: s.log, note: s.note}
	next.enter(cfg, known)
	s.relay.SetStatic(slices.Concat(s.addresses(), next.addresses()))
	between()
	next.apply()
	return next
}

// enter makes the entries of cfg.
func (s *static) enter(cfg *config.Config, known map[string]*entry) {
	for _, peer := range cfg.Peers.Static {
		// The configuration is checked: there is a host and a port.
		host, service, _ := net.SplitHostPort(peer.Address)
		port, _ := strconv.ParseUint(service, 10, 16)
		e := &entry{text: peer.Address, port: uint16(port)}
		if addr, err := netip.ParseAddr(host); err == nil {
			e.addr = netip.AddrPortFrom(addr, e.port)
		} else {
			e.host = host
		}
		if known := known[e.text]; known != nil && e.host != "" {
			e.addr, e.failed, e.passedOver = known.addr, known.failed, known.passedOver
		}
		s.entries = append(s.entries, e)
	}
}

// addresses returns those that are known.
func (s *static) addresses() (addrs []netip.AddrPort) {
	for _, e := range s.entries {
		if e.addr.IsValid() {
			addrs = append(addrs, e.addr)
		}
	}
	return addrs
}

// named returns the addresses that names have.
func (s *static) named() (names []state.Name) {
	for _, e := range s.entries {
		if e.host != "" && e.addr.IsValid() {
			names = append(names, state.Name{Text: e.text, Addr: e.addr})
		}
	}
	return names
}

// run looks names up, at once and then every s.every, until ctx is done. It
// closes first, if there is one, after the first time.
func (s *static) run(ctx context.Context, first chan<- struct{}) {
	if len(s.entries) == 0 {
		return
	}
	names := s.names()
	again := time.NewTicker(s.every)
	defer again.Stop()
	for {
		s.resolve(ctx, names)
		if first != nil {
			close(first)
			first = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		s.apply() // interfaces, and with them zones and addresses of this host, come and go
	}
}

// names returns the entries that are to be looked up.
func (s *static) names() []*entry {
	return slices.DeleteFunc(slices.Clone(s.entries), func(e *entry) bool { return e.host == "" })
}

// An answer is what the look-up of an entry brought.
type answer struct {
	entry *entry
	addrs []netip.Addr
	err   error
}

// resolve looks all names up, a few at a time, and applies the answers as they
// come: a name whose server is dead does not hold up the others.
func (s *static) resolve(ctx context.Context, names []*entry) {
	answers := make(chan answer, len(names))
	var asking sync.WaitGroup
	asking.Go(func() {
		slots := make(chan struct{}, resolveAtOnce)
		for _, e := range names {
			slots <- struct{}{}
			asking.Go(func() {
				defer func() { <-slots }()
				ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
				defer cancel()
				addrs, err := s.resolver.LookupNetIP(ctx, s.network, e.host)
				answers <- answer{e, addrs, err}
			})
		}
	})
	defer asking.Wait()
	for left := len(names); left > 0; {
		changed := s.take(ctx, <-answers)
		for left--; left > 0 && len(answers) > 0; left-- { // the table is rebuilt once for all that are there
			changed = s.take(ctx, <-answers) || changed
		}
		if changed {
			s.apply()
		}
	}
}

// take notes an answer and says whether it changes the address of its entry.
func (s *static) take(ctx context.Context, a answer) (changed bool) {
	e := a.entry
	if a.err == nil && len(a.addrs) == 0 {
		a.err = errors.New("the name has no address that this socket can reach")
	}
	if a.err != nil {
		if !e.failed && ctx.Err() == nil {
			e.failed = true
			s.log.Warn("static peer does not resolve", "peer", e.text, "error", a.err, "again_every", s.every, "meanwhile", meanwhile(e))
		}
		return false
	}
	e.failed = false
	// The one that it has stays as long as the name has it, so that an order
	// that changes with each answer changes nothing.
	for _, addr := range a.addrs {
		if netip.AddrPortFrom(addr.Unmap(), e.port) == e.addr {
			return false
		}
	}
	e.addr = netip.AddrPortFrom(a.addrs[0].Unmap(), e.port)
	s.log.Info("static peer resolved", "peer", e.text, "address", e.addr)
	return true
}

func meanwhile(e *entry) string {
	if e.addr.IsValid() {
		return "sending to " + e.addr.String()
	}
	return "not sending to it"
}

// apply gives the addresses that are known to the relay, and says which it does
// not take.
func (s *static) apply() {
	s.note(s.named())
	passedOver := s.relay.SetStatic(s.addresses())
	for _, e := range s.entries {
		was := e.passedOver
		if e.passedOver = slices.Contains(passedOver, e.addr); e.passedOver && !was {
			s.log.Warn("static peer passed over: its interface is not there, or it is the relay itself or a broadcast address",
				"peer", e.text, "address", e.addr, "again_every", s.every)
		}
	}
}

// Resolving is static peers whose names are being looked up.
type resolving struct {
	static *static
	first  chan struct{} // closed when the address of every name is known, or was looked up once
	stop   func()        // returns when nobody looks up any more
}

func startResolving(s *static) *resolving {
	ctx, cancel := context.WithCancel(context.Background())
	r := &resolving{static: s, first: make(chan struct{})}
	first := r.first
	if !slices.ContainsFunc(s.entries, func(e *entry) bool { return !e.addr.IsValid() }) {
		close(r.first)
		first = nil
	}
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx, first) })
	r.stop = func() {
		cancel()
		running.Wait()
	}
	return r
}

// wait waits for first, but no longer than limit.
func (r *resolving) wait(ctx context.Context, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-r.first:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// instead has the static peers of cfg instead of the previous ones, see
// [static.after].
func (r *resolving) instead(cfg *config.Config, between func()) *resolving {
	r.stop()
	return startResolving(r.static.after(cfg, between))
}

// noteNames keeps the addresses that names have for the state file.
func (d *daemon) noteNames(names []state.Name) {
	if before := d.names.Load(); before != nil && slices.Equal(*before, names) {
		return
	}
	d.names.Store(&names)
	d.resolved.Add(1)
}

// namesByAddress returns how the static peers are configured that have names.
func (d *daemon) namesByAddress() map[netip.AddrPort]string {
	names := make(map[netip.AddrPort]string)
	if known := d.names.Load(); known != nil {
		for _, name := range *known {
			names[name.Addr] = name.Text
		}
	}
	return names
}
