package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"udprelay/internal/logs"
)

// Exit codes, after sysexits.h.
const (
	exitOK       = 0
	exitFailure  = 1
	exitUsage    = 64 // EX_USAGE
	exitSoftware = 70 // EX_SOFTWARE
)

// A World is what a command sees of the process that it runs in.
type World struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Environ        []string // as os.Environ returns it
	DefaultConfig  []byte   // the embedded config.yaml
}

// Run runs the command line args, whose first element is the program's name,
// and returns the exit code.
func Run(args []string, world World) (code int) {
	defer func() {
		if r := recover(); r != nil {
			say(world.Stderr, fmt.Sprintf("udprelay: internal error: %v\nhint: this is a bug in udprelay; please report it with the lines that follow\n%s", r, debug.Stack()))
			code = exitSoftware
		}
	}()
	err := newApp(world).RunContext(context.Background(), args)
	return report(world.Stderr, err)
}

func newApp(world World) *cli.App {
	app := &cli.App{
		Name:            "udprelay",
		Usage:           "relay UDP datagrams: what one peer sends, every other peer gets",
		Version:         version(),
		HideHelpCommand: true,
		Reader:          world.Stdin,
		Writer:          world.Stdout,
		ErrWriter:       world.Stderr,
		Commands: []*cli.Command{
			serveCommand(world),
			checkCommand(world),
			joinCommand(world),
			statusCommand(world),
			peersCommand(world),
			kickCommand(world),
			banCommand(world),
			unbanCommand(world),
			reloadCommand(world),
			whyCommand(world),
			tapCommand(world),
			replayCommand(world),
			benchCommand(world),
			fileCommand(world),
			versionCommand(world),
		},
		OnUsageError:   usageError,
		ExitErrHandler: func(*cli.Context, error) {}, // report does it, once
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(c)
			}
			return cli.ShowAppHelp(c)
		},
		CustomAppHelpTemplate: appHelp,
	}
	inOurManner(app.Commands)
	return app
}

// inOurManner has commands, and those below them, say errors and help as we do.
func inOurManner(commands []*cli.Command) {
	for _, command := range commands {
		command.OnUsageError = usageError
		command.HideHelpCommand = true
		command.CustomHelpTemplate = commandHelp
		inOurManner(command.Subcommands)
	}
}

// versionFlag is -V, for -v is verbose elsewhere.
func init() {
	cli.VersionFlag = &cli.BoolFlag{Name: "version", Aliases: []string{"V"}, Usage: "print the version", DisableDefaultText: true}
	cli.HelpFlag = &cli.BoolFlag{Name: "help", Aliases: []string{"h"}, Usage: "show this help", DisableDefaultText: true}
	cli.VersionPrinter = func(c *cli.Context) { fmt.Fprintf(c.App.Writer, "udprelay %s\n", c.App.Version) }
}

// A usageFailure is a command line that cannot be understood.
type usageFailure struct{ message, hint string }

func (e *usageFailure) Error() string { return e.message }
func (e *usageFailure) ExitCode() int { return exitUsage }
func (e *usageFailure) Hint() string  { return e.hint }

// usageError turns an error of the flag parser into one line.
func usageError(c *cli.Context, err error, _ bool) error {
	message := strings.ReplaceAll(err.Error(), "flag provided but not defined: -", "unknown flag --")
	message = strings.ReplaceAll(message, "flag needs an argument: -", "a value is missing after --")
	message = strings.ReplaceAll(message, "---", "--")
	return &usageFailure{message, helpHint(c)}
}

// helpHint names the help of the command that c belongs to.
func helpHint(c *cli.Context) string {
	words := ""
	for _, in := range c.Lineage() { // from the command up
		if in.Command != nil && in.Command.Name != "" && in.Command.Name != c.App.Name {
			words = " " + in.Command.Name + words
		}
	}
	return "see udprelay" + words + " --help"
}

func unknownCommand(c *cli.Context) error {
	name := c.Args().First()
	failure := &usageFailure{fmt.Sprintf("unknown command %q", name), helpHint(c)}
	commands := c.App.Commands
	if c.Command != nil && len(c.Command.Subcommands) > 0 {
		commands = c.Command.Subcommands
	}
	if suggestion := cli.SuggestCommand(commands, name); suggestion != "" {
		failure.hint = fmt.Sprintf("%s (%s)", suggestion, failure.hint)
	}
	return failure
}

// noMoreThan refuses arguments beyond the first n.
func noMoreThan(c *cli.Context, n int) error {
	if c.NArg() <= n {
		return nil
	}
	return &usageFailure{fmt.Sprintf("unexpected argument %q", c.Args().Get(n)), helpHint(c)}
}

// report writes err for a person, a line for each error joined in it, and
// returns the exit code. An error names its own code with a method ExitCode
// and a way out with a method Hint.
func report(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	code := exitFailure
	if coder := (interface{ ExitCode() int })(nil); errors.As(err, &coder) {
		code = coder.ExitCode()
	}
	priority := "" // of the line, where the journal reads it: sd-daemon(3)
	if logs.DestinationOf(stderr) == logs.Journal {
		priority = "<3>"
	}
	var text strings.Builder
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(&text, "%sudprelay: %s\n", priority, strings.TrimSuffix(line, "\n"))
	}
	if hinter := (interface{ Hint() string })(nil); errors.As(err, &hinter) && hinter.Hint() != "" {
		fmt.Fprintf(&text, "%shint: %s\n", priority, hinter.Hint())
	}
	say(stderr, text.String())
	return code
}

// sayWithin is how long the last words of a process may take.
const sayWithin = 2 * time.Second

// say writes the last words of a process. A pipe that is full and that nobody
// reads must not keep it from ending.
func say(w io.Writer, text string) {
	said := make(chan struct{})
	go func() {
		defer close(said)
		_, _ = io.WriteString(w, text) // there is nowhere to say that it failed
	}()
	select {
	case <-said:
	case <-time.After(sayWithin):
	}
}

// getenv returns the value of name in the environment of world.
func (w World) getenv(name string) string {
	for i := len(w.Environ) - 1; i >= 0; i-- {
		if key, value, _ := strings.Cut(w.Environ[i], "="); key == name {
			return value
		}
	}
	return ""
}

// isTerminal reports whether stream is a terminal that a person looks at.
func isTerminal(stream any) bool {
	file, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
