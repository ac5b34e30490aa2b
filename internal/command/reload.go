package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/admin"
	"udprelay/internal/config"
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

Without --socket it is where the configuration names a control socket (--config or
UDPRELAY_CONFIG, and UDPRELAY_ADMIN_SOCKET), or else the relay of this user, or else
that of the system service, /run/udprelay/control.sock. A configuration that does
not load is no reason not to ask: the relay says what is wrong with its own.

In ExecReload= of a systemd unit, a relay that does not answer gets SIGHUP instead.
It reloads as well then, but how that went is only in its log.

Examples:
  sudo udprelay reload
  udprelay reload --config room.yaml                              # which names admin.socket
  sudo udprelay reload --socket /run/udprelay-NAME/control.sock   # the room NAME of udprelay@NAME.service`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "the relay's configuration `FILE`, for the name of its control socket"},
			&cli.StringFlag{Name: "socket", Aliases: []string{"s"}, Usage: "the relay's control socket, `FILE`"},
		},
		Action: func(c *cli.Context) error {
			if err := noMoreThan(c, 0); err != nil {
				return err
			}
			if c.IsSet("config") && c.IsSet("socket") {
				return &usageFailure{"--config and --socket exclude each other", helpHint(c)}
			}
			found := search{sockets: []string{c.String("socket")}}
			if found.sockets[0] == "" {
				found = searchFor(world, c.String("config"))
			}
			return reload(c.Context, world, found)
		},
	}
}

func reload(ctx context.Context, world World, where search) error {
	ctx, cancel := context.WithTimeout(ctx, reloadWithin)
	defer cancel()
	reloaded, err := where.ask(ctx)
	if admin.Absent(err) {
		return where.unanswered(world, err)
	}
	if err != nil {
		return err
	}
	if where.bad != nil {
		fmt.Fprintf(world.Stderr, "udprelay: warning: asked at the usual places, for here the configuration does not load: %s\n", strings.ReplaceAll(where.bad.Error(), "\n", "; "))
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

// A search is where the control socket of a relay may be.
type search struct {
	sockets []string // the likeliest first; none: the configuration says so
	named   bool     // the configuration names the socket, or that there is none
	bad     error    // why the configuration does not load
	process int      // what systemd runs the command for; 0: nothing
}

// searchFor returns where the relay with the configuration called name may be.
func searchFor(world World, name string) (s search) {
	if process, err := strconv.Atoi(world.getenv("MAINPID")); err == nil && process > 1 {
		s.process = process
	}
	name = world.configName(name)
	if info, err := os.Stat(name); name == "-" || err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		name = "" // a pipe says what it says once, and not to this command
		world.Environ = append(world.Environ[:len(world.Environ):len(world.Environ)], config.FileVariable+"=")
	}
	loaded, _, err := readAll(world, name, nil) // warnings are for the relay to say
	asked := ""
	if s.bad = err; err != nil {
		asked = world.getenv(socketVariable)
	} else {
		asked = loaded.Admin.Socket
		s.named = asked != ""
	}
	if asked != "" && asked != config.None {
		s.sockets = []string{asked}
	}
	if !s.named {
		s.sockets = append(s.sockets, daemon.ControlSockets(world.getenv)...)
	}
	return s
}

// socketVariable is the variable of admin.socket.
const socketVariable = "UDPRELAY_ADMIN_SOCKET"

// ask asks the relay at the first of the places where there is one.
func (s search) ask(ctx context.Context) (reloaded admin.Reloaded, err error) {
	err = errNoControl
	for _, socket := range s.sockets {
		reloaded, err = admin.Client{Socket: socket}.Reload(ctx)
		if !admin.Absent(err) {
			break
		}
	}
	return reloaded, err
}

// unanswered does what is left when there is no relay at any of the places, and
// err says so.
func (s search) unanswered(world World, err error) error {
	if s.process != 0 {
		process, failed := os.FindProcess(s.process)
		if failed == nil {
			failed = process.Signal(syscall.SIGHUP)
		}
		if failed == nil {
			fmt.Fprintf(world.Stderr, "udprelay: %v; sent SIGHUP to process %d instead: how the reload went is in its log\n", err, s.process)
			return s.bad
		}
	}
	if s.named {
		err = &unreachable{err, "is the relay running? one that was started with another admin.socket is reloaded with kill -HUP, or restarted"}
	}
	return errors.Join(s.bad, err)
}

// errNoControl is admin.socket: none. As far as asking goes that is a socket
// that does not exist.
var errNoControl error = noControl{}

type noControl struct{}

func (noControl) Error() string {
	return "no control socket: the configuration says admin.socket: none"
}
func (noControl) Unwrap() error { return os.ErrNotExist }
func (noControl) ExitCode() int { return exitUnreachable }
