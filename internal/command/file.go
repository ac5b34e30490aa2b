package command

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/filetransfer"
)

const fileDescription = `Files go over TCP, one connection each, in a way so simple that a few lines of
any language speak it: the sender says the name, the receiver says ok, the bytes
follow, and the sender closes its half. docs/files.md has it, with examples for
nc and socat. Nothing is encrypted and nobody proves who they are: over networks
that are not yours, use a VPN or ssh -L.

Example:
  udprelay file receive --listen 127.0.0.1:9100 --dir inbox
  udprelay file send report.pdf localhost:9100     # in another terminal`

func fileCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "file",
		Usage:       "send and receive files over TCP",
		Description: fileDescription,
		Subcommands: []*cli.Command{fileSendCommand(world), fileReceiveCommand(world)},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return unknownCommand(c)
			}
			return &usageFailure{"want send or receive", helpHint(c)}
		},
	}
}

// untilSignal returns a context that a signal ends; a second one kills.
func untilSignal(parent context.Context) (ctx context.Context, stop func()) {
	ctx, stop = signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// fileFailure is a transfer that failed, with what a person can do.
type fileFailure struct {
	name string // of the file; "": none
	err  error
}

func (e *fileFailure) Error() string {
	source := (*filetransfer.SourceError)(nil)
	disk := (*filetransfer.DiskError)(nil)
	if e.name == "" || errors.As(e.err, &source) || errors.As(e.err, &disk) { // they have it
		return e.err.Error()
	}
	return printable(e.name) + ": " + e.err.Error()
}

func (e *fileFailure) Unwrap() error { return e.err }

func (e *fileFailure) ExitCode() int {
	var (
		source   *filetransfer.SourceError
		refused  *filetransfer.RefusedError
		network  *filetransfer.NetworkError
		mismatch *filetransfer.MismatchError
		disk     *filetransfer.DiskError
	)
	switch {
	case errors.As(e.err, &source):
		return exitNoInput
	case errors.As(e.err, &mismatch):
		return exitDataErr
	case errors.As(e.err, &disk):
		return exitIOErr
	case errors.As(e.err, &refused), errors.As(e.err, &network):
		return exitUnreachable
	}
	return exitFailure
}

func (e *fileFailure) Hint() string {
	switch {
	case errors.Is(e.err, filetransfer.ErrDirectory):
		return "directories are not sent; pack it: tar -czf DIR.tar.gz DIR"
	case errors.Is(e.err, filetransfer.ErrNotRegular):
		return "write what it has to a file first"
	case errors.Is(e.err, filetransfer.ErrName):
		return "send it under another name: --as NAME"
	case errors.Is(e.err, filetransfer.ErrChanged):
		return "send a copy of it"
	case errors.Is(e.err, syscall.ECONNREFUSED):
		return "does the receiver run there? start one with: udprelay file receive --listen HOST:PORT --dir DIR"
	case errors.Is(e.err, filetransfer.ErrSilent):
		return "--timeout gives it more time; a plain receiver that reads lines wants --newline"
	}
	return ""
}

// mostTimeout bounds what the flag may say.
const mostTimeout = 24 * time.Hour

// fileTimeout is a flag of both sides.
func fileTimeout() cli.Flag {
	return &cli.DurationFlag{Name: "timeout", Value: filetransfer.DefaultTimeout, Usage: "give up when the other side does nothing for `DURATION`"}
}
