package filetransfer

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
)

func TestNames(t *testing.T) {
	for _, name := range []string{
		"a", "report.pdf", "two words.txt", "-rf", "a..b", "été.txt", "e\u0301te\u0301", "Ω.txt", "文件.txt", "ไฟล์", "ملف.txt", "קובץ", "फ़ाइल",
		"👩‍🚀.png", "❤\ufe0f", "می\u200cخواهم", "\u06011", "CONSOLE", "COM", "COM10", "nul1", "LPT", "a:b", "~", "$HOME", "*", "aux-1.txt", strings.Repeat("a", 255), strings.Repeat("é", 127),
	} {
		if err := checkName(name, "linux"); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"": "empty", ".": "directory", "..": "directory", "../x": "path", "/etc/passwd": "path", "a/b": "path", `a\b`: "path", `C:\x`: "path", "x/": "path",
		"a\x00b": "NUL", "a\nb": "U+000A", "a\x1b[2J": "U+001B", "a\x7f": "U+007F", "a\u0085b": "U+0085", "a\u2028b": "U+2028", "\xff": "UTF-8", "a\xc3": "UTF-8",
		strings.Repeat("a", 256): "256 bytes", strings.Repeat("é", 128): "256 bytes",
		"photo\u202egpj.exe": "U+202E", "\u2066a": "U+2066", "a\u061cb": "U+061C", "a\u200bb": "U+200B", "\ufeffa": "U+FEFF", "a\u00adb": "U+00AD",
		"a\U000e0062b": "U+E0062", "a\u2060b": "U+2060", "\u3164": "U+3164", "a\u115f": "U+115F", "a\u180e": "U+180E", ".profile": "dot", "...": "dot", temporaryName(): "dot", "a.": "dot or a blank", "a ": "dot or a blank",
		"CON": "device", "nul": "device", "Aux.txt": "device", "COM1": "device", "com1.tar.gz": "device", "LPT9": "device", "PRN .x": "device", "COM¹": "device", "CONIN$": "device",
	} {
		if err := checkName(name, "linux"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: want an error with %q, got %v", name, want, err)
		}
	}
	for _, name := range []string{"a:b", "C:x", "a*", "a?", "a|b", "<a", "a>", `"a`} {
		if checkName(name, "windows") == nil {
			t.Errorf("%q is refused on Windows", name)
		}
	}
}

// FuzzName: a name that is taken is one file in the directory and can be sent.
func FuzzName(f *testing.F) {
	for _, seed := range []string{"a", "../x", "CON.txt", "a\x00", "é", ".x", `\\?\C:`, "photo\u202egpj"} {
		f.Add(seed)
	}
	directory := f.TempDir()
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) != nil {
			return
		}
		if filepath.Base(name) != name || !filepath.IsLocal(name) || len(name) > MaxName || strings.IndexFunc(name, unicode.IsControl) >= 0 {
			t.Fatalf("%q is taken", name)
		}
		path := filepath.Join(directory, name)
		if filepath.Dir(path) != directory {
			t.Fatalf("%q leads out of the directory", name)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatalf("%q is taken, but: %v", name, err)
		}
		if entries, err := os.ReadDir(directory); err != nil || len(entries) != 1 || entries[0].Name() != name {
			t.Fatalf("%q has made %v, %v", name, entries, err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	})
}
