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
	"udprelay/relay"
)

const (
	// resolveEvery is how often the names of static peers are looked up again.
	resolveEvery = time.Minute

	// resolveTimeout bounds one look-up; it is below resolveEvery, so that no
	// two of a name run at once.
	resolveTimeout = 20 * time.Second

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

// newStatic returns the static peers of cfg. Those that were there before, in
// another configuration (nil: none), keep the addresses that they had.
func newStatic(cfg *config.Config, r *relay.Relay, resolver nameResolver, log *slog.Logger, before *static) *static {
	s := &static{relay: r, resolver: resolver, network: "ip6", every: resolveEvery, log: log}
	switch bound := r.Addr().Addr(); {
	case bound.Is4():
		s.network = "ip4"
	case bound.IsUnspecified():
		s.network = "ip"
	}
	known := before.byText()
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
		if known := known[e.text]; known != nil {
			*e = *known
		}
		s.entries = append(s.entries, e)
	}
	s.apply()
	return s
}

// byText returns the entries by how they are written.
func (s *static) byText() map[string]*entry {
	entries := map[string]*entry{}
	if s != nil {
		for _, e := range s.entries {
			entries[e.text] = e
		}
	}
	return entries
}

// run looks names up, at once and then every s.every, until ctx is done.
func (s *static) run(ctx context.Context) {
	if len(s.entries) == 0 {
		return
	}
	names := s.names()
	again := time.NewTicker(s.every)
	defer again.Stop()
	for {
		s.resolve(ctx, names)
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
	var addrs []netip.AddrPort
	for _, e := range s.entries {
		if e.addr.IsValid() {
			addrs = append(addrs, e.addr)
		}
	}
	passedOver := s.relay.SetStatic(addrs)
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
	stop   func() // returns when nobody looks up any more
}

func startResolving(s *static) *resolving {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.run(ctx) })
	return &resolving{s, func() {
		cancel()
		running.Wait()
	}}
}

// instead has the static peers of cfg instead of those of before.
func (r *resolving) instead(cfg *config.Config) *resolving {
	r.stop()
	s := r.static
	return startResolving(newStatic(cfg, s.relay, s.resolver, s.log, s))
}
