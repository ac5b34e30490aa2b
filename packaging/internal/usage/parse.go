package usage

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	flagLine    = regexp.MustCompile(`^  (-.*?)(?:  +(\S.*))?$`)
	commandLine = regexp.MustCompile(`^  ([a-z][a-z0-9-]*)(?: +(\S.*))?$`)
	flagShape   = regexp.MustCompile(`^--?[A-Za-z0-9][A-Za-z0-9-]*$`)
	wordShape   = regexp.MustCompile(`^[a-z][a-z0-9-]*$`)
)

// Parse reads a help page: a line with the name and what the command does, and
// the sections "Usage:", "Commands:" and "Flags:", which end with an empty
// line. The commands are not complete: they have a name and a summary.
func Parse(page string) (*Command, error) {
	lines := strings.Split(page, "\n")
	name, summary, ok := strings.Cut(lines[0], " - ")
	if !ok || name == "" {
		return nil, errors.New(`the first line is no "NAME - what it does"`)
	}
	c := &Command{Summary: summary}
	section := ""
	for _, line := range lines[1:] {
		switch {
		case line == "":
			section = ""
		case line == "Usage:" || line == "Commands:" || line == "Flags:":
			section = line
		case section == "Usage:":
			rest, ok := strings.CutPrefix(strings.TrimSpace(line), name)
			if !ok {
				return nil, fmt.Errorf("the usage %q does not begin with %q", line, name)
			}
			c.Args = strings.TrimSpace(strings.ReplaceAll(strings.ReplaceAll(rest, "[flags]", ""), "COMMAND", ""))
		case section == "Commands:":
			parts := commandLine.FindStringSubmatch(line)
			if parts == nil {
				return nil, fmt.Errorf("no command: %q", line)
			}
			c.Commands = append(c.Commands, &Command{Path: parts[1:2], Summary: parts[2]})
		case section == "Flags:":
			f, err := parseFlag(line)
			if err != nil {
				return nil, err
			}
			c.Flags = append(c.Flags, f)
		}
	}
	if len(c.Flags) == 0 {
		return nil, errors.New("there are no flags, not even --help")
	}
	return c, nil
}

// parseFlag reads a line such as "  --config FILE, -c FILE  read FILE".
func parseFlag(line string) (Flag, error) {
	parts := flagLine.FindStringSubmatch(line)
	if parts == nil {
		return Flag{}, fmt.Errorf("no flag: %q", line)
	}
	f := Flag{Summary: parts[2]}
	spelled, _, repeated := strings.Cut(parts[1], " [ ") // --peer ADDR [ --peer ADDR ]
	f.Repeatable = repeated
	for one := range strings.SplitSeq(spelled, ", ") {
		name, arg, _ := strings.Cut(one, " ")
		if !flagShape.MatchString(name) {
			return Flag{}, fmt.Errorf("%q is no name of a flag, in %q", name, line)
		}
		f.Names, f.Arg = append(f.Names, name), arg
	}
	return f, nil
}

// Wanted returns the words after "want", as in "want debug, info, warn or error".
func Wanted(message string) []string {
	_, list, _ := strings.Cut(message, "; want ")
	list, _, _ = strings.Cut(list, "\n")
	list = strings.ReplaceAll(strings.TrimPrefix(list, "one of "), " or ", ", ")
	words := strings.Split(list, ", ")
	return slices.DeleteFunc(words, func(word string) bool { return !wordShape.MatchString(word) })
}
