package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strconv"
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
room_00001_DATE.pcapng and so on, of which the last --keep stay, those of earlier
recordings with the same name included. So the set takes no more than SIZE times
N, and no file is written over. SIZE is 512KiB, 64MiB, 1GiB or a number of bytes;
k, M and G are short for the units.

It ends with --count, when nobody reads its output any more (on Linux at once,
elsewhere with the next datagram), or when it is stopped (Ctrl-C, SIGTERM); the
exit code is then 0. It is 69 if the relay ends first, 73 if a file cannot be
made, and 74 if it cannot be written, as on a full disk; what is in it can be
read.

` + socketText + `

Examples:
  sudo udprelay tap | wireshark -k -i -
  sudo udprelay tap --peer 192.0.2.7 --count 100 --write one.pcapng
  sudo udprelay tap --write /var/tmp/room.pcapng --rotate 100MiB --keep 20`

func tapCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "tap",
		Usage:       "record what passes a running relay, for Wireshark",
		Description: tapDescription,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "write", Usage: "write to `FILE`, not to standard output"},
			&cli.StringFlag{Name: "rotate", Value: "0", Usage: "begin another file after `SIZE`, such as 64MiB, at least 4KiB; 0: one file"},
			&cli.IntFlag{Name: "keep", Value: 10, Usage: "of the files of --rotate keep the last `N`, those of earlier recordings included"},
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
			// A reader that has seen enough (head, a Wireshark that is closed) is
			// no failure: writes to it shall fail rather than kill.
			signal.Ignore(syscall.SIGPIPE)
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // a second signal ends the process at once
			return tap(ctx, world, where, admin.Tap{Peers: c.StringSlice("peer"), SnapLen: c.Int("snaplen")}, out, c.Uint64("count"))
		},
	}
}

// tapOutput returns where the recording is to go.
func tapOutput(world World, c *cli.Context) (*capture.Output, error) {
	name := c.String("write")
	size, err := parseSize(c.String("rotate"))
	switch {
	case err != nil:
		return nil, &usageFailure{fmt.Sprintf("--rotate %s: %v", c.String("rotate"), err), helpHint(c)}
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
	var failed error // of the recording: that a file is not there says nothing of the socket
	err := where.ask(func(client admin.Client) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		recording, err := client.Tap(ctx, wish)
		if err != nil {
			return err
		}
		defer recording.Close()
		where.say(world.Stderr)
		if !out.IsFile() {
			stop := watchReader(world.Stdout, func() { cancel(syscall.EPIPE) })
			defer stop()
		}
		saved, err := capture.Save(ctx, recording, out, count)
		if isClosedPipe(err) || errors.Is(context.Cause(ctx), syscall.EPIPE) {
			return nil // as join does
		}
		fmt.Fprintf(world.Stderr, "udprelay: recorded %d datagrams, %d are missing\n", saved.Datagrams, saved.Missing)
		if err == nil && ctx.Err() == nil && (count == 0 || saved.Datagrams < count) {
			failed = &unreachable{errRelayEnded, ""}
		} else {
			failed = unsaved(err)
		}
		return nil
	})
	if admin.Absent(err) {
		err = where.unanswered(err, notRunning)
	}
	return errors.Join(err, failed)
}

var errRelayEnded = errors.New("the relay has ended, and the recording with it")

// unsaved returns err, of [capture.Save], with its exit code.
func unsaved(err error) error {
	var broken *capture.BrokenOffError
	var path *fs.PathError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &broken):
		return &unreachable{err, ""}
	case errors.As(err, &path) && path.Op == "open":
		return &notWritten{err, exitCantCreate}
	}
	return &notWritten{err, exitIOErr}
}

const (
	exitCantCreate = 73 // EX_CANTCREAT
	exitIOErr      = 74 // EX_IOERR
)

// notWritten is a recording that cannot be written, or not further.
type notWritten struct {
	error
	code int
}

func (e *notWritten) Unwrap() error { return e.error }
func (e *notWritten) ExitCode() int { return e.code }
func (e *notWritten) Hint() string {
	if errors.Is(e.error, syscall.ENOSPC) {
		return "--rotate SIZE --keep N bound what a recording takes"
	}
	return ""
}

// isClosedPipe reports whether a write failed because nobody reads any more.
func isClosedPipe(err error) bool {
	const brokenPipe, noData = syscall.Errno(109), syscall.Errno(232) // of Windows
	return errors.Is(err, syscall.EPIPE) || runtime.GOOS == "windows" && (errors.Is(err, brokenPipe) || errors.Is(err, noData))
}

var sizeShape = regexp.MustCompile(`^([0-9]+)([A-Za-z]*)$`)

// parseSize reads a size as the configuration writes it, and also a number of
// bytes, and k, M and G for KiB, MiB and GiB.
func parseSize(text string) (int64, error) {
	parts := sizeShape.FindStringSubmatch(text)
	if parts == nil {
		return 0, errors.New("want a whole number and its unit without a space, such as 512KiB or 64MiB")
	}
	unit := int64(1)
	switch parts[2] {
	case "", "B":
	case "KiB", "K", "k":
		unit = 1 << 10
	case "MiB", "M":
		unit = 1 << 20
	case "GiB", "G":
		unit = 1 << 30
	default:
		return 0, fmt.Errorf("unknown unit %q; want B, KiB, MiB or GiB", parts[2])
	}
	n, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil || n > math.MaxInt64/unit {
		return 0, errors.New("more than any disk has")
	}
	return n * unit, nil
}
