package command

import (
	"context"
	"io"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"udprelay/internal/config"
	"udprelay/internal/daemon"
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

Examples:
  udprelay serve                                  # port 9000, for this machine and its private networks
  udprelay serve --config room.yaml               # as "udprelay check room.yaml" says
  udprelay serve --listen :2055 --peer collector.example:2055
  udprelay serve --allow loopback --allow 203.0.113.0/24=receive
  udprelay serve --allow private --allow any=cookie   # strangers prove that they have their address
  udprelay serve --allow any=secret --secret-file /etc/udprelay/secret`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "read the configuration `FILE`, which UDPRELAY_CONFIG can name, too; -: standard input"},
		}, cliConfigFlags()...),
		Action: func(c *cli.Context) error {
			if err := noMoreThan(c, 0); err != nil {
				return err
			}
			cfg, err := loadConfig(world, c.String("config"), configSettings(c))
			if err != nil {
				return err
			}
			// A log that nobody reads any more is no reason to stop relaying.
			signal.Ignore(syscall.SIGPIPE)
			ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			context.AfterFunc(ctx, stop) // a second signal ends the process at once
			return daemon.Run(ctx, cfg, newLogger(world.Stderr, cfg))
		},
	}
}

// newLogger returns the logger that the configuration asks for.
func newLogger(w io.Writer, cfg *config.Config) *slog.Logger {
	options := &slog.HandlerOptions{Level: cfg.Log.Level}
	if cfg.Log.Format == config.FormatJSON {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
