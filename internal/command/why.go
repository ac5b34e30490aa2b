package command

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/admin"
)

const whyDescription = `Says what a running relay would do now with a datagram from ADDRESS, and whether it
sends to it: step by step, rule by rule, and in two sentences. Then what it has
dropped of datagrams from there and for there, and why. ADDRESS is an IP address
with a port, or without one for any port. Nothing is changed by asking.

` + socketText + `

Examples:
  udprelay why 192.0.2.7:40000
  udprelay why 192.0.2.7
  udprelay why --json 2001:db8::7 | jq .verdict`

func whyCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "why",
		Usage:       "say why an address gets nothing, or is not heard",
		ArgsUsage:   "ADDRESS",
		Description: whyDescription,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "json", Usage: "print what the relay says as JSON", DisableDefaultText: true},
		}, socketFlags()...),
		Action: func(c *cli.Context) error {
			if err := noMoreThan(c, 1); err != nil {
				return err
			}
			if _, err := admin.ParseAddress(c.Args().First()); err != nil {
				return &usageFailure{err.Error(), helpHint(c)}
			}
			where, err := searchOf(world, c)
			if err != nil {
				return err
			}
			return why(c.Context, world, where, c.Args().First(), c.Bool("json"))
		},
	}
}

func why(ctx context.Context, world World, where search, address string, asJSON bool) error {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	var said admin.Why
	err := where.ask(func(client admin.Client) (err error) {
		said, err = client.Why(ctx, address)
		return err
	})
	if admin.Absent(err) {
		return where.unanswered(err, notRunning)
	}
	if err != nil {
		return err
	}
	where.say(world.Stderr)
	if asJSON {
		text, err := json.Marshal(said)
		if err == nil {
			_, err = fmt.Fprintf(world.Stdout, "%s\n", text)
		}
		return err
	}
	return writeWhy(world.Stdout, said, time.Now())
}

// notRunning is the hint where a relay does not answer at the socket that the
// configuration names.
const notRunning = "is the relay running? --socket names the socket of one that was started with another admin.socket"

// writeWhy writes an explanation for a person.
func writeWhy(w io.Writer, said admin.Why, now time.Time) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s\n\n", said.Address, said.Verdict)
	for _, step := range said.Would {
		mark := " "
		if step.Decides {
			mark = ">" // here it is decided
		}
		fmt.Fprintf(&text, "%s %s: %s\n", mark, step.Step, step.Result)
	}
	if len(said.Did) == 0 {
		text.WriteString("\nNothing from there or for there was dropped lately.\n")
	} else {
		text.WriteString("\nDropped:\n")
	}
	for _, did := range said.Did {
		fmt.Fprintf(&text, "  %d datagrams, %s", did.Count, did.Reason)
		if did.Rule != "" {
			fmt.Fprintf(&text, " (%s)", did.Rule)
		}
		if did.From != "" {
			fmt.Fprintf(&text, ", from %s", did.From)
		}
		if did.Last != nil {
			fmt.Fprintf(&text, ", the last one %v ago", now.Sub(did.Last.Time).Round(time.Second))
		}
		text.WriteString("\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}
