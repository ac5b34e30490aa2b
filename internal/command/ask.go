package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/admin"
)

// notRunning is the hint where a relay does not answer at the socket that the
// configuration names.
const notRunning = "is the relay running? --socket names the socket of one that was started with another admin.socket"

// askFlags are the flags of a command that asks a running relay once.
func askFlags(more ...cli.Flag) []cli.Flag {
	return append(append(more, &cli.BoolFlag{Name: "json", Usage: "print what the relay says as JSON", DisableDefaultText: true}), socketFlags()...)
}

// askOnce asks the running relay that the flags of c mean, and writes what it
// says: with --json as it says it, or else as write does.
func askOnce[T any](c *cli.Context, world World, ask func(context.Context, admin.Client) (T, error), write func(w io.Writer, said T, now time.Time) error) error {
	where, err := searchOf(world, c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, askWithin)
	defer cancel()
	var said T
	err = where.ask(func(client admin.Client) (err error) {
		said, err = ask(ctx, client)
		return err
	})
	if admin.Absent(err) {
		return where.unanswered(err, notRunning)
	}
	if err != nil {
		return err
	}
	where.say(world.Stderr)
	if !c.Bool("json") {
		return write(world.Stdout, said, time.Now())
	}
	text, err := admin.JSON(said)
	if err == nil {
		_, err = fmt.Fprintf(world.Stdout, "%s\n", text)
	}
	return err
}

// oneArgument returns the argument of a command that wants just one; what says
// what it is. A flag behind it is told apart from another argument.
func oneArgument(c *cli.Context, what string) (string, error) {
	if c.NArg() == 0 {
		return "", &usageFailure{what + " is missing", helpHint(c)}
	}
	first := c.Args().First()
	if more := c.Args().Get(1); len(more) > 1 && more[0] == '-' {
		return "", &usageFailure{fmt.Sprintf("%s stands behind %s; want flags before it: udprelay %s %s ... %s", printable(more), printable(first), c.Command.Name, printable(more), printable(first)), helpHint(c)}
	}
	return first, noMoreThan(c, 1)
}
