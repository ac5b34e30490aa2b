package command

import (
	"math"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestNumbersAreShort(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 999: "999", 1000: "1.00k", 1234: "1.23k", 9994: "9.99k", 9995: "10.0k", 99949: "99.9k", 99951: "100k",
		999499: "999k", 999500: "1.00M", 12345678: "12.3M", 1e15: "1.00P", math.MaxUint64: "18.4E",
	} {
		if got := short(n); got != want {
			t.Errorf("%d: want %s, got %s", n, want, got)
		}
	}
	for rate, want := range map[float64]string{
		0: "0", -1: "0", math.NaN(): "0", 1e-9: "<0.1", 0.049: "<0.1", 0.05: "0.1", 9.94: "9.9", 9.96: "10", 999.4: "999", 999.6: "1.00k", 123456: "123k",
	} {
		if got := shortRate(rate); got != want {
			t.Errorf("%v: want %s, got %s", rate, want, got)
		}
	}
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 123456: "123,456", 1234567: "1,234,567", math.MaxUint64: "18,446,744,073,709,551,615"} {
		if got := counted(n); got != want {
			t.Errorf("%d: want %s, got %s", n, want, got)
		}
	}
	if got := counted(-1); got != "0" {
		t.Errorf("want 0, got %s", got)
	}
	for bytes, want := range map[int]string{-1: "0 B", 0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 8 << 20: "8 MiB", 3 << 40: "3072 GiB"} {
		if got := memory(bytes); got != want {
			t.Errorf("%d: want %s, got %s", bytes, want, got)
		}
	}
}

// No number takes more than five places, or the columns would move.
func FuzzNumbersAreShort(f *testing.F) {
	f.Add(uint64(999), 999.5)
	f.Add(uint64(999_500), 9.95)
	f.Add(uint64(math.MaxUint64), 0.05)
	shape := regexp.MustCompile(`^(<0\.1|\d{1,3}|\d\.\d|\d\.\d\d[kMGTPE]|\d\d\.\d[kMGTPE]|\d{3}[kMGTPE])$`)
	f.Fuzz(func(t *testing.T, n uint64, rate float64) {
		if got := short(n); !shape.MatchString(got) {
			t.Errorf("%d: got %s", n, got)
		}
		if got := shortRate(rate); rate < 1e20 && !shape.MatchString(got) {
			t.Errorf("%v: got %s", rate, got)
		}
	})
}

// Whatever it is, it is shown as printable ASCII.
func FuzzPrintable(f *testing.F) {
	f.Add("\x1b[2J")
	f.Add("say \"x\" \\ \xff\u202e")
	f.Fuzz(func(t *testing.T, text string) {
		if got := printable(text); strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q: got %q", text, got)
		}
	})
}

func TestTimesAreRound(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 999 * time.Millisecond: "0s", 59 * time.Second: "59s", time.Minute: "1m 0s", 61 * time.Minute: "1h 1m",
		24 * time.Hour: "1d 0h", 51*time.Hour + 59*time.Minute: "2d 3h", 1000 * 24 * time.Hour: "1000d 0h",
	} {
		if got := lasting(d); got != want {
			t.Errorf("%v: want %s, got %s", d, want, got)
		}
		first, _, _ := strings.Cut(want, " ")
		if got := ago(noon.Add(-d), noon); got != first+" ago" {
			t.Errorf("%v: want %s ago, got %s", d, first, got)
		}
	}
}

func TestRoundTripsAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "-", 0: "-", 1: "<0.1ms", 49 * time.Microsecond: "<0.1ms", 50 * time.Microsecond: "0.1ms", 9949 * time.Microsecond: "9.9ms",
		9950 * time.Microsecond: "10ms", 999 * time.Millisecond: "999ms", 999500 * time.Microsecond: "1.0s", time.Minute: "60.0s",
	} {
		if got := shortTime(d); got != want {
			t.Errorf("%v: want %s, got %s", d, want, got)
		}
	}
}

func TestTextsAreCut(t *testing.T) {
	for width, want := range []string{"abcdef", "a", "ab", "abc", "ab..", "abc..", "abcdef", "abcdef"} {
		if got := cut("abcdef", width); got != want {
			t.Errorf("%d: want %s, got %s", width, want, got)
		}
	}
}

func TestATableWithoutColumnsOrRows(t *testing.T) {
	if got := layOut(nil, 10); len(got) != 1 || got[0] != "" {
		t.Errorf("want an empty line, got %q", got)
	}
	if got := layOut([]column{{title: "A"}, {title: "B", right: true, least: 3}}, 10); len(got) != 1 || got[0] != "A    B" {
		t.Errorf("want titles, got %q", got)
	}
}
