package usage

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const page = `relay serve - run it

Usage:
  relay serve [flags] [FILE]

Commands:
  now    at once
  later

Flags:
  --config FILE, -c FILE                 read FILE, such as  room.yaml
  --peer HOST:PORT [ --peer HOST:PORT ]  a peer
  --long
  --help, -h                             show this help

Text with
Flags:
that begins no section with - wrong - lines is refused, so it has none.
`

func TestHelpPages(t *testing.T) {
	got, err := Parse(strings.Replace(page, "Flags:\nthat", "flags\nthat", 1))
	if err != nil {
		t.Fatal(err)
	}
	want := &Command{
		Summary:  "run it",
		Args:     "[FILE]",
		Commands: []*Command{{Path: []string{"now"}, Summary: "at once"}, {Path: []string{"later"}}},
		Flags: []Flag{
			{Names: []string{"--config", "-c"}, Arg: "FILE", Summary: "read FILE, such as  room.yaml"},
			{Names: []string{"--peer"}, Arg: "HOST:PORT", Summary: "a peer", Repeatable: true},
			{Names: []string{"--long"}},
			{Names: []string{"--help", "-h"}, Summary: "show this help"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("command (-want +got):\n%s", diff)
	}
	if !got.TakesFile() || !got.Flags[0].TakesFile() || got.Flags[1].TakesFile() {
		t.Errorf("want a file for %q and %q only", got.Args, got.Flags[0].Arg)
	}
}

func TestPagesThatAreNone(t *testing.T) {
	for _, page := range []string{
		"", "no name\n", page,
		"a - b\n\nUsage:\n  c [flags]\n\nFlags:\n  --help\n",
		"a - b\n\nCommands:\n  Wrong\n\nFlags:\n  --help\n",
		"a - b\n\nFlags:\n  --=\n",
		"a - b\n\nUsage:\n  a\n",
	} {
		if c, err := Parse(page); err == nil {
			t.Errorf("want an error for %q, got %+v", page, c)
		}
	}
}

func TestWordsThatAreWanted(t *testing.T) {
	for message, want := range map[string][]string{
		"x: unknown word \"?\"; want debug, info, warn or error\nhint: y":                                   {"debug", "info", "warn", "error"},
		"x: \"?\" is no group; want one of any, link-local, an address, or a prefix such as 203.0.113.0/24": {"any", "link-local"},
		"x: something else": {},
	} {
		if diff := cmp.Diff(want, Wanted(message)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", message, diff)
		}
	}
}

// FuzzParse: a page is refused, or each of its flags and commands has a name.
func FuzzParse(f *testing.F) {
	f.Add(page)
	f.Add(strings.Replace(page, "Flags:\nthat", "flags\nthat", 1))
	f.Fuzz(func(t *testing.T, page string) {
		c, err := Parse(page)
		if err != nil {
			return
		}
		for _, flag := range c.Flags {
			if len(flag.Names) == 0 {
				t.Errorf("want a name for each flag, got %+v", flag)
			}
			for _, name := range flag.Names {
				if strings.ContainsAny(name, " '\"\\[]:\n") {
					t.Errorf("want a name without special characters, got %q", name)
				}
			}
		}
		for _, command := range c.Commands {
			if command.Name() == "" {
				t.Errorf("want a name for each command, got %+v", command)
			}
		}
		Wanted(page)
	})
}
