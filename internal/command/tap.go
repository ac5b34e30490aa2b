package command

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"udprelay/internal/admin"
	"udprelay/internal/capture"
)

const tapDescription = `Writes what passes the relay as pcapng, with the true addresses, to standard output
or to a file, until it is stopped. Each datagram is there once, however many peers
got it; what the relay refused or dropped is not. It never slows the relay: what
it cannot keep up with is missing from the recording, which says so.

With --rotate, --write names a set of files: room.pcapng makes
room_00001_DATE.pcapng and so on.

` + socketText + `

Examples:
  sudo udprelay tap | wireshark -k -i -
  sudo udprelay tap --peer 192.0.2.7 --count 100 --write one.pcapng
  sudo udprelay tap --write /var/tmp/room.pcapng --rotate 100000000 --keep 20`

func tapCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "tap",
		Usage:       "record what passes a running relay, for Wireshark",
		Description: tapDescription,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "write", Usage: "write to `FILE`, not to standard output"},
			&cli.Int64Flag{Name: "rotate", Usage: "begin another file after so many `BYTES`, at least 4096; 0: one file"},
			&cli.IntFlag{Name: "keep", Value: 10, Usage: "of the files of --rotate keep the last `N`"},
			&cli.StringSliceFlag{Name: "peer", Usage: "only datagrams of `ADDRESS`, with a port or without, or a prefix; may be repeated"},
			&cli.IntFlag{Name: "snaplen", Usage: "keep `BYTES` of each packet, headers included, at least 48; 0: all"},
			&cli.Uint64Flag{Name: "count", Usage: "end after `N` datagrams; 0: do not"},
		}, socketFlags()...),
		Action: func(c *cli.Context) error {
			if err := noMoreThan(c, 0); err != nil {
				return err
			}
			out, err := tapOutput(world, c)
			if err != nil {
				return err
			}
			where, err := searchOf(world, c)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // a second signal ends the process at once
			return tap(ctx, world, where, admin.Tap{Peers: c.StringSlice("peer"), SnapLen: c.Int("snaplen")}, out, c.Uint64("count"))
		},
	}
}

// tapOutput returns where the recording is to go.
func tapOutput(world World, c *cli.Context) (*capture.Output, error) {
	name, size := c.String("write"), c.Int64("rotate")
	switch {
	case name == "" && (c.IsSet("rotate") || c.IsSet("keep")):
		return nil, &usageFailure{"--rotate and --keep want --write", helpHint(c)}
	case size == 0 && c.IsSet("keep"):
		return nil, &usageFailure{"--keep wants --rotate", helpHint(c)}
	case name == "" && isTerminal(world.Stdout):
		return nil, &usageFailure{"a recording is nothing for a terminal; want --write FILE or a pipe", helpHint(c)}
	case name == "":
		return capture.ToWriter(world.Stdout), nil
	case size == 0:
		return capture.ToFile(name), nil
	}
	out, err := capture.ToFiles(name, size, c.Int("keep"))
	if err != nil {
		return nil, &usageFailure{err.Error(), helpHint(c)}
	}
	return out, nil
}

func tap(ctx context.Context, world World, where search, wish admin.Tap, out *capture.Output, count uint64) error {
	err := where.ask(func(client admin.Client) error {
		recording, err := client.Tap(ctx, wish)
		if err != nil {
			return err
		}
		defer recording.Close()
		where.say(world.Stderr)
		saved, err := capture.Save(ctx, recording, out, count)
		fmt.Fprintf(world.Stderr, "udprelay: recorded %d datagrams, %d are missing\n", saved.Datagrams, saved.Missing)
		return err
	})
	if admin.Absent(err) {
		err = where.unanswered(err, notRunning)
	}
	return err
}
