package filetransfer

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// canLinkNameless reports whether a file without a name can get one: that goes
// through /proc, for the other way wants CAP_DAC_READ_SEARCH.
func canLinkNameless() bool {
	_, err := os.Stat("/proc/self/fd")
	return err == nil
}

// createNameless makes a file without a name, of which nothing is left when the
// process is killed.
func createNameless(in *os.File) (*os.File, error) {
	fd, err := unix.Openat(int(in.Fd()), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o666)
	switch err {
	case nil:
		return os.NewFile(uintptr(fd), "a file without a name"), nil
	case unix.EOPNOTSUPP, unix.EISDIR, unix.EINVAL, unix.ENOENT: // the file system or the kernel cannot
		return nil, errors.ErrUnsupported
	}
	return nil, err
}

// linkNameless gives it a name that nothing has.
func linkNameless(file, in *os.File, name string) error {
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", file.Fd()), int(in.Fd()), name, unix.AT_SYMLINK_FOLLOW)
}

// renameNew renames a file if nothing has the name to.
func renameNew(in *os.File, from, to string) error {
	err := unix.Renameat2(int(in.Fd()), from, int(in.Fd()), to, unix.RENAME_NOREPLACE)
	if err == unix.EINVAL || err == unix.ENOSYS {
		return errors.ErrUnsupported
	}
	return err
}
