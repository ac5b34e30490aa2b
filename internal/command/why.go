package command

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/admin"
)

const whyDescription = `Says what a running relay would do now with a datagram from ADDRESS, and whether it
sends to it: step by step, rule by rule, and in two sentences. Then what it has
dropped of datagrams from there and for there, and why, and what the network (ICMP)
reported about those for there. ADDRESS is an IP address with a port, or without
one for any port. Nothing is changed by asking.

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
		Flags:       askFlags(),
		Action: func(c *cli.Context) error {
			address, err := oneArgument(c, "an address")
			if err != nil {
				return err
			}
			if _, err := admin.ParseAddress(address); err != nil {
				return &usageFailure{err.Error(), helpHint(c)}
			}
			return askOnce(c, world, func(ctx context.Context, client admin.Client) (admin.Why, error) {
				return client.Why(ctx, address)
			}, writeWhy)
		},
	}
}

// writeWhy writes an explanation for a person.
func writeWhy(w io.Writer, said admin.Why, now time.Time) error {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s\n\n", printable(said.Address), printable(said.Verdict))
	for _, step := range said.Would {
		mark := " "
		if step.Decides {
			mark = ">" // here it is decided
		}
		fmt.Fprintf(&text, "%s %s: %s\n", mark, printable(step.Step), printable(step.Result))
	}
	if from := bannedBy(said); from.IsValid() {
		fmt.Fprintf(&text, "\nThe ban is ended by: udprelay unban %v\n", from)
	}
	if len(said.Did) == 0 {
		text.WriteString("\nNothing from there or for there was dropped lately.\n")
	} else {
		text.WriteString("\nDropped:\n")
	}
	for _, did := range said.Did {
		fmt.Fprintf(&text, "  %s, %s", datagrams(did.Count), printable(did.Reason))
		if did.Rule != "" {
			fmt.Fprintf(&text, " (%s)", printable(did.Rule))
		}
		if did.From != "" {
			fmt.Fprintf(&text, ", from %s", printable(did.From))
		}
		if did.Last != nil {
			fmt.Fprintf(&text, ", the last one %v ago", now.Sub(did.Last.Time).Round(time.Second))
		}
		text.WriteString("\n")
	}
	if len(said.Reports) > 0 {
		text.WriteString("\nReported by the network (ICMP) about datagrams that were sent to it:\n")
	}
	for _, report := range said.Reports {
		fmt.Fprintf(&text, "  %s, %s", numbered(report.Count, "report", "reports"), printable(report.Kind))
		if report.Last != nil {
			fmt.Fprintf(&text, ", the last one %v ago", now.Sub(report.Last.Time).Round(time.Second))
		}
		text.WriteString("\n")
	}
	_, err := io.WriteString(w, text.String())
	return err
}

// bannedBy returns the ban that a step names, or the zero Prefix. Of several, that
// is the one that ends last.
func bannedBy(said admin.Why) netip.Prefix {
	for _, step := range said.Would {
		if name, _, banned := strings.Cut(step.Result, " is banned"); banned && step.Step == "ban" {
			from, _ := netip.ParsePrefix(name)
			return from
		}
	}
	return netip.Prefix{}
}
