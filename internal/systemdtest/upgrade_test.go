//go:build systemd && linux

package systemdtest

import (
	"os"
	"strings"
	"testing"

	"udprelay/internal/testneed"
)

// upgrade installs the package once more, and returns what that says.
func (c *container) upgrade() string {
	c.Helper()
	text, err := os.ReadFile(os.Getenv(packageVariable))
	if err != nil {
		c.Fatal(err)
	}
	c.write("/root/udprelay.deb", string(text))
	return c.run("dpkg", "--force-confold", "--install", "/root/udprelay.deb")
}

// A relay goes on while the new program would not start with its configuration.
func TestAnUpgradeLeavesARelayWithMistakesRunning(t *testing.T) {
	testneed.True(t, os.Getenv(packageVariable) != "", "a package, named by %s: make test-systemd builds it", packageVariable)
	const room = "udprelay@room.service"
	for name, test := range map[string]struct{ do, undo, says string }{
		"a mistake":           {"echo 'expiry: 60s' >>" + configFile, "sed -i '$d' " + configFile, configFile + ":"},
		"a file for root":     {"chmod 600 " + configFile, "chmod 644 " + configFile, configFile + ": this user may not read the file"},
		"a file that is gone": {"mv " + configFile + " /root/kept", "mv /root/kept " + configFile, configFile},
	} {
		t.Run(name, func(t *testing.T) {
			c := started(t)
			// What the environment says counts: without, this file is one without a secret.
			c.write("/etc/udprelay/room.yaml", "listen: \":9100\"\naccess:\n- from: any\n  join: secret\n")
			c.write("/etc/udprelay/secret", "0123456789abcdef0123456789abcdef\n")
			c.dropIn(room, "secret.conf", "[Service]\nLoadCredential=secret:/etc/udprelay/secret\nEnvironment=UDPRELAY_JOIN_SECRET_FILE=%d/secret\n")
			c.run("systemctl", "start", room)
			process, inRoom := c.show(service, "MainPID"), c.show(room, "MainPID")

			c.run("sh", "-c", test.do)
			said := c.upgrade()
			if !strings.Contains(said, service+" goes on without this upgrade") || !strings.Contains(said, test.says) {
				t.Errorf("want the upgrade to say that the relay goes on, and %q; got %s", test.says, said)
			}
			c.want(service, "ActiveState=active", "MainPID="+process)
			if now := c.show(room, "MainPID"); now == inRoom || strings.Contains(said, room) {
				t.Errorf("want the room restarted; got %s", said)
			}

			c.run("sh", "-c", test.undo)
			if said = c.upgrade(); strings.Contains(said, "goes on") {
				t.Errorf("want nothing said of a good configuration; got %s", said)
			}
			if c.show(service, "MainPID") == process {
				t.Error("want the relay restarted when it is mended")
			}
			c.want(service, "ActiveState=active")
		})
	}
}

func TestAnUpgradeSaysThatTheRelayIsMasked(t *testing.T) {
	testneed.True(t, os.Getenv(packageVariable) != "", "a package, named by %s: make test-systemd builds it", packageVariable)
	c := installed(t)
	c.run("systemctl", "mask", service)
	if said := c.upgrade(); !strings.Contains(said, "udprelay.service is masked") {
		t.Errorf("want the upgrade to say that the relay is masked; got %s", said)
	}
}
