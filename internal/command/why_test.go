package command

import (
	"strings"
	"testing"
	"time"

	"udprelay/internal/admin"
)

// What a relay says is shown, and does nothing to the terminal.
func TestWhyShowsNoControlCharacters(t *testing.T) {
	const evil = "\x1b]0;title\a\n\u202e"
	var text strings.Builder
	err := writeWhy(&text, admin.Why{
		Address: "fe80::1%" + evil, Verdict: "refused: " + evil,
		Would: []admin.Step{{Step: "ban" + evil, Result: "192.0.2.0/24 is banned: " + evil, Decides: true}},
		Did:   []admin.Did{{Reason: "rule" + evil, Rule: evil, From: evil, Count: 1}},
	}, time.Now())
	if got := text.String(); err != nil || strings.ContainsAny(got, "\x1b\a\u202e") || strings.Count(got, `\x1b]0;title\a\n\u202e`) != 7 {
		t.Errorf("want all escaped, got %q, %v", got, err)
	}
}

func TestWhySaysWhatWasDroppedAndReported(t *testing.T) {
	var text strings.Builder
	now := time.Now()
	if err := writeWhy(&text, admin.Why{
		Did:     []admin.Did{{Reason: "peer_rate", Count: 1234, Last: &admin.Time{Time: now.Add(-5 * time.Second)}}, {Reason: "rule", Count: 1}},
		Reports: []admin.NetworkReport{{Kind: "port_closed", Count: 1, Last: &admin.Time{Time: now.Add(-3 * time.Second)}}, {Kind: "too_big", Count: 20}},
	}, now); err != nil {
		t.Fatal(err)
	}
	const want = `
Dropped:
  1,234 datagrams, peer_rate, the last one 5s ago
  1 datagram, rule

Reported by the network (ICMP) about datagrams that were sent to it:
  1 report, port_closed, the last one 3s ago
  20 reports, too_big
`
	if got := text.String(); !strings.HasSuffix(got, want) {
		t.Errorf("want the text to end with\n%s\ngot\n%s", want, got)
	}
}
