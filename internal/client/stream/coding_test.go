package stream

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"
)

func TestHexIsReadWithBlanksAndColons(t *testing.T) {
	for line, want := range map[string]string{
		"":                  "",
		" \t\r\n":           "",
		"00ff\n":            "\x00\xff",
		"00 Ff":             "\x00\xff",
		"00:ff : 0a\r\n":    "\x00\xff\x0a",
		"  de ad\tbe   ef ": "\xde\xad\xbe\xef",
	} {
		if got, err := decodeHex([]byte(line)); err != nil || string(got) != want {
			t.Errorf("%q: want %q, got %q, %v", line, want, got, err)
		}
	}
	for line, want := range map[string]string{
		"0":        "column 1: a byte has two hex digits, not one",
		"00 1 2":   "column 4: a byte has two hex digits, not one",
		"0x41":     "column 2: 'x' is not a hex digit",
		"00 \x1b":  "column 4: byte 0x1b is not a hex digit",
		"é":        "column 1: byte 0xc3 is not a hex digit",
		":00":      "column 1: a colon stands between two bytes",
		"00::01":   "column 4: a colon stands between two bytes",
		"00 : \n":  "column 4: a colon stands between two bytes",
		"00:01: g": "column 8: 'g' is not a hex digit",
	} {
		if got, err := decodeHex([]byte(line)); err == nil || err.Error() != want {
			t.Errorf("%q: want the error %q, got %x, %v", line, want, got, err)
		}
	}
}

func TestATerminalIsShownWhatWouldControlIt(t *testing.T) {
	for text, want := range map[string]string{
		"plain, grüße 日本 👩‍🚀": "plain, grüße 日本 👩‍🚀",
		"tab\tline\n":         "tab\tline\n",
		"dos\r\n":             "dos\n",
		"over\rwrite\r":       `over\x0dwrite\x0d`,
		"\x1b[31m\x07\x00":    `\x1b[31m\x07\x00`,
		"\x7f":                `\x7f`,
		"\u009b31m":           `\u009b31m`,
		"\x9b31m":             `\x9b31m`,
		"\xff\xc3":            `\xff\xc3`,
		"\ufffd":              "\ufffd",
		"a\u202eb\u2066":      `a\u202eb\u2066`,
		"\u2028\ufeff":        `\u2028\ufeff`,
		"\U000e0001":          `\U000e0001`,
	} {
		if got := string(appendVisible(nil, []byte(text))); got != want {
			t.Errorf("%q:\nwant %q\ngot  %q", text, want, got)
		}
	}
}

func FuzzHexComesBackAsItWas(f *testing.F) {
	f.Add([]byte("\x00\xff\n"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		if len(payload) == 0 {
			return
		}
		line := Options{Mode: Hex}.appendPayload(nil, payload)
		if bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
			t.Errorf("want one line, got %q", line)
		}
		if got, err := decodeHex(line); err != nil || !bytes.Equal(got, payload) {
			t.Errorf("want %x, got %x, %v", payload, got, err)
		}
	})
}

func FuzzHexIsReadAsItIsWritten(f *testing.F) {
	f.Add([]byte("00 ff:0a\n"))
	f.Add([]byte("0:0"))
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err := decodeHex(line)
		if err != nil {
			return
		}
		digits := strings.NewReplacer(" ", "", ":", "", "\t", "", "\r", "", "\n", "").Replace(string(line))
		if want, err := hex.DecodeString(digits); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q: want %x, %v, got %x", line, want, err, got)
		}
	})
}

func FuzzATerminalIsNeverControlled(f *testing.F) {
	f.Add([]byte("\x1b[2J\r\n\u009b\x9b\u202e\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		shown := string(appendVisible(nil, text))
		if !utf8.ValidString(shown) {
			t.Errorf("%q: want UTF-8, got %q", text, shown)
		}
		for _, r := range shown {
			if r != '\t' && r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
				t.Errorf("%q: want no %U, got %q", text, r, shown)
			}
		}
	})
}

// FuzzLinesAreSplitAndNotChanged compares the line reader, whose buffer is 16
// bytes, with a split of the whole.
func FuzzLinesAreSplitAndNotChanged(f *testing.F) {
	f.Add("a\n\nlast")
	f.Add("0123456789abcde\n0123456789abcdef\n0123456789abcdef")
	f.Add(strings.Repeat("0123456789abcdef", 3) + "\nx")
	f.Fuzz(func(t *testing.T, text string) {
		for name, reader := range map[string]*lineReader{
			"whole":   newLineReader(strings.NewReader(text), 16),
			"by byte": newLineReader(iotest.OneByteReader(strings.NewReader(text)), 16),
		} {
			number := 0
			for want := range strings.Lines(text) {
				number++
				got, length, err := reader.next()
				if err != nil || length != len(want) || reader.number != number ||
					len(want) <= 16 && string(got) != want || len(want) > 16 && got != nil {
					t.Fatalf("%s, line %d: want %q, got %q, %d bytes, number %d, %v", name, number, want, got, length, reader.number, err)
				}
			}
			if _, _, err := reader.next(); err == nil {
				t.Fatalf("%s: want the end after %d lines, got another", name, number)
			}
		}
	})
}
