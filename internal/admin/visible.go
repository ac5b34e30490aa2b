package admin

import (
	"encoding/json"
	"fmt"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// visible returns JSON in which each character of a string that does not show, such
// as ESC or U+202E, is written as its escape sequence, for people to see: what
// answers at a control socket must not control a terminal. Line feeds stay.
func visible(text []byte) []byte {
	out := make([]byte, 0, len(text))
	inside := false // a string
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == '"':
			inside = !inside
		case inside && r == '\\':
			r, size = unescape(text[i:])
		}
		switch {
		case !inside || unicode.IsPrint(r) || r == '\n':
			out = append(out, text[i:i+size]...)
		case r > 0xffff:
			out = fmt.Appendf(out, `\\U%08x`, r)
		default:
			out = fmt.Appendf(out, `\\u%04x`, r)
		}
		i += size
	}
	return out
}

// JSON returns value as JSON in which each character that does not show is an
// escape sequence. The error is that of [json.Marshal].
func JSON(value any) ([]byte, error) {
	text, err := json.Marshal(value)
	out := make([]byte, 0, len(text))
	for _, r := range string(text) {
		if unicode.IsPrint(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return out, err
}

// unescape returns the character of the escape sequence that JSON begins with.
func unescape(text []byte) (r rune, size int) {
	if len(text) < 2 {
		return '\\', len(text)
	}
	switch text[1] {
	case 'n':
		return '\n', 2
	case 'b', 'f', 'r', 't':
		return rune(map[byte]byte{'b': '\b', 'f': '\f', 'r': '\r', 't': '\t'}[text[1]]), 2
	case 'u':
		const unit = len(`\u0000`)
		if r, size = hexUnit(text), unit; utf16.IsSurrogate(r) && len(text) > unit && text[unit] == '\\' {
			if pair := utf16.DecodeRune(r, hexUnit(text[unit:])); pair != unicode.ReplacementChar {
				return pair, 2 * unit
			}
		}
		return r, min(size, len(text))
	}
	return rune(text[1]), 2
}

// hexUnit returns the number of the escape sequence \u with four digits that text
// begins with; 0: there is none.
func hexUnit(text []byte) rune {
	if len(text) < len(`\u0000`) || text[1] != 'u' {
		return 0
	}
	n, _ := strconv.ParseUint(string(text[2:6]), 16, 16) // 0
	return rune(n)
}
