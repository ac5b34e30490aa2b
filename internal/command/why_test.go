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
