package completion

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"udprelay/packaging/internal/shelltest"
	"udprelay/packaging/internal/usage"
)

// tree is a program that has all there can be: a command below a command,
// flags of all kinds, and characters that a shell would take for its own.
var tree = &usage.Command{
	Flags: []usage.Flag{help},
	Commands: []*usage.Command{
		{Path: []string{"serve"}, Summary: "run: it's [on]", Flags: []usage.Flag{
			{Names: []string{"--config", "-c"}, Arg: "FILE", Summary: `read "it" $HOME; [now]: it's \n`},
			{Names: []string{"--log-level"}, Arg: "WORD", Summary: "words", Words: []string{"debug", "info", "warn", "error"}},
			{Names: []string{"--log-format"}, Arg: "WORD", Summary: "words", Words: []string{"text", "json"}},
			{Names: []string{"--peer"}, Arg: "HOST:PORT", Summary: "peers", Repeatable: true},
			help,
		}},
		{Path: []string{"secure"}, Args: "[FILE]", Flags: []usage.Flag{help}},
		{Path: []string{"file"}, Flags: []usage.Flag{help}, Commands: []*usage.Command{
			{Path: []string{"file", "send"}, Args: "FILE", Flags: []usage.Flag{{Names: []string{"--to"}, Arg: "HOST:PORT"}, help}},
			{Path: []string{"file", "receive"}, Flags: []usage.Flag{help}},
		}},
	},
}

var help = usage.Flag{Names: []string{"--help", "-h"}, Summary: "show this help"}

// lines are what is typed, and what can follow. All shells agree on these; the
// files are one.yaml and "two words.yaml".
var lines = []struct {
	line string
	want []string
}{
	{"udprelay se", []string{"secure", "serve"}},
	{"udprelay serve --lo", []string{"--log-format", "--log-level"}},
	{"udprelay serve --log-level ", []string{"debug", "error", "info", "warn"}},
	{"udprelay serve --log-level i", []string{"info"}},
	{"udprelay serve --log-format json --peer a:1 --log-level e", []string{"error"}},
	{"udprelay serve --config o", []string{"one.yaml"}},
	{"udprelay serve -c o", []string{"one.yaml"}},
	{"udprelay serve --peer o", nil},
	{"udprelay serve o", nil},
	{"udprelay secure o", []string{"one.yaml"}},
	{"udprelay file ", []string{"receive", "send"}},
	{"udprelay file send o", []string{"one.yaml"}},
	{"udprelay file send --t", []string{"--to"}},
	{"udprelay --he", []string{"--help"}},
	{"udprelay nonsense --lo", nil},
}

// room returns a directory with those files.
func room(t *testing.T) string {
	t.Helper()
	directory := t.TempDir()
	for _, name := range []string{"one.yaml", "two words.yaml"} {
		if err := os.WriteFile(filepath.Join(directory, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return directory
}

func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	name = filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// files writes the completions for each shell, under the name that it wants.
func files(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"bash": write(t, "udprelay", Bash(tree)),
		"fish": write(t, "udprelay.fish", Fish(tree)),
		"zsh":  write(t, "_udprelay", Zsh(tree)),
	}
}

func TestShellsAgree(t *testing.T) {
	files := files(t)
	for _, shell := range shelltest.Shells {
		t.Run(shell, func(t *testing.T) {
			for _, test := range lines {
				if diff := cmp.Diff(test.want, shelltest.Ask(t, shell, files[shell], room(t), test.line)); diff != "" {
					t.Errorf("%q (-want +got):\n%s", test.line, diff)
				}
			}
		})
	}
}

func TestBashKnowsFlagsWithTheirValues(t *testing.T) {
	file := files(t)["bash"]
	for line, want := range map[string][]string{
		"udprelay serve --log-level=":  {"debug", "error", "info", "warn"},
		"udprelay serve --log-level=w": {"warn"},
		"udprelay serve --config tw":   {"two words.yaml"},
	} {
		if diff := cmp.Diff(want, shelltest.Ask(t, "bash", file, room(t), line)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
	}
}

// With another COMP_WORDBREAKS, --flag=value is one word and is replaced whole.
func TestBashWithOneWord(t *testing.T) {
	file := files(t)["bash"]
	got := shelltest.Run(t, room(t), "bash", "--norc", "--noprofile", "-c", `. "$1"; COMP_WORDS=(udprelay serve --log-level=w); COMP_CWORD=2; _udprelay; printf '%s\n' "${COMPREPLY[@]}"`, "bash", file)
	if diff := cmp.Diff([]string{"--log-level=warn"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
