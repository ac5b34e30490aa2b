package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"udprelay/internal/admin"
	"udprelay/internal/config"
	"udprelay/internal/daemon"
)

// socketText says, in a help page, where a command finds the relay.
const socketText = `Without --socket it is where the configuration names a control socket (--config or
UDPRELAY_CONFIG, and UDPRELAY_ADMIN_SOCKET), or else the relay of this user, or else
that of the system service, /run/udprelay/control.sock.`

// socketFlags are the flags of a command that asks a running relay.
func socketFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "the relay's configuration `FILE`, for the name of its control socket"},
		&cli.StringFlag{Name: "socket", Aliases: []string{"s"}, Usage: "the relay's control socket, `FILE`"},
	}
}

// A search is where the control socket of a relay may be.
type search struct {
	sockets []string // the likeliest first; none: the configuration says so
	named   bool     // the configuration names the socket, or that there is none
	bad     error    // why the configuration does not load
	process int      // what systemd runs the command for; 0: nothing

	verbatim bool // as in [admin.Client]
}

// searchOf returns where the relay may be that the flags of socketFlags mean.
func searchOf(world World, c *cli.Context) (search, error) {
	if c.IsSet("config") && c.IsSet("socket") {
		return search{}, &usageFailure{"--config and --socket exclude each other", helpHint(c)}
	}
	if socket := c.String("socket"); socket != "" {
		return search{sockets: []string{socket}, verbatim: c.Bool("json")}, nil
	}
	s := searchFor(world, c.String("config"))
	s.verbatim = c.Bool("json")
	return s, nil
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

// ask calls ask for the places in turn, until one is not absent (see
// [admin.Absent]), and returns its error.
func (s search) ask(ask func(admin.Client) error) error {
	err := errNoControl
	for _, socket := range s.sockets {
		if err = ask(admin.Client{Socket: socket, Verbatim: s.verbatim}); !admin.Absent(err) {
			break
		}
	}
	return err
}

// unanswered returns what there is to say when there is no relay at any of the
// places, and err says so. The hint is for a place that the configuration names.
func (s search) unanswered(err error, hint string) error {
	if s.named {
		err = &unreachable{err, hint}
	}
	return errors.Join(s.bad, err)
}

// notice returns what a person has to know of the search when there was an
// answer, or nothing.
func (s search) notice() string {
	if s.bad == nil {
		return ""
	}
	return "warning: asked at the usual places, for here the configuration does not load: " + strings.ReplaceAll(s.bad.Error(), "\n", "; ")
}

// say writes the notice, if there is one.
func (s search) say(stderr io.Writer) {
	if notice := s.notice(); notice != "" {
		fmt.Fprintf(stderr, "udprelay: %s\n", notice)
	}
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
