//go:build systemd && linux

package systemdtest

import (
	"strings"
	"testing"
)

// A relay that cannot start by its configuration fails once and for all.
func TestABadConfigurationIsNotTriedAgain(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		mode string
		says string
	}{
		"bad":        {"listen: \":9000\"\nexpiry: 60s\n", "644", configFile + ":2:1: expiry: "},
		"unreadable": {"listen: \":9000\"\n", "600", configFile + ": this user may not read the file"},
		"no secret":  {"access:\n- from: any\n  join: secret\njoin:\n  secret_file: /nowhere\n", "644", "/nowhere: join.secret_file: "},
	} {
		t.Run(name, func(t *testing.T) {
			c := installed(t)
			c.write(configFile, test.text)
			c.run("chmod", test.mode, configFile)
			wantFailed(t, c, service, "78")
			if c.count(service, test.says) != 1 {
				t.Errorf("want one line with %q in the journal", test.says)
			}
			for _, l := range c.journal(service) {
				if strings.Contains(l.Message, test.says) && l.Priority != "3" {
					t.Errorf("want priority 3 for %q, got %s", l.Message, l.Priority)
				}
			}
			// When it is mended it starts.
			c.write(configFile, "listen: \":9000\"\n")
			c.run("systemctl", "start", service)
		})
	}
}

func TestAMissingConfigurationIsNotTriedAgain(t *testing.T) {
	c := installed(t)
	wantFailed(t, c, "udprelay@nowhere.service", "78")
	if c.count("udprelay@nowhere.service", "/etc/udprelay/nowhere.yaml") == 0 {
		t.Error("want the journal to name the file")
	}
}

func TestAWrongCallIsNotTriedAgain(t *testing.T) {
	c := installed(t)
	c.dropIn(service, "call.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/udprelay serve --no-such-flag\n")
	wantFailed(t, c, service, "64")
}

// A port that is taken may be free later: it is tried until it is.
func TestAPortThatIsTakenIsTriedUntilItIsFree(t *testing.T) {
	c := installed(t)
	inTheWay := c.listenUDP(t, "127.0.0.1:9000")
	if got := c.try("systemctl", "start", service); got.code == 0 {
		t.Error("want systemctl start to fail while the port is taken")
	}
	await(t, "a second try", func() bool { return c.count(service, "status=69/UNAVAILABLE") > 1 })
	await(t, "a status that says why", func() bool {
		return strings.Contains(c.try("systemctl", "status", service, "--no-pager", "--lines=0").out, "cannot listen on")
	})
	inTheWay.Close()
	await(t, "the relay", func() bool { return c.show(service, "ActiveState") == "active" })
}

func wantFailed(t *testing.T, c *container, unit, code string) {
	t.Helper()
	if got := c.try("systemctl", "start", unit); got.code == 0 {
		t.Error("want systemctl start to fail")
	}
	// In this state nothing is due any more.
	c.want(unit, "ActiveState=failed", "SubState=failed", "Result=exit-code", "ExecMainStatus="+code, "NRestarts=0")
	if starts := c.count(unit, "Starting "); starts != 1 {
		t.Errorf("want one start of %s, got %d", unit, starts)
	}
	if strings.Contains(c.run("systemctl", "list-jobs", "--no-legend"), unit) {
		t.Errorf("want no job left for %s", unit)
	}
}
