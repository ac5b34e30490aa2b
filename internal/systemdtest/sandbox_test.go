//go:build systemd && linux

package systemdtest

import (
	"fmt"
	"path"
	"strings"
	"testing"
)

// Exposure is what systemd-analyze security makes of a unit, in tenths: 0 is
// nothing, 100 a service without any restriction.
func (c *container) exposure(unit string, most int) {
	c.Helper()
	got := c.try("systemd-analyze", "security", "--offline=true", "--no-pager", fmt.Sprintf("--threshold=%d", most), unit)
	if got.code != 0 {
		c.Errorf("want an exposure of %s of %d tenths at most, got:\n%s%s", unit, most, got.out, got.err)
		return
	}
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	c.Logf("%s: %s", unit, lines[len(lines)-1])
}

// Verify checks that systemd takes every line of units.
func (c *container) verify(units ...string) {
	c.Helper()
	// The manual page is a matter of the package.
	got := c.try(append([]string{"systemd-analyze", "verify", "--man=no"}, units...)...)
	if got.code != 0 || got.out+got.err != "" {
		c.Errorf("want systemd-analyze verify to print nothing, got exit code %d:\n%s%s", got.code, got.out, got.err)
	}
}

func TestTheUnitsExposeLittle(t *testing.T) {
	c := installed(t)
	room := "udprelay@room.service"
	c.verify(service, room)
	c.exposure(service, 11)
	c.exposure(room, 11)
	for example, most := range map[string]int{"secret.conf": 11, "low-port.conf": 15} {
		in := "/etc/systemd/system/udprelay.service.d/" + example
		c.example(example, in)
		c.verify(service)
		c.exposure(service, most)
		c.run("rm", in)
	}
	c.example("secret@.conf", "/etc/systemd/system/udprelay@.service.d/secret.conf")
	c.verify(room)
	c.exposure(room, 11)
	c.activate()
	c.verify(service, "udprelay.socket")
	c.exposure(service, 2)
}

// Every command must work with what the unit leaves it: an administrator may
// put it into an Exec line of a drop-in.
func TestEveryCommandWorksInTheSandbox(t *testing.T) {
	c := started(t)
	unit := source(t, "systemd/udprelay.service")
	unit = strings.ReplaceAll(unit, "Directory=udprelay\n", "Directory=sandboxed\n") // not those of the relay
	c.write("/etc/systemd/system/sandboxed.service", unit)
	c.write("/etc/sandboxed/room.yaml", "listen: \":9100\"\n")
	listener := c.receiver(t, "127.0.0.2", relayAt)
	for command, says := range map[string]string{
		"version":                               "udprelay",
		"check /etc/sandboxed/room.yaml":        "listen: \":9100\"",
		"join --wait 100ms 127.0.0.1:9000":      "",
		"join --hex --wait 100ms [::1]:9000":    "",
		"serve --help":                          "Usage:",
		"reload --socket /run/udprelay/nowhere": "no relay answers at the control socket",
	} {
		c.dropIn("sandboxed.service", "command.conf", "[Service]\nType=oneshot\nWatchdogSec=0\nRestart=no\nExecStart=\nExecStart=/usr/bin/udprelay "+command+
			"\nStandardInput=data\nStandardInputText=ab cd ef\n")
		code, status := 0, "0"
		if strings.HasPrefix(command, "reload") { // there is nobody to ask
			code, status = 1, "69"
		}
		if got := c.try("systemctl", "start", "sandboxed.service"); got.code != code {
			t.Errorf("%s: want exit code %d of systemctl start, got %d", command, code, got.code)
		}
		c.want("sandboxed.service", "ExecMainStatus="+status)
		if c.count("sandboxed.service", says) == 0 {
			t.Errorf("%s: want %q in the journal", command, says)
		}
	}
	await(t, "what join said", func() bool { return listener.got("ab cd ef\n") && listener.got("\xab\xcd\xef") })
}

// What the sandbox is for: it takes away what the relay does not need.
func TestTheSandboxHolds(t *testing.T) {
	c := installed(t)
	c.write("/etc/systemd/system/sandboxed.service", strings.ReplaceAll(source(t, "systemd/udprelay.service"), "Directory=udprelay\n", "Directory=sandboxed\n"))
	c.write("/root/private", "of root\n")
	for name, test := range map[string]struct {
		command string
		allowed bool
	}{
		"write its state":              {"echo x >/var/lib/sandboxed/x", true},
		"write its runtime directory":  {"echo x >/run/sandboxed/x", true},
		"read its configuration":       {"cat /etc/udprelay/udprelay.yaml", true},
		"open a socket":                {"echo x | socat -u - UDP:127.0.0.1:9", true},
		"change its configuration":     {"echo x >>/etc/udprelay/udprelay.yaml", false},
		"write to the system":          {"echo x >/usr/bin/x", false},
		"write elsewhere in /var":      {"echo x >/var/x", false},
		"read a home":                  {"ls /root/private", false},
		"open a packet socket":         {"socat -u /dev/null INTERFACE:lo", false},
		"bind a low port":              {"timeout 1 socat -u UDP-RECV:514 - || test $? = 124", false},
		"be another user":              {"setpriv --reuid 0 true || exit 1", false},
		"make a namespace":             {"unshare --net true", false},
		"mount":                        {"mount -t tmpfs tmpfs /tmp", false},
		"see other processes":          {"test -d /proc/1", false},
		"change a kernel's variable":   {"echo 1 >/proc/sys/net/ipv4/ip_forward", false},
		"see a device":                 {"test -e /dev/console", false},
		"write a control group":        {"mkdir /sys/fs/cgroup/x", false},
		"make a program set-user-ID":   {"cd ${STATE_DIRECTORY:-/tmp} && cp /bin/true t && chmod u+s t", false},
		"rename the host":              {"hostname x", false},
		"become a real-time process":   {"chrt -f 1 true", false},
		"be another kind of a machine": {"setarch i386 true", false},
	} {
		c.dropIn("sandboxed.service", "command.conf", "[Service]\nType=oneshot\nWatchdogSec=0\nRestart=no\nRestartPreventExitStatus=\nExecStart=\nExecStart=/bin/sh -c '"+
			strings.ReplaceAll(test.command, "$", "$$")+"'\n")
		if got := c.try("systemctl", "start", "sandboxed.service"); (got.code == 0) != test.allowed {
			t.Errorf("%s (%s): want allowed %v, got exit code %d", name, test.command, test.allowed, got.code)
		}
		if test.allowed {
			continue
		}
		// The command has failed, not what comes before it, and for no other reason
		// than the sandbox: a plain service may do it.
		if status := c.show("sandboxed.service", "ExecMainStatus"); len(status) == 3 && (status[0] == '2' || status == "127") {
			t.Errorf("%s: the command does not begin: %s", name, status)
		}
		if got := c.try("systemd-run", "--quiet", "--wait", "sh", "-c", test.command); got.code != 0 {
			t.Errorf("%s (%s): a service without the sandbox cannot do it either: exit code %d %s", name, test.command, got.code, got.err)
		}
	}
}

// activate installs the socket and the drop-in for it.
func (c *container) activate() {
	c.Helper()
	c.example("udprelay.socket", "/etc/systemd/system/udprelay.socket")
	c.example("socket-activated.conf", path.Join("/etc/systemd/system", service+".d", "socket-activated.conf"))
}
