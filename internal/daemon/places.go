package daemon

import (
	"errors"
	"fmt"
	"io/fs"
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
	group        string // whose members may ask there; "": nobody's
	runtime      string // the directory of the user to make that of the control socket in; "": none to make
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
			p.runtime = directory
			p.control = filepath.Join(userDirectory(directory), controlName)
		}
	default:
		p.controlAsked = true
	}
	if group := cfg.Admin.Group; group != config.None {
		p.group = group
	}
	return p
}

// makeRuntime makes the directory of the control socket, if it is this
// program's to make. XDG_RUNTIME_DIR can be that of another user, who would
// choose then where things of this one come to lie: sudo and su may keep it.
func (p *places) makeRuntime() error {
	if p.runtime == "" {
		return nil
	}
	if err := wantOurs(p.runtime); err != nil {
		return fmt.Errorf("XDG_RUNTIME_DIR: %w", err)
	}
	directory := userDirectory(p.runtime)
	if err := os.Mkdir(directory, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return wantOurs(directory)
}

// userDirectory returns the directory of this program in that of a user.
func userDirectory(runtime string) string { return filepath.Join(runtime, "udprelay") }

// wantOurs returns an error unless name is a directory of this user.
func wantOurs(name string) error {
	if !filepath.IsAbs(name) {
		return fmt.Errorf("%s is no absolute path", name)
	}
	file, err := os.Lstat(filepath.Clean(name)) // not behind a symbolic link
	switch {
	case err != nil:
		return err
	case !file.IsDir():
		return fmt.Errorf("%s is no directory", name)
	case !ours(file):
		return fmt.Errorf("%s belongs to another user", name)
	}
	return nil
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
	// One that another user owns, or may put there, is not asked.
	if runtime := getenv("XDG_RUNTIME_DIR"); wantOurs(runtime) == nil && wantOurs(userDirectory(runtime)) == nil {
		names = append(names, filepath.Join(userDirectory(runtime), controlName))
	}
	return append(names, filepath.Join("/run/udprelay", controlName))
}
