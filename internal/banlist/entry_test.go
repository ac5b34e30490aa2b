package banlist

import (
	"math"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"udprelay/peers"
)

// began is when the tests begin.
var began = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

// The entries that doc.go shows.
var shown = []Entry{
	{From: prefix("198.51.100.0/24"), At: milliseconds(1795383607250), By: "north", Until: milliseconds(1795470007250), Reason: "too loud"},
	{From: prefix("2001:db8:bad::/48"), At: milliseconds(1795383607999), By: "south", Lifted: true},
}

func TestTheFormIsAsTheDocumentationShowsIt(t *testing.T) {
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder // the lines between the folds
	for line := range strings.SplitSeq(string(source), "\n") {
		text, found := strings.CutPrefix(line, "//\t")
		switch {
		case found && strings.HasPrefix(text, "{") && want.Len() > 0:
			want.WriteString("\n" + text)
		case found && (strings.HasPrefix(text, "{") || strings.HasPrefix(text, " ")):
			want.WriteString(strings.TrimPrefix(text, " "))
		}
	}
	var l List
	if n := l.Restore(shown, shown[0].At); n != len(shown) {
		t.Fatalf("want all restored, got %d", n)
	}
	if got := string(l.Export(shown[0].At)); got != want.String()+"\n" {
		t.Errorf("want what doc.go shows:\n%s\ngot\n%s", want.String(), got)
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, e := range append(shown,
		Entry{From: prefix("0.0.0.0/0"), At: milliseconds(1), By: `a "b" \<c>&`},
		Entry{From: prefix("::/0"), At: milliseconds(maxTime), By: strings.Repeat(`"`, MaxName), Until: milliseconds(maxTime), Reason: strings.Repeat(`\`, peers.MaxReason)},
		Entry{From: prefix("1111:1111:1111:1111:1111:1111:1111:1111/128"), At: began, By: "ä", Until: began.Add(-time.Hour), Lifted: true},
	) {
		line := e.Append(nil)
		got, err := Parse(line)
		if err != nil || got != e {
			t.Errorf("%s: want %+v, got %+v, %v", line, e, got, err)
		}
		if len(line) > maxLine {
			t.Errorf("want %d bytes at most, got %s", maxLine, line)
		}
	}
}

func TestWhatIsNoEntry(t *testing.T) {
	const good = `{"from":"192.0.2.0/24","at_ms":7,"by":"north","until_ms":9,"reason":"loud"}`
	if _, err := Parse([]byte(good)); err != nil {
		t.Fatal(err)
	}
	const noPrefix = "from: want a prefix such as 192.0.2.0/24 or 2001:db8::/64, without bits behind it"
	for _, test := range []struct{ old, new, want string }{
		{good, ``, " is no entry; want a JSON object"},
		{good, `null`, noPrefix},
		{good, `[]`, " is no entry; want a JSON object"},
		{`:7`, `:7.5`, " is no entry; want a JSON object"},
		{`192.0.2.0/24`, ``, noPrefix},
		{`192.0.2.0/24`, `192.0.2.0/33`, " is no entry; want a JSON object"},
		{`192.0.2.0/24`, `192.0.2.1/24`, noPrefix},
		{`192.0.2.0/24`, `::ffff:192.0.2.0/120`, noPrefix},
		{`192.0.2.0/24`, `2001:DB8::/32`, `want "db8::/32\",\"at_ms\":7,\"by\":\"north\",\"until_"… here, got "DB8::/32\",\"at_ms\":7,\"by\":\"north\",\"until_"…`},
		{`:7`, `:0`, "at_ms: want milliseconds since 1970, up to the year 9999"},
		{`:7`, `:-7`, "at_ms: want milliseconds since 1970, up to the year 9999"},
		{`:7`, `:253402300800000`, "at_ms: want milliseconds since 1970, up to the year 9999"},
		{`:9,`, `:-9,`, "until_ms: want milliseconds since 1970, up to the year 9999, or none for a ban without an end"},
		{`:9,`, `:9223372036854775807,`, "until_ms: want milliseconds since 1970, up to the year 9999, or none for a ban without an end"},
		{`:9,`, `:0,`, `want "reason\":\"loud\"}" here, got "until_ms\":0,\"reason\":\"loud\"}"`},
		{`north`, ``, "by: it has 0 bytes; want the name of a node, of 1 to 64"},
		{`north`, strings.Repeat("n", 65), "by: it has 65 bytes; want the name of a node, of 1 to 64"},
		{`north`, `n\u0007`, `by: the character '\a' cannot be shown; want letters, digits, signs and blanks`},
		{`loud`, `\u202e`, `reason: the character '\u202e' cannot be shown; want letters, digits, signs and blanks`},
		{`loud`, strings.Repeat("é", 129), "reason: it has 258 bytes; want 256 at most"},
		{`"loud"`, `"loud","lifted":true`, "reason: want none of what was lifted"},
		{`"loud"`, `"loud","lifted":false`, `want "}" here, got ",\"lifted\":false}"`},
		{`"loud"`, `"loud","more":1`, `want "}" here, got ",\"more\":1}"`},
		{`"loud"`, `"l\u006fud"`, `want "oud\"}" here, got "\\u006fud\"}"`},
		{`"loud"`, `"x","reason":"loud"`, `want "loud\"}" here, got "x\",\"reason\":\"loud\"}"`},
		{`"reason"`, `"Reason"`, `want "reason\":\"loud\"}" here, got "Reason\":\"loud\"}"`},
		{`{`, ` {`, `want "{\"from\":\"192.0.2.0/24\",\"at_ms\":7,\"by\":\"n"… here, got " {\"from\":\"192.0.2.0/24\",\"at_ms\":7,\"by\":\""…`},
		{good, good + strings.Repeat(" ", maxLine), "it has 1099 bytes; want 1024 at most"},
	} {
		line := strings.Replace(good, test.old, test.new, 1)
		if strings.HasPrefix(test.want, " is") {
			test.want = excerpt(line) + test.want
		}
		if e, err := Parse([]byte(line)); err == nil || err.Error() != test.want || e != (Entry{}) {
			t.Errorf("%s: want %q, got %+v, %v", line, test.want, e, err)
		}
	}
	if err := CheckReason("\xff"); err == nil || err.Error() != `"\xff" is no UTF-8` {
		t.Errorf("want it to be no UTF-8, got %v", err)
	}
}

func TestWhenAnEntryIsForgotten(t *testing.T) {
	const day = 24 * time.Hour
	for _, test := range []struct {
		until  time.Duration // after it was decided; 0: for ever
		lifted bool
		want   time.Duration // 0: never
	}{
		{0, false, 0}, {time.Hour, false, time.Hour}, {400 * day, false, 400 * day},
		{0, true, KeepLifted}, {time.Hour, true, time.Hour}, {400 * day, true, KeepLifted}, {KeepLifted, true, KeepLifted},
	} {
		e := Entry{From: prefix("192.0.2.0/24"), At: began, By: "north", Lifted: test.lifted}
		if test.until > 0 {
			e.Until = began.Add(test.until)
		}
		var l List
		if l.Restore([]Entry{e}, began) != 1 {
			t.Fatalf("want %+v restored", e)
		}
		if test.want == 0 {
			if _, there := l.Get(e.From, began.Add(math.MaxInt64)); !there {
				t.Errorf("%+v: want it kept", e)
			}
			continue
		}
		if _, there := l.Get(e.From, began.Add(test.want-1)); !there {
			t.Errorf("%+v: want it kept until %v", e, test.want)
		}
		full := l.Digest(began.Add(test.want - 1))
		if left := l.Entries(began.Add(test.want)); len(left) != 0 {
			t.Errorf("%+v: want it forgotten after %v, got %+v", e, test.want, left)
		}
		if empty := l.Digest(began.Add(test.want)); empty == full || empty != new(List).Digest(began) {
			t.Errorf("%+v: want the digest of an empty list, got %x after %x", e, empty, full)
		}
	}
}
