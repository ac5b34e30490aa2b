package command

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/admin"
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

` + socketText + ` A configuration that does
not load is no reason not to ask: the relay says what is wrong with its own.

In ExecReload= of a systemd unit, a relay that does not answer gets SIGHUP instead.
It reloads as well then, but how that went is only in its log.

Examples:
  sudo udprelay reload
  udprelay reload --config room.yaml                              # which names admin.socket
  sudo udprelay reload --socket /run/udprelay-NAME/control.sock   # the room NAME of udprelay@NAME.service`,
		Flags: socketFlags(),
		Action: func(c *cli.Context) error {
			if err := noMoreThan(c, 0); err != nil {
				return err
			}
			where, err := searchOf(world, c)
			if err != nil {
				return err
			}
			return reload(c.Context, world, where)
		},
	}
}

func reload(ctx context.Context, world World, where search) error {
	ctx, cancel := context.WithTimeout(ctx, reloadWithin)
	defer cancel()
	var reloaded admin.Reloaded
	err := where.ask(func(client admin.Client) (err error) {
		reloaded, err = client.Reload(ctx)
		return err
	})
	if admin.Absent(err) {
		return hangUp(world, where, err)
	}
	if err != nil {
		return err
	}
	where.say(world.Stderr)
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

// hangUp does what is left when there is no relay at any of the places, and
// err says so.
func hangUp(world World, where search, err error) error {
	if where.process != 0 {
		process, failed := os.FindProcess(where.process)
		if failed == nil {
			failed = process.Signal(syscall.SIGHUP)
		}
		if failed == nil {
			fmt.Fprintf(world.Stderr, "udprelay: %v; sent SIGHUP to process %d instead: how the reload went is in its log\n", err, where.process)
			return where.bad
		}
	}
	return where.unanswered(err, "is the relay running? one that was started with another admin.socket is reloaded with kill -HUP, or restarted")
}
