package command

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"

	"github.com/urfave/cli/v2"

	"udprelay/internal/config"
	"udprelay/internal/daemon"
)

func checkCommand(world World) *cli.Command {
	return &cli.Command{
		Name:      "check",
		Usage:     "check a configuration and print what holds",
		ArgsUsage: "[FILE]",
		Description: `Reads FILE, or what UDPRELAY_CONFIG names, or else the built-in defaults;
"-" is standard input. The environment (UDPRELAY_...) counts, as it does for
serve. A good configuration is printed with every key; a bad one exits with 78
and a line for each mistake. That the file of the secret or a certificate cannot
be read is a warning, for serve may run as another user.

Examples:
  udprelay check                      # the defaults, to start a file from
  udprelay check room.yaml            # what would hold with room.yaml
  udprelay check --quiet room.yaml && echo good`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print nothing about a good configuration", DisableDefaultText: true},
		},
		Action: func(c *cli.Context) error {
			if err := noMoreThan(c, 1); err != nil {
				return err
			}
			return check(world, c.Args().First(), c.Bool("quiet"))
		},
	}
}

func check(world World, name string, quiet bool) error {
	if quiet {
		world.Stderr = io.Discard // warnings only: errors are returned
	}
	loaded, err := loadConfig(world, name, nil)
	if mistakes := (config.Errors)(nil); errors.As(err, &mistakes) {
		return checkFailure{mistakes}
	}
	if err != nil || quiet {
		return err
	}
	warnOfMachine(world, loaded)
	warnOfRoom(world, name)
	_, warnings, err := loaded.ReadSecret()
	warnOfFile(world, warnings, err)
	_, warnings, err = daemon.Certificates(loaded)
	warnOfFile(world, warnings, err)
	warnings, err = daemon.CheckCluster(loaded)
	warnOfFile(world, warnings, err)
	_, err = world.Stdout.Write(loaded.YAML())
	return err
}

// warnOfMachine says what this machine can make no use of.
func warnOfMachine(world World, loaded *config.Config) {
	for _, warning := range loaded.MachineWarnings() {
		fmt.Fprintf(world.Stderr, "udprelay: warning: %s\n", warning)
	}
}

// isRoom matches the files of rooms, and canStart what comes before .yaml of those
// that can start: it is part of the name of a user, of 31 bytes at most.
var (
	isRoom   = regexp.MustCompile(`^/etc/udprelay/(.+)\.yaml$`)
	canStart = regexp.MustCompile(`^[A-Za-z0-9_-]{1,22}$`)
)

// warnOfRoom says that the room with that file cannot start, for its name is not
// one that systemd makes a user for.
func warnOfRoom(world World, file string) {
	absolute, err := filepath.Abs(file)
	if err != nil {
		return
	}
	if found := isRoom.FindStringSubmatch(absolute); found != nil && !canStart.MatchString(found[1]) {
		fmt.Fprintf(world.Stderr, "udprelay: warning: udprelay@%s.service would not start (Invalid argument): want a name of at most 22 letters, digits, - and _; rename the file\n", found[1])
	}
}

// warnOfFile says what is wrong with a file that the configuration names. That it
// cannot be read is a warning only, for serve may run as another user or elsewhere.
func warnOfFile(world World, warnings []config.Warning, err error) {
	if err != nil {
		fmt.Fprintf(world.Stderr, "udprelay: warning: %v; serve would not start as this user\n", err)
	}
	for _, warning := range warnings {
		fmt.Fprintf(world.Stderr, "udprelay: warning: %s\n", warning)
	}
}

// A checkFailure is the mistakes without their hint, which is to do what was
// just done.
type checkFailure struct{ config.Errors }

func (checkFailure) Hint() string { return "" }
