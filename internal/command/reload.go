package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/admin"
	"udprelay/internal/daemon"
)

// reloadWithin is how long the daemon has for a reload.
const reloadWithin = time.Minute

func reloadCommand(world World) *cli.Command {
	return &cli.Command{
		Name:  "reload",
		Usage: "have a running relay read its configuration again",
		Description: `Asks the relay behind a control socket to read its configuration again and to go
on with it at once. Peers that the new rules refuse are gone, all others stay, and
no datagram is lost. A bad configuration changes nothing: its mistakes are
printed, as "udprelay check" does, and the exit code is 78.

Without --socket it is the relay of this user, or else that of the system service,
/run/udprelay/control.sock.

Examples:
  sudo udprelay reload
  sudo udprelay reload --socket /run/udprelay-NAME/control.sock   # the room NAME of udprelay@NAME.service`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "socket", Aliases: []string{"s"}, Usage: "the relay's control socket, `FILE`"},
		},
		Action: func(c *cli.Context) error {
			if err := noMoreThan(c, 0); err != nil {
				return err
			}
			return reload(c.Context, world, c.String("socket"))
		},
	}
}

func reload(ctx context.Context, world World, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, reloadWithin)
	defer cancel()
	reloaded, err := ask(ctx, world, socket)
	if err != nil {
		return err
	}
	for _, warning := range reloaded.Warnings {
		fmt.Fprintf(world.Stderr, "udprelay: warning: %s\n", warning)
	}
	if len(reloaded.Restart) > 0 {
		fmt.Fprintf(world.Stderr, "udprelay: warning: only after a restart will hold what has changed of: %s\n", strings.Join(reloaded.Restart, ", "))
	}
	changed := "nothing changed"
	if len(reloaded.Changed) > 0 {
		changed = "changed: " + strings.Join(reloaded.Changed, ", ")
	}
	if reloaded.Forgotten > 0 {
		changed += fmt.Sprintf("; learned peers that may not stay: %d", reloaded.Forgotten)
	}
	_, err = fmt.Fprintf(world.Stdout, "reloaded; %s\n", changed)
	return err
}

// ask asks the relay at socket, or at the first of the usual places where there
// is one.
func ask(ctx context.Context, world World, socket string) (reloaded admin.Reloaded, err error) {
	sockets := []string{socket}
	if socket == "" {
		sockets = daemon.ControlSockets(world.getenv)
	}
	for _, socket := range sockets {
		reloaded, err = admin.Client{Socket: socket}.Reload(ctx)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			break
		}
	}
	return reloaded, err
}
