package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/client"
	"udprelay/internal/client/stream"
	"udprelay/internal/proof"
)

const (
	exitNoInput     = 66 // EX_NOINPUT
	exitUnreachable = 69 // EX_UNAVAILABLE

	// defaultReadSize fits any path of IPv6, whose least MTU is 1280 bytes, and
	// leaves room for the headers of IPv6 (40), UDP (8) and of a tunnel.
	defaultReadSize = 1200

	leastKeepAlive = time.Second
)

const joinDescription = `Takes part in the relay at HOST:PORT: what is read from standard input goes to
every other peer, and what they send is written to standard output, each
datagram at once.

  text (default)  Each line is a datagram, with its newline. A datagram that
                  does not end in a newline gets one on the output. On a
                  terminal, control characters that others send are shown as
                  \x1b; in a pipe bytes are as they came.
  --hex           Each line is a datagram in hex, in both directions. Blanks
                  and colons may stand between bytes; empty lines are ignored.
  --raw           Each read of up to --size bytes is a datagram, and payloads
                  are written as they are, with nothing between them, on a
                  terminal too.

A line that cannot be sent, for it is longer than 65507 bytes or not hex, is
named on standard error and left out, and the exit code is 1 in the end.

An empty datagram joins, and another leaves whenever nothing was sent for the
time of --keep-alive, so that neither the relay nor a NAT on the way forgets
this peer.

A relay that wants a proof of this peer's address gets it at once, and what was
sent meanwhile is sent again; one that wants a secret, too, needs --secret-file.
Until the relay accepts the proof, nothing more is read from the input, and join
does not end with it. After three refused proofs, or ten seconds, it says so and
goes on trying, but what it reads then is not sent; if that is still so in the
end, or something was lost, the exit code is 69.

It ends with the input, unless --wait has it receive for longer, when nobody
reads its output any more (on Linux at once, elsewhere with the next datagram),
or when it is stopped (Ctrl-C, SIGTERM); the exit code is then 0. A service
whose input is /dev/null needs --no-input.

UDP gives no answer, so exit code 0 does not mean that anything arrived. Only a
host where nothing listens may say so, by ICMP. While that happens join goes on
trying, every second. If it happened to what was sent, or still happens when
the input ends, the exit code is 69. For this join stays 100 milliseconds after
the end of the input; give a relay further away, which may want a proof, more
time with --wait 1s.

join also reports, once, that the host cannot be reached, and that it can be
reached again. While errors last for more than ten seconds it looks the name up
again, and sends to the new address if there is one. It takes a new source port,
too, if the host is unreachable, or if datagrams came regularly before and then
none for at least 30 seconds, three keep-alives and eight times the usual pause:
a NAT on the way may have lost its entry. To the relay that is a new peer, so
each further try waits twice as long.

Where no UDP gets through, and the relay has a gateway: tcp://HOST:PORT,
tls://HOST:PORT, ws://HOST:PORT/PATH and wss://HOST:PORT/PATH reach it by TCP, TLS
and WebSocket. If the first connection cannot be made, the exit code is 69 at
once. One that is lost is made again, after a quarter of a second, later up to
15; join says that it is lost, and that there is another one. What is read from
the input meanwhile is lost, and the exit code is 69 in the end. A relay's
certificate is checked against those that this system trusts, or --ca.

Examples:
  udprelay join localhost:9000                          # chat: type, and everyone else reads it
  echo "deploy done" | udprelay join relay.example:9000 # say one line and leave
  tail -f app.log | udprelay join relay.example:9000    # send lines as they come
  udprelay join --no-input localhost:9000 | grep ERROR  # only listen
  echo "01 02:ff" | udprelay join --hex --wait 2s localhost:9000  # send 3 bytes, show what is said to that
  udprelay join --raw --no-input '[::1]:9000' > dump    # payloads as they are
  udprelay join --secret-file relay.secret relay.example:9000  # a relay whose rule says join: secret
  udprelay join tcp://relay.example:9000                # where no UDP gets through
  udprelay join --ca ca.pem wss://relay.example:9443/   # by WebSocket, encrypted`

func joinCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "join",
		Usage:       "take part in a relay: lines in, lines out",
		ArgsUsage:   "HOST:PORT",
		Description: joinDescription,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "hex", Usage: "a datagram is a line of hex", DisableDefaultText: true},
			&cli.BoolFlag{Name: "raw", Usage: "a datagram is what one read yields", DisableDefaultText: true},
			&cli.IntFlag{Name: "size", Value: defaultReadSize, Usage: "with --raw, read at most `BYTES` for one datagram"},
			&cli.DurationFlag{Name: "wait", Usage: "go on receiving for `DURATION` when the input has ended"},
			&cli.BoolFlag{Name: "no-input", Usage: "leave standard input alone, receive until stopped", DisableDefaultText: true},
			&cli.StringFlag{Name: "secret-file", Usage: "`FILE` with the secret, for a relay that wants one"},
			&cli.StringFlag{Name: "ca", Usage: "`FILE` with the certificate of who has signed the relay's, for tls:// and wss://"},
			&cli.StringFlag{Name: "certificate", Usage: "`FILE` with a certificate of this client, for a relay that wants one"},
			&cli.StringFlag{Name: "key", Usage: "`FILE` with the key of --certificate"},
			&cli.StringFlag{Name: "server-name", Usage: "`NAME` that the relay's certificate has to be for, if not the host"},
			&cli.DurationFlag{Name: "keep-alive", Value: client.DefaultKeepAlive, Usage: "send an empty datagram when nothing was sent for `DURATION`"},
		},
		Action: func(c *cli.Context) error {
			if err := checkJoin(c); err != nil {
				return err
			}
			// A reader that has seen enough (head -1) is no failure: writes to
			// it shall fail rather than kill. To the end of the process, for a
			// write may be under way when this function returns.
			signal.Ignore(syscall.SIGPIPE)
			ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // so that a second signal kills
			return join(ctx, world, c)
		},
	}
}

// join runs the session; ctx is done when a signal has stopped it.
func join(ctx context.Context, world World, c *cli.Context) error {
	settings := client.Options{KeepAlive: c.Duration("keep-alive")}
	certificates, err := joinCertificates(c).Load()
	if bad := (*client.CertificateError)(nil); errors.As(err, &bad) {
		return &noCertificate{bad}
	}
	settings.TLS = certificates
	if name := c.String("secret-file"); name != "" {
		secret, err := proof.ReadSecret(name)
		if err != nil {
			return &noSecret{name, err}
		}
		settings.Secret = secret
	}
	relay, err := client.Dial(ctx, c.Args().First(), settings)
	if ctx.Err() != nil {
		return nil
	}
	if failed := (*client.ConnectError)(nil); errors.As(err, &failed) {
		return &unreachable{err, failed.Hint}
	}
	if err != nil {
		return &unreachable{err, ""}
	}
	defer relay.Close()

	options := stream.Options{
		In:       world.Stdin,
		Out:      world.Stdout,
		Terminal: isTerminal(world.Stdout),
		Size:     c.Int("size"),
		Wait:     c.Duration("wait"),
		Say:      func(message string) { fmt.Fprintf(world.Stderr, "udprelay: %s\n", message) },
	}
	switch {
	case c.Bool("hex"):
		options.Mode = stream.Hex
	case c.Bool("raw"):
		options.Mode = stream.Raw
	}
	if c.Bool("no-input") {
		options.In = nil
	}
	if isTerminal(world.Stderr) {
		options.Say(greeting(relay.Relay(), options))
	}

	err = stream.Run(ctx, relay, options)
	if unproven := (*stream.UnprovenError)(nil); errors.As(err, &unproven) {
		return &unreachable{err, proofHint(unproven.Why)}
	}
	if refused := (*stream.RefusedError)(nil); errors.As(err, &refused) {
		return &unreachable{err, refusedHint(refused)}
	}
	return err
}

// refusedHint is the way out when there is no relay, or none that lets this
// client in.
func refusedHint(refused *stream.RefusedError) string {
	switch {
	case refused.Why != nil:
		return refused.Why.Hint
	case refused.Connects:
		return "it is there again; send again what was lost"
	case refused.Problem != nil && !client.IsRefused(refused.Problem):
		return "is that host running, and is there a way to it from here?"
	}
	return "is the relay running there? start one with: udprelay serve"
}

// proofHint is the way out when the relay accepts no proof.
func proofHint(why *client.ProofError) string {
	switch {
	case why == nil:
		return ""
	case !why.Refused:
		return "a relay answers an address a few times a second; do many clients join from this one?"
	case why.Secret:
		return "is it the secret of this relay?"
	}
	return "does it want a secret? give it with --secret-file FILE"
}

// greeting says no more than is known: UDP has no answer.
func greeting(addr string, options stream.Options) string {
	switch {
	case options.In == nil:
		return fmt.Sprintf("listening to %s; Ctrl-C ends", addr)
	case !isTerminal(options.In):
		return fmt.Sprintf("sending to %s", addr)
	case runtime.GOOS == "windows":
		return fmt.Sprintf("sending to %s; what you type goes to everyone else, Ctrl-Z and Enter end", addr)
	}
	return fmt.Sprintf("sending to %s; what you type goes to everyone else, Ctrl-D ends", addr)
}

// noSecret is a file of --secret-file without a secret.
type noSecret struct {
	name string
	err  error
}

func (e *noSecret) Error() string {
	if path := (*fs.PathError)(nil); errors.As(e.err, &path) {
		return fmt.Sprintf("--secret-file: %s: %v", e.name, path.Err)
	}
	return "--secret-file: " + e.err.Error()
}
func (e *noSecret) Unwrap() error { return e.err }
func (e *noSecret) ExitCode() int { return exitNoInput }

// unreachable is a relay that cannot be found, or that said it is not there.
type unreachable struct {
	err  error
	hint string
}

func (e *unreachable) Error() string { return e.err.Error() }
func (e *unreachable) Unwrap() error { return e.err }
func (e *unreachable) ExitCode() int { return exitUnreachable }
func (e *unreachable) Hint() string  { return e.hint }
