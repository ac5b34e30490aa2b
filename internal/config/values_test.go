package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestDurationIsWrittenAsAPersonWould(t *testing.T) {
	for d, want := range map[time.Duration]string{
		100 * time.Millisecond:             "100ms",
		100500 * time.Microsecond:          "100.5ms",
		time.Second:                        "1s",
		1500 * time.Millisecond:            "1.5s",
		time.Minute:                        "60s",
		90 * time.Second:                   "90s",
		61500 * time.Millisecond:           "1m1.5s",
		2 * time.Minute:                    "2m",
		10 * time.Minute:                   "10m",
		150 * time.Second:                  "2m30s",
		time.Hour:                          "1h",
		10 * time.Hour:                     "10h",
		time.Hour + 30*time.Minute:         "1h30m",
		time.Hour + 10*time.Second:         "1h0m10s",
		time.Hour + 10*time.Minute:         "1h10m",
		20*time.Hour + 20*time.Millisecond: "20h0m0.02s",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("want %s, got %s", want, got)
		}
		var l loader
		set := duration("60s", leastExpiry, mostExpiry, func(c *Config) *time.Duration { return &c.Peers.Expiry }).set
		if wrong := set(&l, want); wrong != "" || l.config.Peers.Expiry != d {
			t.Errorf("want %s to be read as %s, got %s %s", want, d, l.config.Peers.Expiry, wrong)
		}
	}
}

func TestAShortDurationIsWrittenInASCIIAndRead(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                       "0",
		10 * time.Microsecond:   "10us",
		10500 * time.Nanosecond: "10.5us",
		200 * time.Microsecond:  "200us",
		1001 * time.Microsecond: "1.001ms",
		mostCoalesce:            "10ms",
	} {
		if got := formatDurationOrNone(d); got != want {
			t.Errorf("want %s, got %s", want, got)
		}
		var l loader
		l.config.Socket.Coalesce = time.Hour
		if wrong := lookUp("socket.coalesce").value.set(&l, want); wrong != "" || l.config.Socket.Coalesce != d {
			t.Errorf("want %s to be read as %s, got %s %s", want, d, l.config.Socket.Coalesce, wrong)
		}
	}
}

func TestSuggestionIsTheNearestWordOrNone(t *testing.T) {
	words := []string{"both", "send", "receive", "nothing", "max", "max_per_address"}
	for text, want := range map[string]string{
		"recieve":       "receive",
		"rec":           "receive",
		"SEND":          "send",
		"sned":          "send",
		"boht":          "both",
		"maxi":          "max",
		"max_per_adres": "max_per_address",
		"":              "",
		"everything":    "",
		"x":             "",
		"nobody":        "",
	} {
		if got := closest(text, words); got != want {
			t.Errorf("%q: want %q, got %q", text, want, got)
		}
	}
}

func TestUnreadableFileIsNamedWithAWayOut(t *testing.T) {
	directory := t.TempDir()
	name := filepath.Join(directory, "room.yaml")
	_, err := ReadFile(name)
	wantError(t, err, name+": there is no such file")
	var unreadable *Unreadable
	if !errors.As(err, &unreadable) || unreadable.ExitCode() != 78 || unreadable.Hint() != "without a file the built-in defaults hold" {
		t.Errorf("want exit code 78 and a hint, got %+v", unreadable)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("want fs.ErrNotExist within, got %v", err)
	}

	_, err = ReadFile(directory)
	wantError(t, err, directory+": is a directory; want a file")

	_, err = Read(StandardInput, iotest.ErrReader(errors.New("broken pipe")))
	wantError(t, err, "<stdin>: cannot be read: broken pipe")
}

func TestReadStopsBeyondTheSizeThatLoadRefuses(t *testing.T) {
	file, err := Read("huge.yaml", strings.NewReader(strings.Repeat("#", 3*maxFileSize)))
	if err != nil || len(file.Data) != maxFileSize+1 {
		t.Fatalf("want %d bytes, got %d and %v", maxFileSize+1, len(file.Data), err)
	}
}

func TestReadFileGivesTheBytesOfTheFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "room.yaml")
	if err := os.WriteFile(name, []byte("listen: :1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := ReadFile(name)
	if err != nil || file.Name != name || string(file.Data) != "listen: :1\n" {
		t.Errorf("want the file, got %+v and %v", file, err)
	}
}

func TestHintNamesTheFileWithMistakes(t *testing.T) {
	for _, c := range []struct {
		file *File
		want string
	}{
		{&File{Name: "room.yaml", Data: []byte("x: 1\n")}, "udprelay check room.yaml"},
		{&File{Name: StandardInput, Data: []byte("x: 1\n")}, ""},
		{nil, ""},
	} {
		_, _, err := Load(shipped(t), c.file, []string{"UDPRELAY_LISTEN=x"}, nil)
		var errs Errors
		if !errors.As(err, &errs) || errs.Hint() != c.want {
			t.Errorf("want the hint %q, got %q", c.want, errs.Hint())
		}
	}
}
