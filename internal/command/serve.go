package command

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/config"
	"udprelay/internal/daemon"
	"udprelay/internal/logs"
	"udprelay/internal/systemd"
)

func serveCommand(world World) *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run the relay",
		Description: `Relays UDP datagrams until it is stopped: whoever sends to its socket becomes a
peer, and whatever a peer sends, every other peer gets.

No file is needed: "udprelay check" prints the defaults. A flag beats the
environment (UDPRELAY_LISTEN, UDPRELAY_PEERS_EXPIRY, ...: a variable for each
key), the environment beats the file, the file beats the default.

SIGHUP, or "udprelay reload", has it read all that again; SIGTERM and SIGINT stop
it. Under systemd a restart loses no datagram and no peer.

Examples:
  udprelay serve                                  # port 9000, for this machine and its private networks
  udprelay serve --config room.yaml               # as "udprelay check room.yaml" says
  udprelay serve --listen :2055 --peer collector.example:2055
  udprelay serve --allow loopback --allow 203.0.113.0/24=receive
  udprelay serve --allow private --allow any=cookie   # strangers prove that they have their address
  udprelay serve --allow any=secret --secret-file /etc/udprelay/secret
  udprelay serve --cluster-listen :6222 --cluster-route south.example:6222 \
    --cluster-secret-file /etc/udprelay/cluster.secret   # one relay with the one there`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "read the configuration `FILE`, which UDPRELAY_CONFIG can name, too; -: standard input"},
		}, cliConfigFlags()...),
		Action: func(c *cli.Context) error {
			if err := noMoreThan(c, 0); err != nil {
				return err
			}
			// A log that nobody reads any more is no reason to stop relaying.
			signal.Ignore(syscall.SIGPIPE)
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // a second signal ends the process at once
			if world.getenv("GOGC") == "" {
				debug.SetGCPercent(collectAt)
			}
			err := daemon.Run(ctx, daemon.Options{
				Load:    loader(world, c),
				Config:  absolute(world.configName(c.String("config"))),
				Log:     func(cfg *config.Config) *logs.Log { return newLog(world.Stderr, cfg) },
				Version: version(),
				Reload:  hangups(ctx, world, stop),
				Sockets: systemd.Sockets(),
				Getenv:  world.getenv,
			})
			if err != nil {
				_ = systemd.Status(err.Error()) // systemctl status shows the last one; the error is printed anyway
				pauseIfTaken(ctx, world, err)
			}
			return err
		},
	}
}

// bindPause is how long a service whose address cannot be had waits before it ends,
// for it is started again at once, perhaps for days (RestartSteps= came with systemd
// 254).
const bindPause = 2 * time.Second

func pauseIfTaken(ctx context.Context, world World, err error) {
	if bind := (*daemon.BindError)(nil); !errors.As(err, &bind) || world.getenv("NOTIFY_SOCKET") == "" {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(bindPause):
	}
}

// collectAt is by what part of what is in use the heap may grow, in percent, before
// there is a garbage collection. The datapath allocates nothing, so collections are
// rare whatever it is, and Go's 100 lets a relay with very many peers take twice the
// memory that it needs.
const collectAt = 50

// loader returns what loads the configuration of serve, again and again.
func loader(world World, c *cli.Context) func() (*config.Config, []config.Warning, error) {
	var loaded bool
	return func() (*config.Config, []config.Warning, error) {
		name := c.String("config")
		if loaded && world.configName(name) == "-" {
			return nil, nil, errReadTwice
		}
		loaded = true
		return readAll(world, name, configSettings(c))
	}
}

var errReadTwice = &usageFailure{"the configuration came by standard input, which cannot be read again", "name a file with --config, and restart"}

// newLog returns the log that the configuration asks for.
func newLog(w io.Writer, cfg *config.Config) *logs.Log {
	return logs.New(w, logs.Options{Level: cfg.Log.Level, JSON: cfg.Log.Format == config.FormatJSON, To: logs.DestinationOf(w)})
}

// hangups returns the signals that ask for a reload. They mean the end of a
// relay whose terminal is gone. They are caught as long as the process lives:
// one that comes while it stops must not end it before the last save.
func hangups(ctx context.Context, world World, stop func()) <-chan os.Signal {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	if logs.DestinationOf(world.Stderr) != logs.Terminal {
		return signals
	}
	reload := make(chan os.Signal, 1)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-signals:
				// Asked of standard error, for a relay may write to a terminal
				// that is not its controlling one.
				if logs.DestinationOf(world.Stderr) != logs.Terminal {
					stop()
					return
				}
				select {
				case reload <- s:
				default: // there is one to come
				}
			}
		}
	}()
	return reload
}
