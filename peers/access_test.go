package peers_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"udprelay/peers"
)

func TestFirstRuleThatCoversDecides(t *testing.T) {
	rules := func(list ...peers.Rule) []peers.Rule { return list }
	const refused = peers.MayNothing
	tests := []struct {
		name   string
		access []peers.Rule
		want   map[string]peers.May
	}{
		{"no rule", nil, map[string]peers.May{"192.0.2.1:1": refused, "[::1]:1": refused}},
		{"no match", rules(rule("loopback", peers.MayBoth)), map[string]peers.May{
			"127.0.0.1:1": peers.MayBoth, "127.255.255.255:1": peers.MayBoth, "[::1]:1": peers.MayBoth,
			"128.0.0.0:1": refused, "[::2]:1": refused,
		}},
		{"the narrow one first", rules(rule("192.0.2.1", peers.MayNothing), rule("192.0.2.0/24", peers.MaySend), rule("any", peers.MayReceive)), map[string]peers.May{
			"192.0.2.1:1": refused, "192.0.2.2:1": peers.MaySend, "192.0.3.1:1": peers.MayReceive, "[2001:db8::1]:1": peers.MayReceive,
		}},
		{"the wide one first", rules(rule("any", peers.MayReceive), rule("192.0.2.0/24", peers.MaySend), rule("192.0.2.1", peers.MayNothing)), map[string]peers.May{
			"192.0.2.1:1": peers.MayReceive, "192.0.2.2:1": peers.MayReceive,
		}},
		{"one address twice", rules(rule("192.0.2.1", peers.MaySend), rule("192.0.2.1", peers.MayBoth)), map[string]peers.May{
			"192.0.2.1:1": peers.MaySend,
		}},
		{"private", rules(rule("private", peers.MayBoth)), map[string]peers.May{
			"10.255.255.255:1": peers.MayBoth, "172.16.0.0:1": peers.MayBoth, "172.31.255.255:1": peers.MayBoth, "192.168.0.1:1": peers.MayBoth, "[fdff::1]:1": peers.MayBoth,
			"11.0.0.0:1": refused, "172.32.0.0:1": refused, "192.169.0.0:1": refused, "[fe00::1]:1": refused,
		}},
		{"zones do not matter", rules(rule("fe80::1", peers.MaySend), rule("link-local", peers.MayBoth)), map[string]peers.May{
			"[fe80::1]:1": peers.MaySend, "[fe80::1%eth0]:1": peers.MaySend, "[fe80::2%eth0]:1": peers.MayBoth, "169.254.255.255:1": peers.MayBoth, "[fec0::1%eth0]:1": refused,
		}},
		{"families do not mix", rules(rule("0.0.0.0/0", peers.MaySend)), map[string]peers.May{"192.0.2.1:1": peers.MaySend, "[::1]:1": refused}},
		{"IPv6 only", rules(rule("::/0", peers.MaySend)), map[string]peers.May{"192.0.2.1:1": refused, "[::1]:1": peers.MaySend}},
		{"a rule that covers nothing", rules(peers.Rule{May: peers.MaySend}, rule("any", peers.MayBoth)), map[string]peers.May{"192.0.2.1:1": peers.MayBoth}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for from, may := range test.want {
				table := peers.New(peers.Options{Expiry: time.Minute, Access: test.access}, start)
				if may == refused {
					wantHeard(t, table, from, at(0), peers.RefusedByRule)
					wantPeers(t, "Peers", table.Peers())
					continue
				}
				if p := wantHeard(t, table, from, at(0), peers.Joined); p.May() != may {
					t.Errorf("%s: want %v, got %v", from, may, p.May())
				}
			}
		})
	}
}

func TestPeersDoWhatTheyMay(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Access: []peers.Rule{
		rule("192.0.2.1", peers.MaySend), rule("192.0.2.2", peers.MayReceive), rule("192.0.2.3", peers.MayBoth),
	}}, start)
	for from, want := range map[string][2]bool{"192.0.2.1:1": {true, false}, "192.0.2.2:1": {false, true}, "192.0.2.3:1": {true, true}} {
		p := wantHeard(t, table, from, at(0), peers.Joined)
		if got := [2]bool{p.MaySend(), p.MayReceive()}; got != want {
			t.Errorf("%s: want MaySend, MayReceive to be %v, got %v", from, want, got)
		}
		if got := slices.Contains(table.Receivers(), p); got != want[1] {
			t.Errorf("%s: want it among the receivers %v, got %v", from, want[1], got)
		}
	}
	wantCounts(t, table, 2, 0)
	wantPeers(t, "Senders", table.Senders(), "192.0.2.1:0")
}

// Rules come before limits: who is refused does not learn that the table is full.
func TestRulesRefuseBeforeLimitsDo(t *testing.T) {
	table := peers.New(peers.Options{Expiry: time.Minute, Max: 1, MaxPerAddress: 1, Access: []peers.Rule{rule("192.0.2.0/24", peers.MayBoth)}}, start)
	wantHeard(t, table, "192.0.2.1:1", at(0), peers.Joined)
	wantHeard(t, table, "192.0.2.1:2", at(0), peers.TableFull)
	wantHeard(t, table, "198.51.100.1:1", at(0), peers.RefusedByRule)
	wantHeard(t, table, "198.51.100.1:0", at(0), peers.NeverAPeer)
}

func TestParseMayKnowsItsWords(t *testing.T) {
	for word, want := range map[string]peers.May{"both": peers.MayBoth, "send": peers.MaySend, "receive": peers.MayReceive, "nothing": peers.MayNothing} {
		if got, err := peers.ParseMay(word); got != want || err != nil {
			t.Errorf("ParseMay(%q): want %v, got %v and %v", word, want, got, err)
		}
		if got := want.String(); got != word {
			t.Errorf("String: want %q, got %q", word, got)
		}
		if !slices.Contains(peers.MayWords, word) {
			t.Errorf("want MayWords to have %q, got %q", word, peers.MayWords)
		}
	}
	if want, got := 4, len(peers.MayWords); got != want {
		t.Errorf("want %d words, got %d", want, got)
	}
	if want, got := "May(4)", peers.May(4).String(); got != want {
		t.Errorf("want %q, got %q", want, got)
	}
}

func TestParseMayRefusesOtherWords(t *testing.T) {
	for _, word := range []string{"", "Both", "both ", "none", "May(4)", "\x00"} {
		want := fmt.Sprintf("unknown word %q: want one of both, send, receive, nothing", word)
		if may, err := peers.ParseMay(word); err == nil || err.Error() != want || may != peers.MayNothing {
			t.Errorf("ParseMay(%q): want nothing and %q, got %v and %v", word, want, may, err)
		}
	}
}

func TestParseJoinKnowsItsWords(t *testing.T) {
	for word, want := range map[string]peers.Join{"open": peers.JoinOpen, "cookie": peers.JoinCookie, "secret": peers.JoinSecret} {
		if got, err := peers.ParseJoin(word); got != want || err != nil {
			t.Errorf("ParseJoin(%q): want %v, got %v and %v", word, want, got, err)
		}
		if got := want.String(); got != word {
			t.Errorf("String: want %q, got %q", word, got)
		}
		if !slices.Contains(peers.JoinWords, word) {
			t.Errorf("want JoinWords to have %q, got %q", word, peers.JoinWords)
		}
	}
	if want, got := 3, len(peers.JoinWords); got != want {
		t.Errorf("want %d words, got %d", want, got)
	}
	if want, got := "Join(3)", peers.Join(3).String(); got != want {
		t.Errorf("want %q, got %q", want, got)
	}
	if want, got := peers.JoinOpen, (peers.Rule{}).Join; got != want {
		t.Errorf("want a rule that says nothing of joining to be %v, got %v", want, got)
	}
}

func TestParseJoinRefusesOtherWords(t *testing.T) {
	for _, word := range []string{"", "Open", "cookie ", "secrets", "Join(3)", "\x00"} {
		want := fmt.Sprintf("unknown word %q: want one of open, cookie, secret", word)
		if join, err := peers.ParseJoin(word); err == nil || err.Error() != want || join != peers.JoinOpen {
			t.Errorf("ParseJoin(%q): want open and %q, got %v and %v", word, want, join, err)
		}
	}
}

func TestParseFromKnowsGroupsAddressesAndPrefixes(t *testing.T) {
	for from, want := range map[string]string{
		"any":              "0.0.0.0/0 ::/0",
		"loopback":         "127.0.0.0/8 ::1/128",
		"private":          "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 fc00::/7",
		"link-local":       "169.254.0.0/16 fe80::/10",
		"203.0.113.7":      "203.0.113.7/32",
		"2001:DB8::7":      "2001:db8::7/128",
		"::ffff:192.0.2.1": "192.0.2.1/32",
		"203.0.113.0/24":   "203.0.113.0/24",
		"203.0.113.7/32":   "203.0.113.7/32",
		"0.0.0.0/0":        "0.0.0.0/0",
		"2001:db8::/32":    "2001:db8::/32",
		"::/0":             "::/0",
	} {
		list, err := peers.ParseFrom(from)
		if got := prefixText(list); got != want || err != nil {
			t.Errorf("ParseFrom(%q): want %s, got %s and %v", from, want, got, err)
		}
	}
	for _, from := range peers.FromWords {
		if list, err := peers.ParseFrom(from); err != nil || len(list) == 0 {
			t.Errorf("ParseFrom(%q): want prefixes, got %v and %v", from, list, err)
		}
	}
	if want, got := 4, len(peers.FromWords); got != want {
		t.Errorf("want %d words, got %d", want, got)
	}
}

func TestParseFromSaysWhatIsWrongAndWhatWouldBeRight(t *testing.T) {
	const want = ": want one of any, loopback, private, link-local, an address, or a prefix such as 203.0.113.0/24"
	for from, message := range map[string]string{
		"":                     `"" is no group of addresses` + want,
		"Any":                  `"Any" is no group of addresses` + want,
		"lo\n":                 `"lo\n" is no group of addresses` + want,
		"192.0.2":              `"192.0.2" is no group of addresses` + want,
		"192.0.2.1:9000":       `"192.0.2.1:9000" is no group of addresses` + want,
		"fe80::1%eth0":         `"fe80::1%eth0" is no group of addresses` + want,
		"::ffff:10.0.0.1%eth0": `"::ffff:10.0.0.1%eth0" is no group of addresses` + want,
		"/":                    `"/" is no prefix` + want,
		"private/8":            `"private/8" is no prefix` + want,
		"192.0.2.0/33":         `"192.0.2.0/33" is no prefix` + want,
		"192.0.2.0/024":        `"192.0.2.0/024" is no prefix` + want,
		"192.0.2.0/24 ":        `"192.0.2.0/24 " is no prefix` + want,
		"fe80::%eth0/64":       `"fe80::%eth0/64" is no prefix` + want,
		"::ffff:0.0.0.0/96":    `"::ffff:0.0.0.0/96" is an IPv4-mapped prefix: write it as IPv4`,
		"::ffff:10.0.0.1/128":  `"::ffff:10.0.0.1/128" is an IPv4-mapped prefix: write it as IPv4`,
		"203.0.113.7/24":       `"203.0.113.7/24" has bits set beyond its length: want 203.0.113.0/24, or 203.0.113.7 for the one address`,
		"2001:db8::1/32":       `"2001:db8::1/32" has bits set beyond its length: want 2001:db8::/32, or 2001:db8::1 for the one address`,
	} {
		if list, err := peers.ParseFrom(from); err == nil || err.Error() != message || list != nil {
			t.Errorf("ParseFrom(%q): want none and\n%s, got %v and\n%v", from, message, list, err)
		}
	}
}

func TestWhoChangesWhatParseFromReturnedChangesNoGroup(t *testing.T) {
	list, _ := peers.ParseFrom("any")
	list[0] = netip.MustParsePrefix("192.0.2.0/24")
	again, _ := peers.ParseFrom("any")
	if want, got := "0.0.0.0/0 ::/0", prefixText(again); got != want {
		t.Errorf("want any to stay %s, got %s", want, got)
	}
}

func FuzzParseFrom(f *testing.F) {
	for _, from := range append(peers.FromWords, "", "/", "203.0.113.0/24", "203.0.113.7/24", "203.0.113.7", "2001:db8::/32",
		"fe80::1%eth0", "fe80::%eth0/10", "::ffff:10.0.0.1", "::ffff:0:0/96", "::fffe:0:0/95", "::/0", "0.0.0.0/0", "1.2.3.4/33") {
		f.Add(from)
	}
	f.Fuzz(func(t *testing.T, from string) {
		list, err := peers.ParseFrom(from)
		if err != nil {
			if list != nil || !strings.HasPrefix(err.Error(), fmt.Sprintf("%q is ", from)) && !strings.HasPrefix(err.Error(), fmt.Sprintf("%q has ", from)) {
				t.Fatalf("want no prefixes and a message that names %q, got %v and %q", from, list, err)
			}
			return
		}
		if len(list) == 0 {
			t.Fatalf("ParseFrom(%q): want a prefix at least, got none", from)
		}
		for _, prefix := range list {
			if !prefix.IsValid() || prefix != prefix.Masked() || prefix.Addr().Is4In6() {
				t.Fatalf("ParseFrom(%q): want a prefix that is valid, masked and unmapped, got %v", from, prefix)
			}
			again, err := peers.ParseFrom(prefix.String())
			if err != nil || len(again) != 1 || again[0] != prefix {
				t.Fatalf("ParseFrom(%q): want %v, which came from %q, got %v and %v", prefix, prefix, from, again, err)
			}
		}
	})
}

func prefixText(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, prefix := range list {
		texts[i] = prefix.String()
	}
	return strings.Join(texts, " ")
}
