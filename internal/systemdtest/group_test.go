//go:build systemd && linux

package systemdtest

import (
	"strings"
	"testing"
)

// The members of a group may ask the relay, and root and systemd control it, with
// what the units leave it: PrivateUsers= hides all other users from it.
func TestMembersOfAGroupMayAsk(t *testing.T) {
	const socket = "/run/udprelay/control.sock"
	c := installed(t)
	c.run("groupadd", "--system", "operators")
	c.run("useradd", "--groups", "operators", "member")
	c.run("useradd", "stranger")
	c.write(configFile, "admin:\n  group: operators\n")

	// The relay is no member, and says what would make it one.
	c.dropIn(service, "once.conf", "[Service]\nRestart=no\n")
	if got := c.try("systemctl", "start", service); got.code == 0 {
		t.Error("want no start with a group that the relay may not give")
	}
	c.want(service, "ExecMainStatus=78")
	if c.count(service, "Group= in a drop-in") == 0 {
		t.Error("want the way out in the journal")
	}

	c.dropIn(service, "group.conf", "[Service]\nGroup=operators\n")
	c.run("systemctl", "restart", service)
	if got := strings.TrimSpace(c.run("stat", "--format", "%a %G", socket)); got != "660 operators" {
		t.Errorf("want a socket of mode 660 of the group, got %s", got)
	}
	for _, test := range []struct {
		user, command string
		code          int
		says          string
	}{
		{"member", "status", 0, "ready"},
		{"member", "peers", 0, ""},
		{"member", "reload", 77, "only root and the user of the relay (udprelay, uid "},
		{"member", "ban 192.0.2.1", 77, "only root and the user of the relay"},
		{"stranger", "status", 69, "permission denied"},
		{"root", "status", 0, "ready"},
		{"root", "reload", 0, ""},
	} {
		got := c.try(append([]string{"runuser", "-u", test.user, "--", "udprelay"}, strings.Fields(test.command)...)...)
		if got.code != test.code || !strings.Contains(got.out+got.err, test.says) {
			t.Errorf("%s: %s: want exit code %d and %q, got %+v", test.user, test.command, test.code, test.says, got)
		}
	}
	c.run("systemctl", "reload", service)
	if c.count(service, "control refused") == 0 {
		t.Error("want what was refused in the journal")
	}
}
