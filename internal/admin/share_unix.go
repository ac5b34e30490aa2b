//go:build unix && !linux

package admin

import (
	"io/fs"

	"golang.org/x/sys/unix"
)

// share gives file, the private one of the socket called name, to a group. The
// group comes first: before it has the mode, nobody gains by it. A symbolic link
// that somebody has put in its place is not followed.
func share(name string, _ fs.FileInfo, group string, gid int) error {
	if err := unix.Fchownat(unix.AT_FDCWD, name, -1, gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return notOurs(group, err)
	}
	return unix.Fchmodat(unix.AT_FDCWD, name, uint32(shared), unix.AT_SYMLINK_NOFOLLOW)
}
