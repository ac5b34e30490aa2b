package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"

	"udprelay/internal/config"
	"udprelay/peers"
	"udprelay/relay"
)

// Run runs a relay as cfg says until ctx is cancelled, which is no error. The
// error may be a [*BindError] or a [*config.UnreadableSecret].
func Run(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	secret, warnings, err := cfg.ReadSecret()
	if err != nil {
		return err
	}
	for _, warning := range warnings {
		log.Warn(warning.String())
	}
	conn, err := listen(ctx, cfg.Listen)
	if ctx.Err() != nil {
		if err == nil {
			conn.Close()
		}
		return nil // stopped while the host name was looked up
	}
	if err != nil {
		return err
	}
	r, err := relay.New(conn, options(cfg, secret, log))
	if err != nil {
		return err
	}
	describe(log, cfg, r)

	ctx, cancel := context.WithCancel(ctx)
	var resolving sync.WaitGroup
	defer func() {
		cancel()
		resolving.Wait()
	}()
	static := newStatic(cfg, r, net.DefaultResolver, log)
	resolving.Go(func() { static.run(ctx) })

	err = r.Run(ctx)
	sayTotals(log, r)
	return err
}

// options returns what cfg says to the datapath.
func options(cfg *config.Config, secret []byte, log *slog.Logger) relay.Options {
	return relay.Options{
		Peers: peers.Options{
			Expiry:        cfg.Peers.Expiry,
			Max:           cfg.Peers.Max,
			MaxPerAddress: cfg.Peers.MaxPerAddress,
			Access:        cfg.Access,

			JoinsPerSecond:           cfg.Peers.JoinsPerSecond,
			JoinsPerSecondPerAddress: cfg.Peers.JoinsPerSecondPerAddress,
		},
		ReceiveBuffer: cfg.Socket.ReceiveBuffer,
		SendBuffer:    cfg.Socket.SendBuffer,
		NoTrains:      cfg.Socket.Trains == config.TrainsOff,
		Limits: relay.Limits{
			PeerDatagrams: cfg.Limits.PeerDatagramsPerSecond,
			PeerBytes:     cfg.Limits.PeerBytesPerSecond,
			EgressBytes:   cfg.Limits.EgressBytesPerSecond,
		},
		Secret: secret,
		Logger: log,
	}
}

// describe says in a few lines what holds.
func describe(log *slog.Logger, cfg *config.Config, r *relay.Relay) {
	addr := r.Addr()
	families := "IPv6"
	switch {
	case addr.Addr().Is4():
		families = "IPv4"
	case addr.Addr().IsUnspecified():
		families = "IPv4 and IPv6"
	}
	log.Info("listening", "address", addr, "for", families)
	log.Info("sending", "by", r.Way())
	log.Info("peers", "expiry", cfg.Peers.Expiry, "max", limit(cfg.Peers.Max),
		"max_per_address", limit(cfg.Peers.MaxPerAddress), "static", len(cfg.Peers.Static))
	log.Info("access", "rules", rules(cfg.Access))
	log.Info("limits", "joins_per_second", limit(cfg.Peers.JoinsPerSecond),
		"joins_per_second_per_address", limit(cfg.Peers.JoinsPerSecondPerAddress),
		"peer_datagrams_per_second", limit(cfg.Limits.PeerDatagramsPerSecond),
		"peer_bytes_per_second", limit(cfg.Limits.PeerBytesPerSecond),
		"egress_bytes_per_second", limit(cfg.Limits.EgressBytesPerSecond))
}

// limit writes a number that is no limit if it is 0.
func limit(n int) string {
	if n == 0 {
		return "no limit"
	}
	return fmt.Sprint(n)
}

// rules writes access rules in one line, in the order in which they decide.
func rules(access []peers.Rule) string {
	var text strings.Builder
	for _, rule := range access {
		fmt.Fprintf(&text, "%s may %s%s, ", rule.From, mayWord(rule.May), proofWord(rule))
	}
	if text.Len() == 0 {
		return "all are refused but static peers"
	}
	return text.String() + "others are refused"
}

// mayWord writes what a rule lets its addresses do so that it reads as a
// sentence.
func mayWord(may peers.May) string {
	switch may {
	case peers.MayBoth:
		return "send and receive"
	case peers.MayNothing:
		return "do nothing"
	}
	return "only " + may.String()
}

// proofWord writes what a rule asks of a sender first.
func proofWord(rule peers.Rule) string {
	switch {
	case rule.May == peers.MayNothing:
		return ""
	case rule.Join == peers.JoinCookie:
		return " after a proof"
	case rule.Join == peers.JoinSecret:
		return " after a proof with the secret"
	}
	return ""
}

// sayTotals says what the relay has done.
func sayTotals(log *slog.Logger, r *relay.Relay) {
	stats := r.Stats()
	var dropped uint64
	for _, reason := range relay.Drops() {
		dropped += stats.Dropped[reason]
	}
	learned, static := r.Peers().Counts()
	log.Info("stopped", "received", stats.Received, "delivered", stats.Delivered, "dropped", dropped,
		"learned_peers", learned, "static_peers", static)
}
