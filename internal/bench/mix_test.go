package bench

import (
	"strings"
	"testing"
)

func TestMixesAreTakenAsTheyAreWritten(t *testing.T) {
	for _, text := range []string{"200", "16", "65507", "40-400", "64:50,200:30,1400:20", "40-400:3,1200"} {
		m, err := ParseMix(text)
		if err != nil || m.String() != text {
			t.Errorf("%s: want the same back, got %s, %v", text, m, err)
		}
	}
	if got := (Mix{}).String(); got != "200" {
		t.Errorf("want the zero value to be 200 bytes, got %s", got)
	}
}

func TestMixesThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                               `size "": want 16 to 65507 bytes`,
		"15":                             `size "15": want`,
		"65508":                          `size "65508": want`,
		"-5":                             `size "": want`,
		"+200":                           `size "+200": want`,
		"200,":                           `size "": want`,
		"1e3":                            `size "1e3": want`,
		"400-40":                         `sizes "400-40" go down; want 40-400`,
		"40-":                            `size "": want`,
		"64:0":                           `weight "0": want 1 to 1000000`,
		"64:":                            `weight "": want`,
		"64:1000001":                     `weight "1000001": want`,
		strings.Repeat("64,", 64) + "64": "more than 64 sizes",
	} {
		if _, err := ParseMix(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want %s, got %v", text, want, err)
		}
	}
}

func TestSizesFollowTheWeightsAndComeInTheSameOrder(t *testing.T) {
	m, err := ParseMix("64:50,200:30,1400-1402:20")
	if err != nil {
		t.Fatal(err)
	}
	const count = 100_000
	seen, again := map[int]int{}, m.sizes(count)
	for i, size := range m.sizes(count) {
		seen[size]++
		if again[i] != size {
			t.Fatalf("want the same order twice, got %d and %d at %d", size, again[i], i)
		}
	}
	for size, want := range map[int]int{64: 50_000, 200: 30_000, 1400: 6667, 1401: 6667, 1402: 6667} {
		if got := seen[size]; got < want*9/10 || got > want*11/10 {
			t.Errorf("%d bytes: want about %d of %d, got %d", size, want, count, got)
		}
	}
	if len(seen) != 5 {
		t.Errorf("want five sizes, got %v", seen)
	}
}

func FuzzParseMix(f *testing.F) {
	for _, text := range []string{"200", "40-400", "64:50,200:30,1400:20", "", ":", "-", ",", "16-65507:1000000", "99999999999999999999", "200:1:1", "1-2-3"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMix(text)
		if err != nil {
			return
		}
		again, err := ParseMix(m.String())
		if err != nil || again.String() != m.String() {
			t.Fatalf("%q is %s, and that is %s, %v", text, m, again, err)
		}
		for _, size := range m.sizes(1000) {
			if size < LeastSize || size > m.longest() || size > MostSize {
				t.Fatalf("%q: a size of %d", text, size)
			}
		}
	})
}

func TestWindowFitsIntoAReceiveBuffer(t *testing.T) {
	for sizes, want := range map[string]int{"16": 208, "128": 208, "129": 124, "200": 124, "40-640": 124, "641": 69, "1472": 69, "65507": 2} {
		mix, err := ParseMix(sizes)
		if err != nil {
			t.Fatal(err)
		}
		c := Config{Mix: mix}
		if got := c.window(); got != want {
			t.Errorf("%s bytes: want a window of %d, got %d", sizes, want, got)
		}
		if c.Window = 7; c.window() != 7 {
			t.Errorf("want the window of 7 that was asked for, got %d", c.window())
		}
	}
}
