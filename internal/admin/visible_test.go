package admin

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
)

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		`{"message":"plain, \"quoted\", \\ and äß€"}`:     `{"message":"plain, \"quoted\", \\ and äß€"}`,
		"[\n\t\"two\\nlines\"]":                           "[\n\t\"two\\nlines\"]",
		`["\u001b[31mred\u0007"]`:                         `["\\u001b[31mred\\u0007"]`,
		"[\"\u009b1m\u202e\u200b\U000e0041\"]":            `["\\u009b1m\\u202e\\u200b\\U000e0041"]`,
		`["\u009b\u202e\ud83d\ude00\udb40\udc41\ud800x"]`: `["\\u009b\\u202e\ud83d\ude00\\U000e0041\\ud800x"]`,
		`["\t\r\b\f\/\""]`:                                `["\\u0009\\u000d\\u0008\\u000c\/\""]`,
	} {
		if got := visible([]byte(in)); string(got) != want {
			t.Errorf("%s: want %s; got %s", in, want, got)
		}
	}
}

func FuzzVisible(f *testing.F) {
	for _, text := range []string{`{"a":["\u001b","` + "\x9b" + `"]}`, `"\ud83d\ude00"`, `"\ud83d\u0`, `"\`, "\"\u202e\"", `{"\t":1}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		out := visible(text)
		if !json.Valid(text) {
			return
		}
		var after any
		if err := json.Unmarshal(out, &after); err != nil {
			t.Fatalf("want JSON for %q; got %q: %v", text, out, err)
		}
		if strings.ContainsFunc(allText(after), func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }) {
			t.Fatalf("want only what shows for %q; got %q", text, after)
		}
	})
}

// allText returns all text in a value of JSON.
func allText(value any) (text string) {
	switch value := value.(type) {
	case string:
		return value
	case []any:
		for _, v := range value {
			text += allText(v)
		}
	case map[string]any:
		for key, v := range value {
			text += key + allText(v)
		}
	}
	return text
}
