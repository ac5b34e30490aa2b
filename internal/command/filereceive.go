package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/filetransfer"
)

const fileReceiveDescription = `Receives files into a directory until it is stopped, from udprelay file send and
from any program that knows the simple way. Names of files go to standard output,
a line each, unless that is a terminal; how it went, to standard error.

A file has its name only when it is whole and on the disk; before that it has
none, or a hidden one, and nothing stays of one that broke off. A plain sender
says neither size nor hash: its file counts as whole when the sender has closed
its half in good order, and is said to be not verified. With --checked only
senders that say both are heard, which are udprelay file send --checked.

Refused are names that are no plain names: paths, hidden files, devices of
Windows, control characters, more than 255 bytes. A file that is there is kept,
unless --overwrite; what is no regular file is always kept.

There is no authentication and no encryption: whoever reaches the port can send
files. Listen on an address that only those reach who may, give it a directory
of its own, and bound files with --max-size: SIZE is 512KiB, 64MiB, 4GiB or a
number of bytes.

Exit code 0 means that it was stopped, or with --once that the file is there; 69
that it cannot listen, 73 that it cannot write to the directory, and with --once
74 that the file could not be written, as on a full disk.

Examples:
  udprelay file receive --listen 127.0.0.1:9100 --dir inbox
  udprelay file receive --listen :9100 --dir inbox --max-size 1GiB --checked
  name=$(udprelay file receive --listen 127.0.0.1:9100 --dir inbox --once)`

func fileReceiveCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "receive",
		Usage:       "receive files into a directory",
		Description: fileReceiveDescription,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "receive on `HOST:PORT`; port 0: any that is free"},
			&cli.StringFlag{Name: "dir", Usage: "the directory `DIR` for the files"},
			&cli.BoolFlag{Name: "overwrite", Usage: "a file takes the place of one of its name", DisableDefaultText: true},
			&cli.BoolFlag{Name: "checked", Usage: "only from senders that say size and hash", DisableDefaultText: true},
			&cli.StringFlag{Name: "max-size", Value: "0", Usage: "refuse files larger than `SIZE`, such as 64MiB; 0: no limit"},
			&cli.IntFlag{Name: "max-transfers", Value: filetransfer.DefaultTransfers, Usage: "receive `N` files at once, at most 1000"},
			&cli.BoolFlag{Name: "once", Usage: "end after one file", DisableDefaultText: true},
			fileTimeout(),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "say only what is wrong", DisableDefaultText: true},
		},
		Action: func(c *cli.Context) error {
			maxSize, err := checkFileReceive(c)
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(c.Context)
			defer stop()
			return fileReceive(ctx, world, c, maxSize)
		},
	}
}

func fileReceive(ctx context.Context, world World, c *cli.Context, maxSize int64) error {
	receiver, err := filetransfer.NewReceiver(c.String("dir"))
	if err != nil {
		return &notWritten{err, exitCantCreate}
	}
	defer receiver.Close()
	listener, err := net.Listen("tcp", c.String("listen"))
	if err != nil {
		return &unreachable{err, ""}
	}
	report := &fileReport{world: world, dir: c.String("dir"), quiet: c.Bool("quiet"), once: c.Bool("once")}
	ctx, report.stop = context.WithCancel(ctx)
	defer report.stop()
	receiver.Overwrite, receiver.Checked, receiver.Once = c.Bool("overwrite"), c.Bool("checked"), c.Bool("once")
	receiver.MaxSize, receiver.Transfers, receiver.Timeout = maxSize, c.Int("max-transfers"), c.Duration("timeout")
	receiver.Ended = report.ended
	if !report.quiet {
		fmt.Fprintf(world.Stderr, "udprelay: receiving at %s\n", listener.Addr())
		if bound, ok := listener.Addr().(*net.TCPAddr); ok && !bound.IP.IsLoopback() {
			fmt.Fprintf(world.Stderr, "udprelay: whoever reaches it can send files; nothing is encrypted\n")
		}
	}
	err = receiver.Serve(ctx, listener)
	report.leftOut()
	switch {
	case err != nil:
		return err
	case report.failed != nil:
		return report.failed
	case report.once && !report.done:
		return errors.New("stopped before a file had come")
	}
	return nil
}

// mostFailures is how many failures are told in a second; others are counted.
const mostFailures = 20

// A fileReport tells what comes. Its methods are called one at a time.
type fileReport struct {
	world       World
	dir         string
	quiet, once bool
	stop        func()

	done   bool  // with once: the file is there
	failed error // with once, of this machine

	second time.Time // of the failures
	told   int
	untold int
}

// ended tells how a transfer ended, and with once ends the receiver.
func (r *fileReport) ended(got filetransfer.Received, err error) {
	if r.done {
		return // it is stopping
	}
	if err != nil {
		disk := (*filetransfer.DiskError)(nil)
		if r.once && errors.As(err, &disk) {
			r.failed = &fileFailure{got.Name, err}
			r.stop()
			return
		}
		r.failure(got, err)
		return
	}
	if !isTerminal(r.world.Stdout) {
		fmt.Fprintf(r.world.Stdout, "%s\n", filepath.Join(r.dir, got.Name))
	}
	if !r.quiet {
		verified := ", verified"
		if !got.Checked {
			verified = "; not verified: the sender said neither size nor hash"
		}
		fmt.Fprintf(r.world.Stderr, "udprelay: received %s from %v: %d bytes in %v%s; SHA-256 %v\n", printable(got.Name), got.From, got.Bytes, took(got.Took), verified, got.Sum)
	}
	if r.once {
		r.done = true
		r.stop()
	}
}

// failure tells of one.
func (r *fileReport) failure(got filetransfer.Received, err error) {
	if now := time.Now(); now.Sub(r.second) >= time.Second {
		r.leftOut()
		r.second, r.told = now, 0
	}
	if r.told == mostFailures {
		r.untold++
		return
	}
	r.told++
	from := "nothing"
	if got.Name != "" {
		from = printable(got.Name) + " not"
	}
	fmt.Fprintf(r.world.Stderr, "udprelay: %s received from %v: %v\n", from, got.From, err)
}

// leftOut tells how many failures were not told.
func (r *fileReport) leftOut() {
	if r.untold > 0 {
		fmt.Fprintf(r.world.Stderr, "udprelay: %d failures more\n", r.untold)
		r.untold = 0
	}
}

// mostTransfers bounds the memory: each has a block of 256 KiB.
const mostTransfers = 1000

// checkFileReceive refuses command lines that make no sense.
func checkFileReceive(c *cli.Context) (maxSize int64, err error) {
	refuse := func(format string, args ...any) (int64, error) {
		return 0, &usageFailure{fmt.Sprintf(format, args...), helpHint(c)}
	}
	if err := noMoreThan(c, 0); err != nil {
		return 0, err
	}
	switch {
	case c.String("listen") == "":
		return 0, &usageFailure{"--listen is missing", "want HOST:PORT, such as --listen 127.0.0.1:9100"}
	case c.String("dir") == "":
		return 0, &usageFailure{"--dir is missing", "want a directory of its own for the files, such as --dir inbox"}
	}
	_, port, err := net.SplitHostPort(c.String("listen"))
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if _, isAddress := netip.ParseAddr(c.String("listen")); err != nil || isAddress == nil {
		return 0, &usageFailure{fmt.Sprintf("--listen %s: cannot be understood", c.String("listen")), "want HOST:PORT, such as 127.0.0.1:9100 or [::1]:9100"}
	}
	if maxSize, err = parseSize(c.String("max-size")); err != nil {
		return refuse("--max-size %s: %v", c.String("max-size"), err)
	}
	switch n := c.Int("max-transfers"); {
	case n < 1 || n > mostTransfers:
		return refuse("--max-transfers %d: want 1 to %d", n, mostTransfers)
	case c.Duration("timeout") <= 0 || c.Duration("timeout") > mostTimeout:
		return refuse("--timeout %v: want more than 0s, at most %v", c.Duration("timeout"), mostTimeout)
	}
	return maxSize, nil
}
