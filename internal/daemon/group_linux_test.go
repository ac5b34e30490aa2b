package daemon

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"udprelay/internal/admin"
)

func TestTheGroupOfTheConfigurationGetsTheSocket(t *testing.T) {
	directory := shortDirectory(t)
	d := start(t, surroundings{directory: directory}, keyed("admin.group", strconv.Itoa(os.Getegid()))) // one that everybody may give
	d.addr(t)
	info, err := os.Lstat(filepath.Join(directory, controlName))
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Sys().(*syscall.Stat_t).Gid; info.Mode() != fs.ModeSocket|0o660 || int(got) != os.Getegid() {
		t.Errorf("want a socket of mode 0660 and group %d, got %v and %d", os.Getegid(), info.Mode(), got)
	}
	if _, err := askReload(directory); err != nil {
		t.Errorf("want the user of the relay to control, got %v", err)
	}
}

// A group that was asked for in vain is a mistake, wherever the socket is.
func TestNoRelayStartsWithAGroupThatThereIsNot(t *testing.T) {
	directory := shortDirectory(t)
	options := always(configured(t, keyed("listen", "127.0.0.1:0"), keyed("admin.group", "no such group")), io.Discard)
	options.Getenv = func(name string) string {
		if name == "RUNTIME_DIRECTORY" {
			return directory
		}
		return ""
	}
	err := Run(context.Background(), options)
	var group *admin.GroupError
	if !errors.As(err, &group) || group.ExitCode() != 78 || group.Group != "no such group" {
		t.Errorf("want an error of the group with exit code 78, got %v", err)
	}
}
