package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"udprelay/internal/client"
	"udprelay/internal/filetransfer"
)

const fileSendDescription = `Sends files to a receiver, one after the other, each on a connection of its own:
to udprelay file receive, which says the number of bytes and the SHA-256 that it
has, and these are compared; or to any program that knows the simple way, which
says nothing, so that nothing can be verified. It is told which it was.

The receiver has a file when the exit code is 0 and it was verified; it has
nothing of one that was not sent whole, whatever ended this: it is told to drop
it. Only what stands between and ends TCP (ssh -L, a proxy) may hide that; say
--checked there. A file that changes while it is sent is not sent.

The name that is sent is the base name. A plain receiver that reads lines, such
as one in a shell, wants a newline behind it: --newline.

Exit code 0 means that all files were sent, 65 that a receiver has something
else, 66 that a file cannot be read, 69 that the receiver cannot be reached or
does not want a file. After a refusal the next file is tried.

Examples:
  udprelay file send report.pdf localhost:9100
  udprelay file send --checked *.jpg inbox.example:9100
  udprelay file send --as report-7.pdf report.pdf '[::1]:9100'`

func fileSendCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "send",
		Usage:       "send files to a receiver",
		ArgsUsage:   "FILE... HOST:PORT",
		Description: fileSendDescription,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "as", Usage: "send the one file under `NAME`"},
			&cli.BoolFlag{Name: "checked", Usage: "tell udprelay file receive size and hash, so that it keeps nothing else", DisableDefaultText: true},
			&cli.BoolFlag{Name: "newline", Usage: "send a newline behind the name, for plain receivers that read lines", DisableDefaultText: true},
			fileTimeout(),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "say only what is wrong or not verified", DisableDefaultText: true},
		},
		Action: func(c *cli.Context) error {
			paths, sender, err := checkFileSend(c)
			if err != nil {
				return err
			}
			ctx, stop := untilSignal(c.Context)
			defer stop()
			return fileSend(ctx, world, c, paths, sender)
		},
	}
}

// fileSend sends all files, and returns the errors of those that were not sent.
func fileSend(ctx context.Context, world World, c *cli.Context, paths []string, sender *filetransfer.Sender) error {
	var failures []error
	quiet := c.Bool("quiet")
	for _, path := range paths {
		bar := &fileBar{to: world.Stderr, name: printable(filepath.Base(path))}
		if !quiet && isTerminal(world.Stderr) {
			sender.Progress = bar.show
		}
		sent, err := sender.Send(ctx, path, c.String("as"))
		bar.end()
		if err != nil {
			failures = append(failures, &fileFailure{sent.Name, err})
			if errors.As(err, new(*filetransfer.NetworkError)) || ctx.Err() != nil {
				break
			}
			continue
		}
		if line := fmt.Sprintf("sent %s: %d bytes in %v", printable(sent.Name), sent.Bytes, took(sent.Took)); !sent.Verified {
			fmt.Fprintf(world.Stderr, "udprelay: %s; not verified: %s; SHA-256 %v\n", line, whyNot(sent), sent.Sum)
		} else if !quiet {
			fmt.Fprintf(world.Stderr, "udprelay: %s, verified; SHA-256 %v\n", line, sent.Sum)
		}
	}
	return errors.Join(failures...)
}

// whyNot returns why the file is not verified.
func whyNot(sent filetransfer.Sent) string {
	if sent.Said != "" {
		return fmt.Sprintf("the receiver said %q, not what it has", sent.Said)
	}
	return "the receiver did not say what it has"
}

// checkFileSend refuses what cannot be sent before anything is.
func checkFileSend(c *cli.Context) ([]string, *filetransfer.Sender, error) {
	refuse := func(format string, args ...any) ([]string, *filetransfer.Sender, error) {
		return nil, nil, &usageFailure{fmt.Sprintf(format, args...), helpHint(c)}
	}
	args := c.Args().Slice()
	switch len(args) {
	case 0:
		return nil, nil, &usageFailure{"no file is named", "want FILE HOST:PORT, such as report.pdf localhost:9100"}
	case 1:
		return nil, nil, &usageFailure{"no receiver is named", "want FILE HOST:PORT, such as " + args[0] + " localhost:9100"}
	}
	paths, address := args[:len(args)-1], args[len(args)-1]
	if strings.HasPrefix(address, "-") {
		return nil, nil, &usageFailure{fmt.Sprintf("unexpected argument %q", address), "flags go before FILE"}
	}
	if bad := (*client.AddressError)(nil); errors.As(client.CheckAddress(address), &bad) {
		return nil, nil, &usageFailure{bad.Error(), "want HOST:PORT behind the files, such as " + strings.Replace(bad.Want, ":9000", ":9100", 1)}
	}
	switch {
	case c.IsSet("as") && len(paths) > 1:
		return refuse("--as names one file, and there are %d", len(paths))
	case c.IsSet("as") && c.String("as") == "":
		return refuse("--as names nothing")
	case c.Duration("timeout") <= 0 || c.Duration("timeout") > mostTimeout:
		return refuse("--timeout %v: want more than 0s, at most %v", c.Duration("timeout"), mostTimeout)
	}
	var failures []error
	names := make(map[string]string)
	for _, path := range paths {
		if err := filetransfer.CheckSource(path, c.String("as")); err != nil {
			failures = append(failures, &fileFailure{path, err})
		}
		if other, twice := names[filepath.Base(path)]; twice {
			return refuse("%s and %s have the same base name", other, path)
		}
		names[filepath.Base(path)] = path
	}
	return paths, &filetransfer.Sender{
		Address: address,
		Timeout: c.Duration("timeout"),
		Newline: c.Bool("newline"),
		Checked: c.Bool("checked"),
	}, errors.Join(failures...)
}

// A fileBar is the progress bar of a file, with the rate and the time left.
type fileBar struct {
	to   io.Writer
	name string
	bar  *progressbar.ProgressBar
}

func (b *fileBar) show(sent, size int64) {
	if b.bar == nil {
		b.bar = progressbar.NewOptions64(size,
			progressbar.OptionSetWriter(b.to),
			progressbar.OptionSetDescription(b.name),
			progressbar.OptionShowBytes(true),
			progressbar.OptionSetWidth(30),
		)
		return // the rate counts from now
	}
	_ = b.bar.Set64(min(sent, size-1)) // a terminal that is gone is no failure; end ends the bar
}

// end takes the bar away.
func (b *fileBar) end() {
	if b.bar != nil {
		_ = b.bar.Exit()
		fmt.Fprint(b.to, "\r\x1b[K")
	}
}
