//go:build darwin || freebsd

package admin

import "golang.org/x/sys/unix"

// callersTold says that the system tells who connects.
const callersTold = true

// peerUser returns the effective user of the process that has connected to fd:
// unix(4).
func peerUser(fd int) (uid uint32, err error) {
	credentials, err := unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED)
	if err != nil {
		return 0, err
	}
	return credentials.Uid, nil
}

// strangers returns none: there are no user namespaces here.
func strangers() (uid uint32, some bool) { return 0, false }
