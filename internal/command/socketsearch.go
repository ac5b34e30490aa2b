package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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
that of the system service, /run/udprelay/control.sock, or of a room. A relay that runs
another configuration than --config names is not asked.`

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

	wanted   string // the configuration that --config names; "": none, so any relay will do
	verbatim bool   // as in [admin.Client]
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
	if c.IsSet("config") {
		if s.wanted = absolute(c.String("config")); s.wanted == config.None {
			s.wanted = ""
		} else if !s.named {
			room := strings.TrimSuffix(filepath.Base(s.wanted), filepath.Ext(s.wanted))
			socket := fmt.Sprintf("/run/udprelay-%s/control.sock", room) // of udprelay@.service
			if _, err := os.Lstat(socket); err == nil {
				s.sockets = append(s.sockets, socket)
			}
		}
	}
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
// [admin.Absent]) and has the relay that is wanted, and returns its error.
func (s search) ask(ask func(admin.Client) error) error {
	err, another := errNoControl, (*anotherRelay)(nil)
	for _, socket := range s.sockets {
		client := admin.Client{Socket: socket, Verbatim: s.verbatim}
		tried := s.wantsAnother(client)
		if tried == nil {
			tried = ask(client)
		}
		switch {
		case errors.As(tried, &another):
			err = tried
		case !admin.Absent(tried):
			return tried
		case another == nil:
			err = tried
		}
	}
	return err
}

// wantsAnother returns an error if the relay that client asks runs another
// configuration than the one that is wanted.
func (s search) wantsAnother(client admin.Client) error {
	if s.wanted == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), askWithin)
	defer cancel()
	status, err := client.Status(ctx)
	if err != nil || status.Config == "" { // an older relay does not say
		return err
	}
	if status.Config == s.wanted {
		return nil
	}
	its, err := os.Stat(status.Config)
	if err == nil {
		if wanted, err := os.Stat(s.wanted); err == nil && os.SameFile(its, wanted) {
			return nil
		}
	}
	return &anotherRelay{client.Socket, status.Config, s.wanted}
}

// An anotherRelay is one that runs another configuration than --config names.
type anotherRelay struct{ socket, config, wanted string }

func (e *anotherRelay) Error() string {
	runs := e.config
	if runs == config.None {
		runs = "no configuration file"
	}
	return fmt.Sprintf("the relay at %s runs %s, not %s; nothing was asked of it", e.socket, printable(runs), e.wanted)
}

// ExitCode is EX_UNAVAILABLE of sysexits.h.
func (e *anotherRelay) ExitCode() int { return 69 }

// Hint returns a way out.
func (e *anotherRelay) Hint() string {
	return "start the relay of that configuration; or name its control socket: --socket FILE, or admin.socket in the file"
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
