package peers

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// May says what a peer may do. The zero value is nothing at all.
type May uint8

const (
	MaySend    May = 1 << iota // its datagrams are relayed
	MayReceive                 // it gets the datagrams of others

	MayNothing May = 0
	MayBoth        = MaySend | MayReceive
)

// String returns the word that stands for m in the configuration.
func (m May) String() string {
	switch m {
	case MayNothing:
		return "nothing"
	case MaySend:
		return "send"
	case MayReceive:
		return "receive"
	case MayBoth:
		return "both"
	}
	return fmt.Sprintf("May(%d)", uint8(m))
}

// MayWords are the words that [ParseMay] knows.
var MayWords = []string{"both", "send", "receive", "nothing"}

// ParseMay returns what the word of the configuration stands for.
func ParseMay(word string) (May, error) {
	for _, m := range []May{MayBoth, MaySend, MayReceive, MayNothing} {
		if word == m.String() {
			return m, nil
		}
	}
	return MayNothing, fmt.Errorf("unknown word %q: want one of %s", word, strings.Join(MayWords, ", "))
}

// Join says what makes a sender a peer. The zero value is its first datagram.
type Join uint8

const (
	JoinOpen   Join = iota // its first datagram
	JoinCookie             // a proof that it gets what is sent to its address
	JoinSecret             // the same, and that it knows the shared secret
)

// String returns the word that stands for j in the configuration.
func (j Join) String() string {
	if int(j) < len(JoinWords) {
		return JoinWords[j]
	}
	return fmt.Sprintf("Join(%d)", uint8(j))
}

// JoinWords are the words that [ParseJoin] knows.
var JoinWords = []string{"open", "cookie", "secret"}

// ParseJoin returns what the word of the configuration stands for.
func ParseJoin(word string) (Join, error) {
	if i := slices.Index(JoinWords, word); i >= 0 {
		return Join(i), nil
	}
	return JoinOpen, fmt.Errorf("unknown word %q: want one of %s", word, strings.Join(JoinWords, ", "))
}

// A Rule says what the addresses that it covers may do.
type Rule struct {
	From  string         // as it was written; names the rule in messages
	Cover []netip.Prefix // the addresses that the rule covers
	May   May
	Join  Join
}

// covers reports whether the rule decides about addr, which must be unmapped.
func (r *Rule) covers(addr netip.Addr) bool {
	for _, prefix := range r.Cover {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// FromWords are the groups of addresses that [ParseFrom] knows by name.
var FromWords = []string{"any", "loopback", "private", "link-local"}

// groups holds the addresses behind FromWords. Sources: loopback RFC 1122
// section 3.2.1.3 and RFC 4291 section 2.5.3, private RFC 1918 and RFC 4193,
// link-local RFC 3927 and RFC 4291 section 2.5.6.
var groups = map[string][]netip.Prefix{
	"any":        prefixes("0.0.0.0/0", "::/0"),
	"loopback":   prefixes("127.0.0.0/8", "::1/128"),
	"private":    prefixes("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"),
	"link-local": prefixes("169.254.0.0/16", "fe80::/10"),
}

func prefixes(texts ...string) []netip.Prefix {
	list := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		list[i] = netip.MustParsePrefix(text)
	}
	return list
}

// ParseFrom returns the addresses that from stands for: one of [FromWords],
// an address, or a prefix in CIDR notation (RFC 4632, RFC 4291 section 2.3).
// A prefix with bits set beyond its length is an error, for it is more often a
// slip than a wish; so is a zone, which prefixes cannot have.
func ParseFrom(from string) ([]netip.Prefix, error) {
	if group, ok := groups[from]; ok {
		return slices.Clone(group), nil
	}
	want := fmt.Sprintf("want one of %s, an address, or a prefix such as 203.0.113.0/24", strings.Join(FromWords, ", "))
	if !strings.Contains(from, "/") {
		addr, err := netip.ParseAddr(from)
		if err != nil || addr.Zone() != "" {
			return nil, fmt.Errorf("%q is no group of addresses: %s", from, want)
		}
		addr = addr.Unmap()
		return []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}, nil
	}
	prefix, err := netip.ParsePrefix(from)
	if err != nil {
		return nil, fmt.Errorf("%q is no prefix: %s", from, want)
	}
	if prefix.Addr().Is4In6() {
		return nil, fmt.Errorf("%q is an IPv4-mapped prefix: write it as IPv4", from)
	}
	if prefix != prefix.Masked() {
		return nil, fmt.Errorf("%q has bits set beyond its length: want %s, or %s for the one address", from, prefix.Masked(), prefix.Addr())
	}
	return []netip.Prefix{prefix}, nil
}
