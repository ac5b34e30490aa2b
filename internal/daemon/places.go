package daemon

import (
	"os"
	"path/filepath"
	"strings"

	"udprelay/internal/config"
)

// Where things are that the configuration does not name.
const (
	stateName   = "peers"
	controlName = "control.sock"
)

// Places are where the daemon keeps what outlives it and is asked.
type places struct {
	state        string // the file of the peers; "": none
	control      string // the control socket; "": none
	controlAsked bool   // the configuration names it
	runtime      string // the directory to make for the control socket; "": none
}

// placesOf returns the places for cfg: those that it names, or else those in
// the directories of the service manager (systemd.exec(5)). Without one a
// relay that somebody runs by hand keeps no state, and has its control socket
// in the directory of that user (XDG Base Directory Specification).
func placesOf(cfg *config.Config, getenv func(string) string) (p places) {
	switch p.state = cfg.State.File; p.state {
	case config.None:
		p.state = ""
	case "":
		if directory := first(getenv("STATE_DIRECTORY")); directory != "" {
			p.state = filepath.Join(directory, stateName)
		}
	}
	switch p.control = cfg.Admin.Socket; p.control {
	case config.None:
		p.control = ""
	case "":
		if directory := first(getenv("RUNTIME_DIRECTORY")); directory != "" {
			p.control = filepath.Join(directory, controlName)
		} else if directory := getenv("XDG_RUNTIME_DIR"); directory != "" {
			p.runtime = filepath.Join(directory, "udprelay")
			p.control = filepath.Join(p.runtime, controlName)
		}
	default:
		p.controlAsked = true
	}
	return p
}

// makeRuntime makes the directory of the control socket, if it is this
// program's to make.
func (p *places) makeRuntime() error {
	if p.runtime == "" {
		return nil
	}
	return os.MkdirAll(p.runtime, 0o700)
}

// first returns the first of the directories that a variable of systemd names.
func first(directories string) string {
	directory, _, _ := strings.Cut(directories, ":")
	return directory
}

// ControlSockets returns where the control socket of a running daemon may be
// that nobody names, the likeliest first.
func ControlSockets(getenv func(string) string) (names []string) {
	if directory := first(getenv("RUNTIME_DIRECTORY")); directory != "" {
		return []string{filepath.Join(directory, controlName)} // a command of the unit
	}
	if directory := getenv("XDG_RUNTIME_DIR"); directory != "" {
		names = append(names, filepath.Join(directory, "udprelay", controlName))
	}
	return append(names, filepath.Join("/run/udprelay", controlName))
}
