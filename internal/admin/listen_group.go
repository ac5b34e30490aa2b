package admin

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/user"
	"strconv"
)

// ListenFor is [Listen] for the members of a group as well, if it is not "". They
// may connect, and [Serve] lets them read only. Group is a name, or a number
// where no group has that for its name. What is wrong with the group is a
// [*GroupError]; at no time may others connect.
func ListenFor(name, group string) (net.Listener, error) {
	gid := noGroup
	if group != "" {
		var err error
		if gid, err = groupNumber(group); err != nil {
			return nil, err
		}
	}
	listener, err := listen(name, group, gid)
	if failure := (*GroupError)(nil); errors.As(err, &failure) {
		return nil, failure
	}
	if err != nil {
		return nil, fmt.Errorf("control socket %s: %w", name, reason(err))
	}
	return listener, nil
}

// noGroup is the number of no group.
const noGroup = -1

// shared is the mode of the file of a control socket that has a group.
const shared fs.FileMode = 0o660

// groupNumber returns the number of a group.
func groupNumber(group string) (gid int, err error) {
	if !callersTold {
		return 0, &GroupError{group, "this system does not tell who connects to the control socket, so whoever may ask there could change everything; want no group", ""}
	}
	number := group
	if known, err := user.LookupGroup(group); err == nil {
		number = known.Gid
	}
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || n >= 1<<32-1 {
		return 0, &GroupError{group, "there is no such group; want one that this machine has", "getent group lists them, groupadd --system makes one"}
	}
	return int(n), nil
}

// notOurs is the error of a group that this process may not give to a file.
func notOurs(group string, err error) *GroupError {
	return &GroupError{group, fmt.Sprintf("the control socket cannot get this group: %v; want a group that the user of the relay is a member of", err),
		"usermod --append --groups makes it a member; of a unit of systemd that is Group= in a drop-in, or SupplementaryGroups= if the unit has no PrivateUsers= and may change groups of files"}
}

// A GroupError is a group that the control socket cannot have.
type GroupError struct {
	Group string
	wrong string
	hint  string
}

func (e *GroupError) Error() string { return fmt.Sprintf("admin.group: %q: %s", e.Group, e.wrong) }

// ExitCode is EX_CONFIG of sysexits.h.
func (e *GroupError) ExitCode() int { return 78 }

// Hint returns a way out, or nothing.
func (e *GroupError) Hint() string { return e.hint }
