package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

var durationShape = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?(h|m|s|ms|us))+$`)

// inASCII writes microseconds without the sign, of which there are two.
var inASCII = strings.NewReplacer("\u00b5s", "us", "\u03bcs", "us")

// duration is a length of time from least to most, such as the examples.
func duration(examples string, least, most time.Duration, field func(*Config) *time.Duration) *value {
	want := "a duration such as " + examples
	set := func(l *loader, text string) string {
		if isNumber(text) {
			return fmt.Sprintf("%q has no unit; want %s", text, want)
		}
		if !durationShape.MatchString(strings.TrimPrefix(text, "-")) {
			if plain := inASCII.Replace(text); plain != text && durationShape.MatchString(plain) {
				return fmt.Sprintf("%q has a unit that is not written in ASCII; did you mean %q?", text, plain)
			}
			return fmt.Sprintf("%q is no duration; want one such as %s", text, examples)
		}
		d, err := time.ParseDuration(text) // the only error left is overflow
		if err != nil || d < least || d > most {
			return fmt.Sprintf("%q is out of range; want %s to %s", text, formatDuration(least), formatDuration(most))
		}
		*field(&l.config) = d
		return ""
	}
	return &value{want: want, set: set, equal: equalField(field)}
}

// durationOrNone is a length of time from least to most, or 0 to turn off what
// it is for.
func durationOrNone(examples string, least, most time.Duration, field func(*Config) *time.Duration) *value {
	return orZero(duration(examples, least, most, field), orOff, func(c *Config) { *field(c) = 0 })
}

// orZero is v, or 0 with the meaning that is said in words; clear sets it.
func orZero(v *value, meaning string, clear func(*Config)) *value {
	set := func(l *loader, text string) string {
		if text == "0" {
			clear(&l.config)
			return ""
		}
		wrong := v.set(l, text)
		if wrong != "" && !strings.HasSuffix(wrong, "?") {
			wrong += meaning
		}
		return wrong
	}
	return &value{want: v.want + meaning, set: set, equal: v.equal}
}

// What 0 stands for, to follow what else there may be.
const (
	orNoLimit = ", or 0 for no limit"
	orOff     = ", or 0 to turn it off"
	orPerCore = ", or 0 for one per core"
)

// formatDurationOrNone writes d as formatDuration does, and none as 0.
func formatDurationOrNone(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	return formatDuration(d)
}

// formatDuration writes d as a person would: 60s and not 1m0s, 5m and not 5m0s.
func formatDuration(d time.Duration) string {
	if d >= time.Second && d < 2*time.Minute && d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	text := inASCII.Replace(d.String())
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// sizeUnits are IEC 80000-13 binary units, the largest first.
var sizeUnits = []struct {
	name  string
	bytes int
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

var sizeShape = regexp.MustCompile(`^(-?[0-9]+)(\.[0-9]+)?( *)([A-Za-z]+)$`)

// size is a number of bytes from least to most.
func size(least, most int, field func(*Config) *int) *value {
	const want = "a size such as 512KiB or 8MiB"
	set := func(l *loader, text string) string {
		if isNumber(text) {
			return fmt.Sprintf("%q has no unit; want %s", text, want)
		}
		parts := sizeShape.FindStringSubmatch(text)
		if parts == nil {
			return fmt.Sprintf("%q is no size; want one such as 512KiB or 8MiB", text)
		}
		number, fraction, space := parts[1], parts[2], parts[3]
		unit, wrong := parseUnit(number+fraction, parts[4])
		if wrong != "" {
			return fmt.Sprintf("%q %s", text, wrong)
		}
		if fraction+space != "" {
			return fmt.Sprintf("%q is no size; want a whole number and its unit without a space, such as 512KiB or 8MiB", text)
		}
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > most/unit || n*unit < least {
			return fmt.Sprintf("%q is out of range; want %s to %s", text, formatSize(least), formatSize(most))
		}
		*field(&l.config) = n * unit
		return ""
	}
	return &value{want: want, set: set, equal: equalField(field)}
}

// sizeOrNone is a number of bytes from least to most, or 0 for no limit.
func sizeOrNone(least, most int, field func(*Config) *int) *value {
	return orZero(size(least, most, field), orNoLimit, func(c *Config) { *field(c) = 0 })
}

// parseUnit returns the bytes of a unit; number is what stands before it.
func parseUnit(number, unit string) (bytes int, wrong string) {
	for _, u := range sizeUnits {
		if unit == u.name {
			return u.bytes, ""
		}
	}
	// k, kB, KB, kib and the like: the same letter, the binary unit.
	for _, u := range sizeUnits {
		if strings.EqualFold(unit[:1], u.name[:1]) && len(unit) <= 3 {
			return 0, fmt.Sprintf("has the unknown unit %q; did you mean %q?", unit, number+u.name)
		}
	}
	return 0, fmt.Sprintf("has the unknown unit %q; want B, KiB, MiB or GiB", unit)
}

// formatSizeOrNone writes n bytes as formatSize does, and no limit as 0.
func formatSizeOrNone(n int) string {
	if n == 0 {
		return "0"
	}
	return formatSize(n)
}

// formatSize writes n bytes in the largest unit that divides it.
func formatSize(n int) string {
	for _, u := range sizeUnits {
		if n%u.bytes == 0 {
			return strconv.Itoa(n/u.bytes) + u.name
		}
	}
	return strconv.Itoa(n)
}

// limit is a number up to most, where 0 stands for no limit.
func limit(most int, field func(*Config) *int) *value { return number(most, orNoLimit, field) }

// number is a number up to most, where 0 has the meaning that is said in words;
// without one it is from 1.
func number(most int, meaning string, field func(*Config) *int) *value {
	want := fmt.Sprintf("a number from 1 to %d", most) + meaning
	set := func(l *loader, text string) string {
		n, wrong := parseWhole(text)
		if wrong != "" {
			return fmt.Sprintf("%q %s; want %s", text, wrong, want)
		}
		if n < 0 || n > most || n == 0 && meaning == "" {
			return fmt.Sprintf("%s is out of range; want 1 to %d", text, most) + meaning
		}
		*field(&l.config) = n
		return ""
	}
	return &value{want: want, number: true, set: set, equal: equalField(field)}
}

var wholeShape = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)

// parseWhole reads a whole number in the one way that everybody reads alike:
// no 010, which is ten or eight, no 0x10, 1e3 or 1_000. Beyond what an int
// holds it returns -1, which no caller accepts.
func parseWhole(text string) (n int, wrong string) {
	if !wholeShape.MatchString(text) {
		if strings.Trim(text, "0123456789") == "" {
			return 0, "has a leading zero"
		}
		return 0, "is no whole number"
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1, ""
	}
	return n, ""
}

// isNumber reports whether text is a decimal number without a unit.
func isNumber(text string) bool {
	return text != "" && strings.Trim(text, "-+.0123456789") == ""
}

// fileName is the name of a file, or "" for none.
func fileName(field func(*Config) *string) *value {
	set := func(l *loader, text string) string {
		*field(&l.config) = text
		return badCharacter(text, fileWant)
	}
	return &value{want: fileWant, optional: true, set: set, equal: equalField(field)}
}

var fileWant = fmt.Sprintf(`the name of a file, at most %d bytes, or "" for none`, maxValue)

// badCharacter says which character of text is in no name of a file that a
// message or a terminal can show.
func badCharacter(text, want string) (wrong string) {
	for _, r := range text {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return fmt.Sprintf("%q has the character %q in it; want %s", text, r, want)
		}
	}
	return ""
}

// absoluteOrDefault is the absolute name of a file of at most so many bytes,
// None, or "" for the default.
func absoluteOrDefault(example string, most int, field func(*Config) *string) *value {
	v := absolute(example, most, `, %s, or "" for the default`, field)
	v.equal = equalField(field)
	return v
}

// absoluteOrNone is the absolute name of a file, or None or "".
func absoluteOrNone(example string, field func(*Config) *string) *value {
	return absolute(example, maxValue, `, or %s or "" for none`, field)
}

// absolute is the absolute name of a file of at most so many bytes, None, or ""
// with the meaning that is said in words. A relative one would depend on the
// directory that the relay is started in, which for a service is the root.
func absolute(example string, most int, meaning string, field func(*Config) *string) *value {
	want := fmt.Sprintf("an absolute path such as %s, at most %d bytes"+meaning, example, most, None)
	set := func(l *loader, text string) string {
		*field(&l.config) = text
		wrong := badCharacter(text, want)
		switch {
		case wrong != "" || text == "" || text == None:
			return wrong
		case !strings.HasPrefix(text, "/") && !filepath.IsAbs(text):
			if near := closest(text, []string{None}); near != "" {
				return fmt.Sprintf("unknown word %q; did you mean %q?", text, near)
			}
			return fmt.Sprintf("%q is no absolute path; want %s", text, want)
		case strings.HasSuffix(text, "/"):
			return fmt.Sprintf("%q is a directory; want %s", text, want)
		case len(text) > most:
			return fmt.Sprintf("%q has %d bytes; want %s", shorten(text), len(text), want)
		}
		return ""
	}
	return &value{want: want, optional: true, set: set, equal: equalOrNone(field)}
}

// groupName is the name of a group of users, or None or "" for none. Whether
// there is such a group is for the machine that the relay runs on.
func groupName(field func(*Config) *string) *value {
	const want = `the name of a group such as adm, or none or "" for none`
	set := func(l *loader, text string) string {
		*field(&l.config) = text
		wrong := badCharacter(text, want)
		if wrong == "" && strings.ContainsAny(text, ":,/") {
			return fmt.Sprintf("%q is no name of a group; want %s", text, want)
		}
		return wrong
	}
	return &value{want: want, optional: true, set: set, equal: equalOrNone(field)}
}

// A named is a value with the word that stands for it.
type named[T any] struct {
	word  string
	value T
}

// same returns words that stand for themselves.
func same(words ...string) []named[string] {
	list := make([]named[string], len(words))
	for i, w := range words {
		list[i] = named[string]{w, w}
	}
	return list
}

// word is one of several words.
func word[T comparable](field func(*Config) *T, choices ...named[T]) *value {
	words := make([]string, len(choices))
	for i, c := range choices {
		words[i] = c.word
	}
	set := func(l *loader, text string) string {
		for _, c := range choices {
			if text == c.word {
				*field(&l.config) = c.value
				return ""
			}
		}
		return unknownWord(text, words)
	}
	return &value{want: orList(words), words: words, set: set, equal: equalField(field)}
}

// yesOrNo is one of the words true and false.
func yesOrNo(field func(*Config) *bool) *value {
	return word(field, named[bool]{"false", false}, named[bool]{"true", true})
}

func unknownWord(text string, words []string) string {
	if near := closest(text, words); near != "" {
		return fmt.Sprintf("unknown word %q; did you mean %q?", text, near)
	}
	return fmt.Sprintf("unknown word %q; want %s", text, orList(words))
}

// orList returns "a", "a or b", "a, b or c".
func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}
