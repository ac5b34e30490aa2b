package packaging

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"udprelay/packaging/internal/shelltest"
)

// completions are the files of a package.
var completions = map[string]string{
	"bash": "usr/share/bash-completion/completions/udprelay",
	"fish": "usr/share/fish/vendor_completions.d/udprelay.fish",
	"zsh":  "usr/share/zsh/vendor-completions/_udprelay",
}

// TestPackagedCompletions asks real shells, with the files of a package, about
// the real program.
func TestPackagedCompletions(t *testing.T) {
	root := unpack(t, "udprelay_1.2.3_amd64.deb")
	program := theProgram(t)
	var commands, flags []string
	for _, c := range program.Commands {
		commands = append(commands, c.Name())
		for _, f := range c.Flags {
			if c.Name() == "serve" && strings.HasPrefix(f.Names[0], "--s") {
				flags = append(flags, f.Names[0])
			}
		}
	}
	slices.Sort(commands)
	slices.Sort(flags)
	for line, want := range map[string][]string{
		"udprelay se":                 {"serve"},
		"udprelay ":                   commands,
		"udprelay serve --lo":         {"--log-format", "--log-level"},
		"udprelay serve --s":          flags,
		"udprelay serve --log-level ": {"debug", "error", "info", "warn"},
		"udprelay serve --config u":   {"udprelay.yaml"},
		"udprelay check u":            {"udprelay.yaml"},
		"udprelay join --secret-f":    {"--secret-file"},
		"udprelay file ":              {"receive", "send"},
		"udprelay file send u":        {"udprelay.yaml"},
		"udprelay file receive --max": {"--max-size", "--max-transfers"},
		"udprelay file receive --d":   {"--dir"},
	} {
		for _, shell := range shelltest.Shells {
			got := shelltest.Ask(t, shell, filepath.Join(root, completions[shell]), filepath.Join(root, "etc/udprelay"), line)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %q (-want +got):\n%s", shell, line, diff)
			}
		}
	}
}
