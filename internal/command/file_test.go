package command

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"udprelay/internal/filetransfer"
)

func TestFileHelp(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"file", "--help"}, "udprelay file - send and receive files over TCP\n\nUsage:\n  udprelay file COMMAND [flags]\n\nCommands:\n  send      send"},
		{[]string{"file", "send", "-h"}, "Usage:\n  udprelay file send [flags] FILE... HOST:PORT\n\nFlags:\n  --as NAME "},
		{[]string{"file", "receive", "--help"}, "Usage:\n  udprelay file receive [flags]\n\nFlags:\n  --listen HOST:PORT "},
	} {
		got := runCommand(t, nil, test.args...)
		// The program is called otherwise in a test.
		name, _, _ := strings.Cut(got.stdout, " ")
		if said := strings.ReplaceAll(got.stdout, name+" file", "udprelay file"); got.code != 0 || !strings.Contains(said, test.want) || got.stderr != "" {
			t.Errorf("%q: want %q, got %+v", test.args, test.want, got)
		}
	}
}

// What makes no sense is refused before anything is sent or opened.
func TestFileCommandsThatMakeNoSense(t *testing.T) {
	directory := t.TempDir()
	one, two := filepath.Join(directory, "one"), filepath.Join(directory, "below", "one")
	if err := os.Mkdir(filepath.Dir(two), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{one, two} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	send, receive := "see udprelay file send --help", "see udprelay file receive --help"
	dir := []string{"--dir", directory}
	for _, test := range []struct {
		args       []string
		want, hint string
	}{
		{nil, "want send or receive", "see udprelay file --help"},
		{[]string{"sned"}, `unknown command "sned"`, `Did you mean "send"? (see udprelay file --help)`},
		{[]string{"--as"}, "unknown flag --as", "see udprelay file --help"},
		{[]string{"send"}, "no file is named", "want FILE HOST:PORT, such as report.pdf localhost:9100"},
		{[]string{"send", one}, "no receiver is named", "want FILE HOST:PORT, such as " + one + " localhost:9100"},
		{[]string{"send", one, "localhost:9", "--quiet"}, `unexpected argument "--quiet"`, "flags go before FILE"},
		{[]string{"send", one, two}, fmt.Sprintf("address %q: the port is missing", two), "want HOST:PORT behind the files, such as " + two + ":9100"},
		{[]string{"send", one, two, "localhost:9"}, one + " and " + two + " have the same base name", send},
		{[]string{"send", "--as", "x", one, two, "localhost:9"}, "--as names one file, and there are 2", send},
		{[]string{"send", "--as", "", one, "localhost:9"}, "--as names nothing", send},
		{[]string{"send", "--timeout", "0s", one, "localhost:9"}, "--timeout 0s: want more than 0s, at most 24h0m0s", send},
		{[]string{"send", "--overwrite", one, "localhost:9"}, "unknown flag --overwrite", send},
		{[]string{"receive"}, "--listen is missing", "want HOST:PORT, such as --listen 127.0.0.1:9100"},
		{[]string{"receive", "--listen", "localhost:0"}, "--dir is missing", "want a directory of its own for the files, such as --dir inbox"},
		{append([]string{"receive", "--listen", "localhost"}, dir...), "--listen localhost: cannot be understood", "want HOST:PORT, such as 127.0.0.1:9100 or [::1]:9100"},
		{append([]string{"receive", "--listen", "::1"}, dir...), "--listen ::1: cannot be understood", "want HOST:PORT, such as 127.0.0.1:9100 or [::1]:9100"},
		{append([]string{"receive", "--listen", "localhost:http"}, dir...), "--listen localhost:http: cannot be understood", "want HOST:PORT, such as 127.0.0.1:9100 or [::1]:9100"},
		{append([]string{"receive", "--listen", "localhost:0", "--max-size", "1MB"}, dir...), `--max-size 1MB: unknown unit "MB"; want B, KiB, MiB or GiB`, receive},
		{append([]string{"receive", "--listen", "localhost:0", "--max-transfers", "0"}, dir...), "--max-transfers 0: want 1 to 1000", receive},
		{append([]string{"receive", "--listen", "localhost:0", "--timeout", "25h"}, dir...), "--timeout 25h0m0s: want more than 0s, at most 24h0m0s", receive},
		{append(append([]string{"receive", "--listen", "localhost:0"}, dir...), "x"), `unexpected argument "x"`, receive},
	} {
		got := runCommand(t, nil, append([]string{"file"}, test.args...)...)
		if want := "udprelay: " + test.want + "\nhint: " + test.hint + "\n"; got.code != 64 || got.stderr != want || got.stdout != "" {
			t.Errorf("%q: want code 64 and %q, got %+v", test.args, want, got)
		}
	}
}

func TestFileFailures(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
		said string
	}{
		{&filetransfer.SourceError{Path: "x", Err: filetransfer.ErrDirectory}, 66, "udprelay: x: is a directory\nhint: directories are not sent; pack it: tar -czf DIR.tar.gz DIR\n"},
		{&filetransfer.SourceError{Path: "x", Err: fmt.Errorf("%w: too long", filetransfer.ErrName)}, 66, "udprelay: x: cannot be sent: too long\nhint: send it under another name: --as NAME\n"},
		{&filetransfer.SourceError{Path: "x", Err: filetransfer.ErrChanged}, 66, "udprelay: x: changed while it was sent; nothing of it is kept\nhint: send a copy of it\n"},
		{&filetransfer.RefusedError{Why: "full", There: true}, 69, "udprelay: n\\x1b: the receiver says: full\n"},
		{&filetransfer.NetworkError{Doing: "no connection", Err: errors.New("reset")}, 69, "udprelay: n\\x1b: no connection: reset\n"},
		{&filetransfer.DiskError{Name: "x", Err: errors.New("full")}, 74, "udprelay: x cannot be written: full\n"},
		{filetransfer.ErrStopped, 1, "udprelay: n\\x1b: stopped\n"},
	} {
		var said bytes.Buffer
		if code := report(&said, errors.Join(&fileFailure{"n\x1b", test.err})); code != test.code || said.String() != test.said {
			t.Errorf("%v: want code %d and %q, got %d and %q", test.err, test.code, test.said, code, &said)
		}
	}
	if code := (&fileFailure{"x", &filetransfer.MismatchError{}}).ExitCode(); code != 65 {
		t.Errorf("want code 65 for another content, got %d", code)
	}
}

// Whoever fails again and again does not fill the log.
func TestFailuresAreCounted(t *testing.T) {
	var said bytes.Buffer
	r := &fileReport{world: World{Stdout: &said, Stderr: &said}}
	for range 1000 {
		r.ended(filetransfer.Received{}, errors.New("no"))
	}
	r.leftOut()
	lines := strings.Split(strings.TrimSpace(said.String()), "\n")
	if told := strings.Count(said.String(), "nothing received from"); len(lines) > 200 || told < mostFailures || !strings.HasSuffix(lines[len(lines)-1], "failures more") {
		t.Errorf("got %d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}
