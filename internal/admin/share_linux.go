package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// share gives file, the private one of the socket called name, to a group. The
// group comes first: before it has the mode, nobody gains by it. What somebody
// may have put in its place meanwhile is left alone.
func share(name string, file fs.FileInfo, group string, gid int) error {
	path, err := os.OpenFile(name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer path.Close()
	if now, err := path.Stat(); err != nil || !os.SameFile(now, file) {
		return errors.Join(errTaken, err)
	}
	fd := int(path.Fd())
	// A service whose group it is already need not be allowed to change it.
	if stat, ok := file.Sys().(*syscall.Stat_t); !ok || int(stat.Gid) != gid {
		if err := unix.Fchownat(fd, "", -1, gid, unix.AT_EMPTY_PATH); err != nil {
			return notOurs(group, err)
		}
	}
	// fchmod takes no such descriptor, and fchmodat2 is new in Linux 6.6.
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), uint32(shared))
}
