package command

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// TestDocumentedClusterCommandsExist checks that docs/cluster.md shows commands
// and flags that there are.
func TestDocumentedClusterCommandsExist(t *testing.T) {
	page, err := os.ReadFile("../../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	app := newApp(World{})
	// A line of a console, or a part of the text that is set off, up to the end
	// of the command.
	lines := regexp.MustCompile("(?m)(?:^ *[$#] (?:[A-Z_]+=\\S+ )?|`)udprelay ([a-z][^`#|\n]*)").FindAllStringSubmatch(string(page), -1)
	if len(lines) < 8 {
		t.Fatalf("want the commands, got %d", len(lines))
	}
	for _, line := range lines {
		words := strings.Fields(line[1])
		at := slices.IndexFunc(app.Commands, func(c *cli.Command) bool { return c.HasName(words[0]) })
		if at < 0 {
			t.Errorf("docs/cluster.md has udprelay %s, which there is not", words[0])
			continue
		}
		for _, word := range words[1:] {
			flag, isFlag := strings.CutPrefix(word, "--")
			if isFlag && !slices.ContainsFunc(app.Commands[at].Flags, func(f cli.Flag) bool { return slices.Contains(f.Names(), flag) }) {
				t.Errorf("docs/cluster.md has udprelay %s --%s, which there is not", words[0], flag)
			}
		}
	}
}
