//go:build systemd && linux

package systemdtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/testlog"
	"udprelay/internal/testwait"
)

const (
	// patience is how long a test waits for what has to happen. It decides
	// nothing: what is waited for comes much sooner, or never.
	patience = testwait.Patience

	// bootPatience is the same for the boot and the end of a container.
	bootPatience = 5 * time.Minute
)

// A container is a booted system with a network of its own.
type container struct {
	*testing.T
	leader  int // the process that is number 1 inside
	network chan func()
	console testlog.Log
}

var booted atomic.Int64

// boot starts a container, which ends with the test and leaves nothing.
func (s system) boot(t *testing.T) *container {
	t.Helper()
	base := s.base(t)
	c := &container{T: t}
	directory, err := os.MkdirTemp("", "udprelay") // t.TempDir() can be too long for the name of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(directory, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()

	name := fmt.Sprintf("udprelay-%d-%d", os.Getpid(), booted.Add(1))
	// All that is written inside goes to a tmpfs of nspawn's own.
	arguments := []string{"systemd-nspawn", "--directory=" + base, "--volatile=overlay", "--boot", "--private-network", "--register=no",
		"--machine=" + name, "--notify-ready=yes", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--system-call-filter=bpf"}
	var groups []string
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		// Nobody gives it a control group of its own.
		arguments = append(arguments, "--keep-unit")
		groups = makeGroups(t, name)
	}
	const enter = `for group in $CONTROL_GROUPS; do echo $$ >"$group/cgroup.procs" || exit; done; exec "$@"`
	command := exec.Command("sh", append([]string{"-c", enter, "sh"}, arguments...)...)
	command.Env = append(os.Environ(), "NOTIFY_SOCKET="+notify.LocalAddr().String(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
		"CONTROL_GROUPS="+strings.Join(groups, " "))
	command.Stdout, command.Stderr = &c.console, &c.console
	// Even if this process is killed, nspawn ends the container. Ctrl-C is not for it.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	command.WaitDelay = time.Second
	started, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // the signal comes when the thread ends
		defer runtime.UnlockOSThread()
		err := command.Start()
		started <- err
		if err == nil {
			command.Wait()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer removeGroups(t, groups)
		command.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(bootPatience):
			t.Error("the container does not end, and is killed")
			if c.leader != 0 { // nspawn alone would leave it behind
				syscall.Kill(c.leader, syscall.SIGKILL)
			}
			command.Process.Kill()
			<-ended
		}
		if c.leader == 0 {
			t.Logf("the console:\n%s", c.console.String())
		}
	})
	c.awaitBoot(notify, ended)
	t.Cleanup(func() {
		if t.Failed() {
			said := c.try("journalctl", "--no-pager", "-n", "200", "-o", "short-precise", "-u", "udprelay*")
			t.Logf("the journal:\n%s%s", said.out, said.err)
		}
	})
	c.enterNetwork()
	return c
}

// awaitBoot reads what nspawn says until the system is up.
func (c *container) awaitBoot(notify *net.UnixConn, ended <-chan struct{}) {
	c.Helper()
	deadline := time.Now().Add(bootPatience)
	for ready := false; !ready; {
		select {
		case <-ended:
			c.Fatal("the container has ended before it was up")
		default:
		}
		notify.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		message := make([]byte, 4096)
		n, err := notify.Read(message)
		if errors.Is(err, os.ErrDeadlineExceeded) && time.Now().Before(deadline) {
			continue
		}
		if err != nil {
			c.Fatalf("wait for the container: %v", err)
		}
		for line := range strings.Lines(string(message[:n])) {
			line = strings.TrimSuffix(line, "\n")
			if leader, found := strings.CutPrefix(line, "X_NSPAWN_LEADER_PID="); found {
				c.leader, _ = strconv.Atoi(leader)
			}
			ready = ready || line == "READY=1"
		}
	}
	if c.leader == 0 {
		c.Fatal("nspawn does not say which process leads the container")
	}
	if state := c.try("systemctl", "is-system-running", "--wait"); state.out != "running\n" {
		c.Fatalf("the container is %q (%s); failed are:\n%s", state.out, state.err, c.try("systemctl", "--failed", "--no-pager").out)
	}
}

// makeGroups makes a control group in each hierarchy that systemd uses, so that
// containers do not share one.
func makeGroups(t *testing.T, name string) (groups []string) {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		group := filepath.Join(root, name)
		if err := os.Mkdir(group, 0o755); err != nil {
			t.Fatal(err)
		}
		groups = append(groups, group)
	}
	return groups
}

// removeGroups removes what nspawn left in the groups, and them.
func removeGroups(t *testing.T, groups []string) {
	for _, group := range groups {
		var all []string
		filepath.WalkDir(group, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				all = append(all, path)
			}
			return nil
		})
		for i := len(all) - 1; i >= 0; i-- { // the inner ones first
			// A process that has just ended may hold it a moment longer.
			await(t, "the control group "+all[i]+" to be empty", func() bool { return !errors.Is(os.Remove(all[i]), unix.EBUSY) })
		}
	}
}

// enterNetwork starts the thread that opens sockets inside.
func (c *container) enterNetwork() {
	c.Helper()
	c.network = make(chan func())
	entered, gone := make(chan error), make(chan struct{})
	go func() {
		defer close(gone)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		file, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", c.leader))
		if err == nil {
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
			file.Close()
		}
		entered <- err
		for do := range c.network {
			do()
		}
	}()
	c.Cleanup(func() { close(c.network); <-gone })
	if err := <-entered; err != nil {
		c.Fatalf("enter the network of the container: %v", err)
	}
}

// inNetwork runs f where sockets that are opened are those of the container.
func (c *container) inNetwork(f func()) {
	done := make(chan struct{})
	c.network <- func() { defer close(done); f() }
	<-done
}

// A said is what a program wrote and how it ended.
type said struct {
	out, err string
	code     int
}

// try runs a program inside.
func (c *container) try(arguments ...string) said {
	c.Helper()
	return c.tryWith("", arguments...)
}

func (c *container) tryWith(input string, arguments ...string) said {
	c.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), bootPatience) // it serves Cleanup, too
	defer cancel()
	command := exec.CommandContext(ctx, "nsenter", append([]string{"--target", strconv.Itoa(c.leader), "--all", "--"}, arguments...)...)
	command.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "SYSTEMD_COLORS=0"}
	command.Stdin = strings.NewReader(input)
	var out, err bytes.Buffer
	command.Stdout, command.Stderr = &out, &err
	command.WaitDelay = time.Second
	failed := command.Run()
	if exit := (*exec.ExitError)(nil); failed != nil && (!errors.As(failed, &exit) || !exit.Exited()) {
		c.Fatalf("%s: %v: %s", strings.Join(arguments, " "), failed, err.String())
	}
	return said{out.String(), err.String(), command.ProcessState.ExitCode()}
}

// run runs a program inside that must succeed, and returns its output.
func (c *container) run(arguments ...string) string {
	c.Helper()
	got := c.try(arguments...)
	if got.code != 0 {
		c.Fatalf("%s: exit code %d\n%s%s", strings.Join(arguments, " "), got.code, got.out, got.err)
	}
	return got.out
}

// write makes a file inside, and its directories.
func (c *container) write(name, text string) {
	c.Helper()
	c.writeMode(name, text, 0o644)
}

func (c *container) writeMode(name, text string, mode fs.FileMode) {
	c.Helper()
	got := c.tryWith(text, "sh", "-c", `mkdir -p "$(dirname "$1")" && rm -f "$1" && cat >"$1" && chmod "$2" "$1"`, "sh", name, fmt.Sprintf("%o", mode))
	if got.code != 0 {
		c.Fatalf("write %s: %s", name, got.err)
	}
}

// await waits until ok returns true. It fails the test if that never happens.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	testwait.Until(t, ok, "want "+what)
}
