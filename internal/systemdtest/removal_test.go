//go:build systemd && linux

package systemdtest

import (
	"os"
	"slices"
	"strings"
	"testing"

	"udprelay/internal/testneed"
)

func TestRemovalKeepsTheConfigurationAndPurgeLeavesNothing(t *testing.T) {
	testneed.True(t, os.Getenv(packageVariable) != "", "a package, named by %s: make test-systemd builds it", packageVariable)
	c := oldest.boot(t)
	// A service with a user and a state of its own makes directories that stay.
	c.run("systemd-run", "--quiet", "--wait", "--property=DynamicUser=yes", "--property=StateDirectory=other", "true")
	before := c.files()

	c.installPackage()
	c.write("/etc/udprelay/room.yaml", "listen: \":9100\"\n")
	for _, unit := range []string{service, "udprelay@room.service"} {
		c.run("systemctl", "enable", unit)
		c.run("systemctl", "restart", unit)
		c.want(unit, "ActiveState=active")
	}
	r := c.receiver(t, "127.0.0.2", relayAt)
	c.awaitSaved(stateFile, r)

	c.run("dpkg", "--remove", "udprelay")
	c.wantNoneRuns()
	if got := c.try("cat", configFile); got.code != 0 {
		t.Error("want the configuration kept by a removal")
	}
	if got := c.try("cat", stateFile); got.code != 0 {
		t.Error("want the state kept by a removal")
	}

	c.run("rm", "/etc/udprelay/room.yaml") // it is not the package's
	c.run("dpkg", "--purge", "udprelay")
	c.wantNoneRuns()
	after := c.files()
	for _, file := range after {
		if _, found := slices.BinarySearch(before, file); !found {
			t.Errorf("left behind: %s", file)
		}
	}
	for _, file := range before {
		if _, found := slices.BinarySearch(after, file); !found {
			t.Errorf("taken away: %s", file)
		}
	}
}

// files returns the names of all files that are not the business of others.
func (c *container) files() []string {
	c.Helper()
	const question = `find / \( -path /proc -o -path /sys -o -path /dev -o -path /run/systemd -o -path /run/log -o -path /run/credentials -o -path /run/agetty.reload \
-o -path /var/log -o -path /var/lib/dpkg -o -path /var/lib/systemd/timers -o -path '/tmp/systemd-private-*' -o -path '/var/tmp/systemd-private-*' \) -prune -o -print`
	names := strings.Split(strings.TrimSpace(c.run("sh", "-c", question)), "\n")
	slices.Sort(names)
	return names
}

func (c *container) wantNoneRuns() {
	c.Helper()
	for unit := range strings.Lines(c.run("systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating,reloading,deactivating,failed", "udprelay*")) {
		c.Errorf("want no unit left, got %s", unit)
	}
	if got := c.try("pidof", "udprelay"); got.code == 0 {
		c.Errorf("want no process left, got %s", got.out)
	}
}
