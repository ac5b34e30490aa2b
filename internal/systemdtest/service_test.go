//go:build systemd && linux

package systemdtest

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	service    = "udprelay.service"
	configFile = "/etc/udprelay/udprelay.yaml"
)

// relayAt is where the relay of the shipped configuration is.
var relayAt = netip.MustParseAddrPort("127.0.0.1:9000")

// packageVariable names the Debian package to test.
const packageVariable = "UDPRELAY_TEST_PACKAGE"

// install installs the daemon inside, from the package if there is one to test,
// or else from this tree: the program, the units and the configuration, where a
// package has them. Nothing is started.
func (c *container) install() {
	c.Helper()
	if os.Getenv(packageVariable) != "" {
		const never = "/usr/sbin/policy-rc.d" // asked by the scripts of packages
		c.writeMode(never, "#!/bin/sh\nexit 101\n", 0o755)
		c.installPackage()
		c.run("rm", never)
		return
	}
	binary, err := program()
	if err != nil {
		c.Fatal(err)
	}
	c.writeMode("/usr/bin/udprelay", string(binary), 0o755)
	c.write(configFile, source(c, "config.yaml"))
	for _, unit := range []string{"udprelay.service", "udprelay@.service"} {
		c.write("/usr/lib/systemd/system/"+unit, source(c, "systemd/"+unit))
	}
	c.run("systemctl", "daemon-reload")
}

// installPackage installs the package as a user does.
func (c *container) installPackage() {
	c.Helper()
	text, err := os.ReadFile(os.Getenv(packageVariable))
	if err != nil {
		c.Fatal(err)
	}
	c.write("/root/udprelay.deb", string(text))
	c.run("dpkg", "--install", "/root/udprelay.deb")
	c.run("rm", "/root/udprelay.deb")
}

// source returns a file of this tree.
func source(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// installed returns a container of the oldest system with the daemon, which
// does not run yet.
func installed(t *testing.T) *container {
	t.Helper()
	c := oldest.boot(t)
	c.install()
	return c
}

// started returns one with the relay of the shipped configuration.
func started(t *testing.T) *container {
	t.Helper()
	c := installed(t)
	c.run("systemctl", "start", service)
	return c
}

// dropIn adds lines to a unit.
func (c *container) dropIn(unit, name, text string) {
	c.Helper()
	c.write("/etc/systemd/system/"+unit+".d/"+name, text)
	c.run("systemctl", "daemon-reload")
}

// example installs a file of systemd/examples.
func (c *container) example(name, as string) {
	c.Helper()
	c.write(as, source(c, "systemd/examples/"+name))
	c.run("systemctl", "daemon-reload")
}

// show returns a property of a unit.
func (c *container) show(unit, property string) string {
	c.Helper()
	return strings.TrimSuffix(c.run("systemctl", "show", "--value", "--property="+property, unit), "\n")
}

// want checks properties of a unit, each as Name=value.
func (c *container) want(unit string, properties ...string) {
	c.Helper()
	for _, property := range properties {
		name, want, _ := strings.Cut(property, "=")
		if got := c.show(unit, name); got != want {
			c.Errorf("%s: want %s=%s, got %s", unit, name, want, got)
		}
	}
}

// A line is one of the journal.
type line struct {
	Message  string `json:"MESSAGE"`
	Priority string `json:"PRIORITY"`
	Process  string `json:"_PID"`
	Program  string `json:"_COMM"`
}

// journal returns the lines of a unit, and those that systemd says about it.
func (c *container) journal(unit string) (lines []line) {
	c.Helper()
	c.run("journalctl", "--sync")
	decoder := json.NewDecoder(strings.NewReader(c.run("journalctl", "--no-pager", "--quiet", "--all", "--output=json", "--unit="+unit)))
	for decoder.More() {
		var l line
		if err := decoder.Decode(&l); err != nil {
			c.Fatalf("read the journal: %v", err)
		}
		lines = append(lines, l)
	}
	return lines
}

// count returns how many lines of a unit contain the text.
func (c *container) count(unit, text string) (n int) {
	c.Helper()
	for _, l := range c.journal(unit) {
		if strings.Contains(l.Message, text) {
			n++
		}
	}
	return n
}

// awaitSaved waits until the state file is newer than all that happened to the
// peers before: it names the ports of the receivers.
func (c *container) awaitSaved(file string, receivers ...*receiver) {
	c.Helper()
	await(c, "the peers in "+file, func() bool {
		saved := c.try("cat", file).out
		for _, r := range receivers {
			if !strings.Contains(saved, ":"+r.port()) {
				return false
			}
		}
		return true
	})
}

// kill sends a signal to the main process of the relay.
func (c *container) kill(signal string) {
	c.Helper()
	c.run("systemctl", "kill", "--kill-whom=main", "--signal="+signal, service)
}
