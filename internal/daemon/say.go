package daemon

import (
	"fmt"
	"log/slog"
	"strings"

	"udprelay/internal/config"
	"udprelay/peers"
	"udprelay/relay"
)

// describe says in a few lines what holds.
func describe(log *slog.Logger, cfg *config.Config, r *relay.Relay, options relay.Options, from string) {
	addr := r.Addr()
	families := "IPv6"
	switch {
	case addr.Addr().Is4():
		families = "IPv4"
	case addr.Addr().IsUnspecified():
		families = "IPv4 and IPv6"
	}
	listening := []any{"address", addr, "for", families}
	if from != "" {
		listening = append(listening, "socket_of", from)
	}
	log.Info("listening", listening...)
	log.Info("sending", sending(r.Way(), options)...)
	log.Info("peers", "expiry", cfg.Peers.Expiry, "max", limit(cfg.Peers.Max),
		"max_per_address", limit(cfg.Peers.MaxPerAddress), "static", len(cfg.Peers.Static))
	log.Info("access", "rules", rules(cfg.Access))
	log.Info("limits", "joins_per_second", limit(cfg.Peers.JoinsPerSecond),
		"joins_per_second_per_address", limit(cfg.Peers.JoinsPerSecondPerAddress),
		"peer_datagrams_per_second", limit(cfg.Limits.PeerDatagramsPerSecond),
		"peer_bytes_per_second", limit(cfg.Limits.PeerBytesPerSecond),
		"egress_bytes_per_second", limit(cfg.Limits.EgressBytesPerSecond))
}

// sending says how datagrams leave: what is not as usual comes after the way.
func sending(way string, options relay.Options) []any {
	said := []any{"by", way}
	if options.Senders > 1 {
		said = append(said, "senders", options.Senders)
	}
	if options.Coalesce > 0 {
		said = append(said, "coalesce", options.Coalesce)
	}
	return said
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
	learned, static := r.Peers().Counts()
	log.Info("stopped", "received", stats.Received, "delivered", stats.Delivered, "dropped", dropped(stats),
		"learned_peers", learned, "static_peers", static)
}

// dropped returns how many datagrams were dropped for any reason.
func dropped(stats relay.Stats) (total uint64) {
	for _, n := range stats.Dropped {
		total += n
	}
	return total
}
