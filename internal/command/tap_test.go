package command

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"udprelay/internal/capture"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "4096": 4096, "4096B": 4096, "512KiB": 512 << 10, "64MiB": 64 << 20, "2GiB": 2 << 30,
		"8k": 8 << 10, "8K": 8 << 10, "8M": 8 << 20, "8G": 8 << 30, "9223372036854775807": math.MaxInt64, "8589934591GiB": 8589934591 << 30,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s: want %d, got %d, %v", text, want, got, err)
		}
	}
	for text, want := range map[string]string{
		"": "want a whole number", "-1": "want a whole number", "1.5MiB": "want a whole number", "8 MiB": "want a whole number", "MiB": "want a whole number",
		"8MB": `unknown unit "MB"; want B, KiB, MiB or GiB`, "8m": `unknown unit "m"`, "8kib": `unknown unit "kib"`, "8TiB": `unknown unit "TiB"`,
		"9223372036854775808": "more than any disk has", "8589934592GiB": "more than any disk has",
	} {
		if _, err := parseSize(text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: want %q, got %v", text, want, err)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, seed := range []string{"0", "64MiB", "8k", "99999999999999999999G", "1.5GiB"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseSize(text)
		if err != nil {
			return
		}
		digits := strings.TrimRight(text, "BKMGik")
		if n < 0 || len(digits) == len(text) && fmt.Sprint(n) != strings.TrimLeft(text, "0") && n != 0 {
			t.Fatalf("%q is read as %d", text, n)
		}
	})
}

// What makes no sense is refused before a relay is asked, and makes no file.
func TestTapsThatMakeNoSense(t *testing.T) {
	name := filepath.Join(t.TempDir(), "room.pcapng")
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--rotate", "1MiB"}, "--rotate and --keep want --write"},
		{[]string{"--keep", "3"}, "--rotate and --keep want --write"},
		{[]string{"--write", name, "--keep", "3"}, "--keep wants --rotate"},
		{[]string{"--write", name, "--rotate", "4095"}, "rotate after 4095 bytes: want 4096 or more"},
		{[]string{"--write", name, "--rotate", "1MB"}, `--rotate 1MB: unknown unit "MB"; want B, KiB, MiB or GiB`},
		{[]string{"--write", name, "--rotate", "1MiB", "--keep", "0"}, "keep 0 files: want 1 to 10000"},
		{[]string{"stray"}, `unexpected argument "stray"`},
	} {
		var out, said bytes.Buffer
		code := Run(append([]string{"udprelay", "tap", "--socket", name}, test.args...), World{Stdin: strings.NewReader(""), Stdout: &out, Stderr: &said})
		if code != 64 || said.String() != "udprelay: "+test.want+"\nhint: see udprelay tap --help\n" || out.Len() > 0 {
			t.Errorf("%q: want code 64 and %q, got %d, %q", test.args, test.want, code, &said)
		}
	}
	if made, err := filepath.Glob(filepath.Dir(name) + "/*"); err != nil || len(made) > 0 {
		t.Errorf("want no file, got %q, %v", made, err)
	}
}

func TestExitCodesOfWhatIsNotSaved(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		code int
		hint bool
	}{
		"none":       {nil, 0, false},
		"broken off": {errors.Join(&capture.BrokenOffError{Err: errors.New("reset")}), 69, false},
		"not made":   {errors.Join(&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}), 73, false},
		"no inode":   {&fs.PathError{Op: "open", Path: "x", Err: syscall.ENOSPC}, 73, true},
		"full":       {&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, 74, true},
		"not closed": {&fs.PathError{Op: "close", Path: "x", Err: syscall.EIO}, 74, false},
	} {
		var said bytes.Buffer
		code := report(&said, unsaved(test.err))
		if code != test.code || strings.Contains(said.String(), "hint: --rotate") != test.hint || code != 0 && !strings.Contains(said.String(), test.err.Error()) {
			t.Errorf("%s: want code %d and a hint: %v, got %d, %q", name, test.code, test.hint, code, &said)
		}
	}
}
