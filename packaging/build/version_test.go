package main

import (
	"os/exec"
	"strings"
	"testing"

	"udprelay/internal/testneed"
)

func TestVersionsFromGit(t *testing.T) {
	const date = "20251122220211"
	for described, want := range map[string]string{
		"c2cd17cabcde":                    "0.0.0~20251122220211.c2cd17cabcde",
		"c2cd17cabcde-dirty":              "0.0.0~20251122220211.c2cd17cabcde.dirty",
		"v1.2.3-0-gc2cd17c":               "1.2.3",
		"v1.2.3-0-gc2cd17c-dirty":         "1.2.3+0.c2cd17c.dirty",
		"v1.2.3-15-gc2cd17c":              "1.2.3+15.c2cd17c",
		"v1.3.0-rc.1-0-gc2cd17c":          "1.3.0~rc.1",
		"v1.3.0-rc.1-2-gc2cd17c-dirty":    "1.3.0~rc.1+2.c2cd17c.dirty",
		"v1.3.0-rc.1-with-a-0-gc2cd17c":   "1.3.0~rc.1.with.a",
		"release-1.2.3-0-gc2cd17c":        "",
		"v1:2-0-gc2cd17c":                 "",
		"v1.2.3/../../x-0-gc2cd17c-dirty": "",
		"":                                "",
	} {
		got, ok := fromGit(described, date)
		if ok != (want != "") || ok && got != want {
			t.Errorf("%q: want %q, got %q, %v", described, want, got, ok)
		}
	}
}

func TestVersionsThatAreGiven(t *testing.T) {
	for given, want := range map[string]string{"1.2.3": "1.2.3", "2.0.0-rc.1": "2.0.0~rc.1", "v1.2.3": "", "1.2.3 ": "", "1:2": "", "../1": "", "1~": ""} {
		got, err := findVersion(t.Context(), ".", given)
		if (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q: want %q, got %q, %v", given, want, got, err)
		}
	}
}

// ascending are versions as they follow each other.
var ascending = []string{
	"0.0.0~20251122220211.c2cd17cabcde", "0.0.0~20251123000000.0123456789ab", "0.1.0", "1.2.3", "1.2.3+2.c2cd17c", "1.2.3+15.0123456",
	"1.3.0~rc.1", "1.3.0~rc.1+2.c2cd17c", "1.3.0~rc.2", "1.3.0", "1.10.0",
}

func TestVersionsAscendForDpkg(t *testing.T) {
	testneed.Tool(t, "dpkg")
	for i := 1; i < len(ascending); i++ {
		if out, err := exec.Command("dpkg", "--compare-versions", ascending[i-1], "lt", ascending[i]).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("want %s before %s, got %v %s", ascending[i-1], ascending[i], err, out)
		}
	}
}

func TestVersionsAscendForRPM(t *testing.T) {
	testneed.Tool(t, "rpm")
	for i := 1; i < len(ascending); i++ {
		out, err := exec.Command("rpm", "--eval", `%{lua:print(rpm.vercmp("`+ascending[i-1]+`", "`+ascending[i]+`"))}`).CombinedOutput()
		if strings.TrimSpace(string(out)) != "-1" || err != nil {
			t.Errorf("want %s before %s, got %s, %v", ascending[i-1], ascending[i], out, err)
		}
	}
}

// FuzzFromGit: whatever git says, a version is one, or none.
func FuzzFromGit(f *testing.F) {
	f.Add("v1.3.0-rc.1-2-gc2cd17c-dirty", "20251122220211")
	f.Add("c2cd17cabcde", "20251122220211")
	f.Fuzz(func(t *testing.T, described, date string) {
		if version, ok := fromGit(described, date); ok && !versionShape.MatchString(version) {
			t.Errorf("%q: want a version, got %q", described, version)
		}
	})
}
