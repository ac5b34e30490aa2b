package admin

import (
	"bufio"
	"bytes"
	"math"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// callersTold says that the system tells who connects.
const callersTold = true

// peerUser returns the effective user of the process that has connected to fd,
// see unix(7).
func peerUser(fd int) (uid uint32, err error) {
	credentials, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return 0, err
	}
	return credentials.Uid, nil
}

// overflow is what the kernel takes for users that a user namespace does not
// have, unless somebody has changed it.
const overflow = 65534

// strangers returns whom users look like that the user namespace of this
// process does not have, and whether there are some: user_namespaces(7).
func strangers() (uid uint32, some bool) {
	uid = overflow
	if text, err := os.ReadFile("/proc/sys/kernel/overflowuid"); err == nil { // hidden by ProcSubset=pid
		if n, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 32); err == nil {
			uid = uint32(n)
		}
	}
	text, err := os.ReadFile("/proc/self/uid_map")
	return uid, err != nil || !mapsAll(string(text))
}

// mapsAll reports whether a user namespace has every user there is: all numbers
// but the last, which stands for none.
func mapsAll(uidMap string) bool {
	var users uint64
	for lines := bufio.NewScanner(strings.NewReader(uidMap)); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			return false
		}
		n, err := strconv.ParseUint(fields[2], 10, 32)
		if err != nil {
			return false
		}
		users += n
	}
	return users >= math.MaxUint32
}
