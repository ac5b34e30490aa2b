package clustertest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"udprelay/internal/admin"
)

// secret is that of all nodes that may take part.
const secret = "of the test, and nothing else: 0123456789abcdef\n"

// A section is that of a configuration, by key.
type section map[string]any

// A daemon is the built program with a configuration of its own.
type daemon struct {
	admin.Client
	host      *host // nil: it has the network of the test
	directory string
	cluster   section
	listen    string
	process   *exec.Cmd // nil: it does not run
	starts    int
}

// newDaemon returns a daemon that is not started. With a host, others connect to
// it at port 6222, and it knows the secret.
func newDaemon(t testing.TB, h *host, cluster section) *daemon {
	t.Helper()
	d := &daemon{host: h, directory: t.TempDir(), listen: "127.0.0.1:0", cluster: section{"secret_file": writeSecret(t, secret)}}
	if h != nil {
		d.listen = ":9000"
		d.cluster["name"], d.cluster["listen"] = h.name, ":6222"
	}
	for key, value := range cluster {
		d.cluster[key] = value
		if value == nil {
			delete(d.cluster, key)
		}
	}
	d.Client = admin.Client{Socket: filepath.Join(d.directory, "control.sock")}
	d.configure(t, d.cluster)
	t.Cleanup(func() { d.end(t) })
	return d
}

func writeSecret(t testing.TB, text string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func (d *daemon) configFile() string { return filepath.Join(d.directory, "config.yaml") }

// configure writes the configuration that holds from the next start or reload on.
func (d *daemon) configure(t testing.TB, cluster section) {
	t.Helper()
	text, err := json.Marshal(section{ // which is YAML as well
		"listen":  d.listen,
		"peers":   section{"expiry": "1h"}, // some clients only listen, and a slow machine takes minutes
		"admin":   section{"socket": d.Socket, "http": "none"},
		"state":   section{"file": filepath.Join(d.directory, "state")},
		"log":     section{"level": "debug"},
		"cluster": cluster,
	})
	if err == nil {
		err = os.WriteFile(d.configFile(), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// start starts the daemon and waits until it relays.
func (d *daemon) start(t testing.TB) {
	t.Helper()
	name := program(t)
	d.starts++
	out, err := os.Create(d.logFile(d.starts))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	d.process = exec.Command(name, "serve", "--config", d.configFile())
	d.process.Stdout, d.process.Stderr = out, out
	d.process.Env = append(os.Environ(), "GORACE=exitcode=0") // which says so in the log
	if d.host == nil {
		err = d.process.Start()
	} else {
		d.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // if the thread of the host ends
		d.host.Do(func() { err = d.process.Start() })
	}
	if err != nil {
		d.process = nil
		t.Fatal(err)
	}
	d.awaitStatus(t, "it to be ready", func(s *admin.Status) bool { return s.Ready })
}

func (d *daemon) logFile(start int) string {
	return filepath.Join(d.directory, fmt.Sprintf("%d.log", start))
}

// log returns what the daemon has said since it was started last.
func (d *daemon) log(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(d.logFile(d.starts))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// awaitLog waits for a line of the log.
func (d *daemon) awaitLog(t testing.TB, pattern string) {
	t.Helper()
	line := regexp.MustCompile(pattern)
	await(t, func() bool { return line.MatchString(d.log(t)) }, "a line of the log of %s that matches %q", d.name(), pattern)
}

func (d *daemon) name() string {
	name, _ := d.cluster["name"].(string)
	return name
}

// kill has the daemon gone at once.
func (d *daemon) kill(t testing.TB) {
	t.Helper()
	d.process.Process.Kill()
	d.process.Wait()
	d.process = nil
	d.checkLogs(t)
}

// stop ends the daemon as a service manager does.
func (d *daemon) stop(t testing.TB) {
	t.Helper()
	process := d.process
	over := time.AfterFunc(patience, func() { process.Process.Kill() })
	defer over.Stop()
	process.Process.Signal(syscall.SIGTERM)
	if err := process.Wait(); err != nil {
		t.Errorf("want %s to end without a failure; got %v", d.name(), err)
	}
	d.process = nil
	d.checkLogs(t)
}

// end stops the daemon if it runs. Of a test that failed, its log is told.
func (d *daemon) end(t testing.TB) {
	if d.process != nil {
		d.stop(t)
	}
	if t.Failed() && d.starts > 0 {
		const most = 6000
		text := d.log(t)
		t.Logf("the log of %s ends with:\n%s", d.name(), text[max(0, len(text)-most):])
	}
}

var mistakes = regexp.MustCompile(`(?s)(panic:|fatal error:|WARNING: DATA RACE).*`)

// checkLogs looks for what must never happen.
func (d *daemon) checkLogs(t testing.TB) {
	t.Helper()
	if found := mistakes.FindString(d.log(t)); found != "" {
		t.Errorf("%s says:\n%.5000s", d.name(), found)
	}
}

// status asks the daemon; an error is a failure of the test.
func (d *daemon) status(t testing.TB) *admin.Status {
	t.Helper()
	s, err := d.tryStatus()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tryStatus returns a status that is not older than the call: the daemon tells
// the same for a moment.
func (d *daemon) tryStatus() (*admin.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for called := time.Now().Truncate(time.Millisecond); ; time.Sleep(5 * time.Millisecond) {
		if s, err := d.Status(ctx); err != nil || s.Now.After(called) {
			return &s, err
		}
	}
}

// awaitStatus waits until ok holds of the status, and returns it.
func (d *daemon) awaitStatus(t testing.TB, what string, ok func(*admin.Status) bool) (s *admin.Status) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if s, err = d.tryStatus(); err == nil && ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			text, _ := json.Marshal(&s.Cluster)
			t.Fatalf("of %s, want %s; not so after %v: %v, %s", d.name(), what, patience, err, text)
		}
	}
}

// awaitPeers waits until so many clients are peers of the daemon.
func (d *daemon) awaitPeers(t testing.TB, count int) {
	t.Helper()
	d.awaitStatus(t, fmt.Sprintf("%d learned peers", count), func(s *admin.Status) bool { return s.Peers.Learned == count })
}

// here returns the names of the other nodes that are here, in order.
func here(s *admin.Status) (names []string) {
	for _, n := range s.Cluster.Nodes {
		if n.State == "here" {
			names = append(names, n.Name)
		}
	}
	slices.Sort(names)
	return names
}

// awaitNodes waits until the daemons, and no others, are here for each other.
func awaitNodes(t testing.TB, list ...*daemon) {
	t.Helper()
	for _, d := range list {
		var want []string
		for _, other := range list {
			if other != d {
				want = append(want, other.name())
			}
		}
		slices.Sort(want)
		d.awaitStatus(t, fmt.Sprintf("the nodes %q to be here", want), func(s *admin.Status) bool { return slices.Equal(here(s), want) })
	}
}

// nodeOf returns what is known of the node of a name that is here, or was last.
func nodeOf(s *admin.Status, name string) (last admin.ClusterNode) {
	for _, n := range s.Cluster.Nodes {
		if n.Name == name && !n.Heard.Before(last.Heard.Time) {
			last = n
		}
	}
	return last
}

// run runs a command of the program that asks the daemon.
func (d *daemon) run(t testing.TB, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	name := program(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, name, append([]string{args[0], "--socket", d.Socket}, args[1:]...)...)
	var out, wrong strings.Builder
	command.Stdout, command.Stderr = &out, &wrong
	err = command.Run()
	return out.String(), wrong.String(), err
}

// does is run, of what is to succeed.
func (d *daemon) does(t testing.TB, args ...string) (stdout string) {
	t.Helper()
	stdout, stderr, err := d.run(t, args...)
	if err != nil {
		t.Fatalf("udprelay %v: %v: %s%s", args, err, stdout, stderr)
	}
	return stdout
}

// refuses is run, of what is to fail, with an exit code.
func (d *daemon) refuses(t testing.TB, code int, args ...string) (stderr string) {
	t.Helper()
	stdout, stderr, err := d.run(t, args...)
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != code {
		t.Fatalf("udprelay %v: want the exit code %d; got %v: %s%s", args, code, err, stdout, stderr)
	}
	return stderr
}

var residentLine = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// resident returns how many MB the daemon has in memory.
func (d *daemon) resident() (mb int, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", d.process.Process.Pid))
	if err != nil {
		return 0, err
	}
	found := residentLine.FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("no VmRSS in %s", text)
	}
	kb, err := strconv.Atoi(string(found[1]))
	return kb / 1000, err
}

// address returns where clients of the daemon send to, of IPv4 or, on a host, IPv6.
func (d *daemon) address(t testing.TB, six bool) *net.UDPAddr {
	t.Helper()
	text := "127.0.0.1:9000"
	switch {
	case d.host == nil:
		text = d.status(t).Listen
	case six:
		text = "[::1]:9000"
	}
	addr, err := net.ResolveUDPAddr("udp", text)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
