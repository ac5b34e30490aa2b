package config

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"udprelay/peers"
)

// checkOpen warns of rules that let everybody join without a proof, and says
// what that means: the source address of a datagram can be forged.
func (l *loader) checkOpen() {
	if l.listen.addr.IsLoopback() || strings.EqualFold(l.listen.host, "localhost") {
		return // nobody else gets here
	}
	for i, rule := range l.config.Access {
		if rule.Join != peers.JoinOpen || !slices.ContainsFunc(rule.Cover, coversAFamily) || len(l.hiddenBy(i)) > 0 {
			continue
		}
		var means []string
		if rule.May&peers.MayReceive != 0 {
			means = append(means, fmt.Sprintf("one datagram with a forged source address makes a stranger a receiver for %s, who then gets all that peers send",
				formatDuration(l.config.Peers.Expiry)))
		}
		if copies := l.config.copies(); rule.May&peers.MaySend != 0 && copies != "" {
			means = append(means, "each datagram that anybody sends goes out "+copies)
		}
		if len(means) > 0 {
			l.warn(l.rules[i], fmt.Sprintf("access[%d]", i), fmt.Sprintf("the rule for %s lets everybody join without a proof: %s; want join: cookie, or a rule for the networks that you know",
				rule.From, strings.Join(means, ", and ")))
		}
	}
}

// coversAFamily reports whether p is all of IPv4 or all of IPv6.
func coversAFamily(p netip.Prefix) bool { return p.Bits() == 0 }

// copies says how often a datagram leaves when there are as many receivers as
// there may be, or "" if there are none.
func (c *Config) copies() string {
	receivers := len(c.Peers.Static)
	if slices.ContainsFunc(c.Access, func(r peers.Rule) bool { return r.May&peers.MayReceive != 0 }) {
		if c.Peers.Max == 0 {
			return "once to each peer, as many as they are" + c.upTo(math.Inf(1))
		}
		receivers += c.Peers.Max
	}
	switch receivers {
	case 0:
		return ""
	case 1:
		return "once"
	}
	return fmt.Sprintf("up to %d times (1 Mbit/s in%s)", receivers, c.upTo(float64(receivers)*1e6))
}

// upTo says at which rate payload leaves, rate being what the peers make of
// 1 Mbit/s.
func (c *Config) upTo(rate float64) string {
	if most := c.Limits.EgressBytesPerSecond; most > 0 {
		rate = min(rate, 8*float64(most))
	}
	if math.IsInf(rate, 1) {
		return ""
	}
	return ", up to " + formatRate(rate) + " out"
}

// formatRate writes bits in a second with one decimal at most.
func formatRate(rate float64) string {
	units := []string{"bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"}
	n := 0
	for rate >= 1000 && n < len(units)-1 {
		rate, n = rate/1000, n+1
	}
	return strconv.FormatFloat(math.Round(rate*10)/10, 'f', -1, 64) + " " + units[n]
}
