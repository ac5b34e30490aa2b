package usage

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// A Command is a command of the program, or the program itself.
type Command struct {
	Path     []string // the words after the program's name; none: the program itself
	Summary  string   // what it does, in a few words
	Args     string   // what follows the flags, such as [FILE]
	Flags    []Flag
	Commands []*Command
}

// A Flag is a flag of a command.
type Flag struct {
	Names      []string // such as --config and -c
	Arg        string   // its value as the help page calls it, such as FILE; "": it takes none
	Summary    string
	Repeatable bool
	Words      []string // all values that are words; known for values called WORD or FROM
}

// Name returns the words of c, parted by blanks.
func (c *Command) Name() string { return strings.Join(c.Path, " ") }

// All returns c and the commands below it, each before its own.
func (c *Command) All() []*Command {
	all := []*Command{c}
	for _, below := range c.Commands {
		all = append(all, below.All()...)
	}
	return all
}

// TakesFile reports whether the value of f is the name of a file or directory.
func (f Flag) TakesFile() bool { return isFile(f.Arg) }

// TakesFile reports whether the arguments of c are names of files.
func (c *Command) TakesFile() bool { return isFile(c.Args) }

func isFile(arg string) bool {
	return strings.Contains(arg, "FILE") || strings.Contains(arg, "PATH") || arg == "DIR"
}

const (
	patience = 20 * time.Second // for one call of the program
	deepest  = 3                // words of a command at most
)

// Read returns the commands of the executable program.
func Read(ctx context.Context, program string) (*Command, error) {
	return read(ctx, program, nil)
}

func read(ctx context.Context, program string, path []string) (*Command, error) {
	page, err := run(ctx, program, append(path[:len(path):len(path)], "--help")...)
	if err != nil {
		return nil, err
	}
	c, err := Parse(string(page))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.Join(append([]string{program}, append(path, "--help")...), " "), err)
	}
	c.Path = path
	for i := range c.Flags {
		if f := &c.Flags[i]; strings.HasPrefix(f.Arg, "WORD") || strings.HasPrefix(f.Arg, "FROM") {
			f.Words = askWords(ctx, program, path, f.Names[0])
		}
	}
	if len(path) == deepest {
		return c, nil
	}
	for i, below := range c.Commands {
		full, err := read(ctx, program, append(path[:len(path):len(path)], below.Path...))
		if err != nil {
			return nil, err
		}
		full.Summary = below.Summary
		c.Commands[i] = full
	}
	return c, nil
}

// run returns what the program writes to standard output. Its environment is
// empty, so that no variable changes the answer.
func run(ctx context.Context, program string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = []string{}
	return cmd.Output()
}

// askWords gives the flag a value that cannot be right, and returns the words
// that the program says it wants.
func askWords(ctx context.Context, program string, path []string, flag string) []string {
	_, err := run(ctx, program, append(path[:len(path):len(path)], flag, "?")...)
	if failure := (*exec.ExitError)(nil); errors.As(err, &failure) {
		return Wanted(string(failure.Stderr))
	}
	return nil
}
