package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/admin"
)

// mostShown is how many peers or bans are named below a sentence.
const mostShown = 10

const kickDescription = `Takes learned peers out of a running relay: the one at an address with a port, all of
an address without one, or all of a prefix. Nothing is sent to them from then on,
until they join again, which the rules of access let them do with their next
datagram; "udprelay ban" keeps them out. If no learned peer is there, the exit code
is 1. Static peers come from the configuration and stay.

` + socketText + `

Examples:
  sudo udprelay kick 192.0.2.7:40000
  sudo udprelay kick 192.0.2.7
  sudo udprelay kick --json 2001:db8::/64 | jq .count`

func kickCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "kick",
		Usage:       "take peers out of a running relay, once",
		ArgsUsage:   "ADDRESS|PREFIX",
		Description: kickDescription,
		Flags:       askFlags(),
		Action: func(c *cli.Context) error {
			address, err := oneArgument(c, "an address")
			if err != nil {
				return err
			}
			from, _, err := admin.ParsePeers(address)
			if err != nil {
				return &usageFailure{err.Error(), helpHint(c)}
			}
			return askOnce(c, world, func(ctx context.Context, client admin.Client) (admin.Kicked, error) {
				return client.Kick(ctx, address)
			}, func(w io.Writer, kicked admin.Kicked, _ time.Time) error {
				err := writeKicked(w, kicked)
				fmt.Fprintf(world.Stderr, "hint: to keep out who is there: udprelay ban %v\n", from)
				return err
			})
		},
	}
}

// writeKicked writes for a person who is out.
func writeKicked(w io.Writer, kicked admin.Kicked) error {
	if kicked.Count == 1 && len(kicked.Removed) == 1 {
		_, err := fmt.Fprintf(w, "%v is out; it may join again with its next datagram\n", admin.AddressText(kicked.Removed[0]))
		return err
	}
	text := fmt.Sprintf("%s out; each may join again with its next datagram\n", numbered(kicked.Count, "learned peer is", "learned peers are"))
	shown := kicked.Removed[:min(len(kicked.Removed), mostShown)]
	for _, addr := range shown {
		text += fmt.Sprintf("  %s\n", admin.AddressText(addr))
	}
	if more := kicked.Count - len(shown); more > 0 {
		text += fmt.Sprintf("  and %s more\n", counted(more))
	}
	_, err := io.WriteString(w, text)
	return err
}

// numbered returns n with the words for one or for any other number.
func numbered[N int | uint64](n N, one, others string) string {
	if n == 1 {
		return "1 " + one
	}
	return counted(n) + " " + others
}
