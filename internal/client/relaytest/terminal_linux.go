package relaytest

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
)

// Terminal opens a terminal: what a program writes to it can be read from
// keyboard, and what is written to keyboard is typed. A system without
// terminals skips the test, and in CI fails it.
func Terminal(t testing.TB) (keyboard, terminal *os.File) {
	t.Helper()
	keyboard, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	testneed.True(t, err == nil, "a terminal: %v", err)
	t.Cleanup(func() { keyboard.Close() })
	raw, err := keyboard.SyscallConn() // not Fd, after which reads have no deadline
	if err != nil {
		t.Fatal(err)
	}
	var number int
	var failed error
	err = raw.Control(func(fd uintptr) {
		if failed = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); failed == nil {
			number, failed = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	testneed.True(t, err == nil && failed == nil, "a terminal: %v, %v", err, failed)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	testneed.True(t, err == nil, "a terminal: %v", err)
	t.Cleanup(func() { terminal.Close() })
	return keyboard, terminal
}
