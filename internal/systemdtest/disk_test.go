//go:build systemd && linux

package systemdtest

import (
	"strings"
	"testing"
)

func TestAFullDiskStopsNoRelaying(t *testing.T) {
	c := installed(t)
	c.run("mkdir", "-p", "--mode=700", "/var/lib/private/udprelay")
	c.run("mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", "/var/lib/private/udprelay")
	c.run("systemctl", "start", service)
	first, second := c.receiver(t, "127.0.0.2", relayAt), c.receiver(t, "127.0.0.3", relayAt)
	s := c.stream(t, relayAt, first, second)
	s.goesOn(t, 100, first, second)
	c.awaitSaved(stateFile, first, second)

	c.try("dd", "if=/dev/zero", "of=/var/lib/private/udprelay/ballast", "bs=4096")
	process := c.show(service, "MainPID")
	late := c.receiver(t, "127.0.0.4", relayAt)
	await(t, "the late one to join", func() bool { return late.highest.Load() >= 0 })
	await(t, "the journal to say that peers are not saved", func() bool { return c.said(process, "peers are not saved") > 0 })
	// Each that comes is a reason to save, which fails again.
	for _, at := range []string{"127.0.0.5", "127.0.0.6", "127.0.0.7"} {
		r := c.receiver(t, at, relayAt)
		await(t, "another to join", func() bool { return r.highest.Load() >= 0 })
		s.goesOn(t, 400, first, second, late) // a fifth of a second, twice the time to the next save
	}
	if got := c.said(process, "peers are not saved"); got != 1 {
		t.Errorf("want the journal to say it once, got %d times", got)
	}
	if hints := c.count(service, `make room on the file system of /var/lib/udprelay`); hints == 0 {
		t.Error("want the journal to say on which file system there is no room")
	}

	if status := c.run("udprelay", "status"); !strings.Contains(status, "NOT SAVED for ") || !strings.Contains(status, "a restart loses nothing") {
		t.Errorf("want the status to say that nothing is saved, and that a restart loses nothing; got\n%s", status)
	}
	await(t, "systemctl status to say it", func() bool { return strings.HasPrefix(c.show(service, "StatusText"), "NOT SAVED: save peers to ") })
	c.want(service, "NFileDescriptorStore=2")

	// Silent peers survive both a restart and a crash: systemd has kept them in
	// memory.
	c.run("systemctl", "restart", service)
	s.goesOn(t, 400, first, second, late)
	c.kill("KILL")
	await(t, "another process", func() bool { return c.show(service, "NRestarts") == "1" && c.show(service, "ActiveState") == "active" })
	s.goesOn(t, 400, first, second, late)
	c.run("rm", "/var/lib/private/udprelay/ballast")
	await(t, "the peers to be saved again", func() bool { return c.show(service, "NFileDescriptorStore") == "1" })
	c.awaitSaved(stateFile, first, second, late)
	c.run("systemctl", "restart", service)
	s.goesOn(t, 400, first, second, late)
	s.end()
	c.want(service, "ActiveState=active", "NRestarts=0")
}

func TestADamagedStateFileIsSetAside(t *testing.T) {
	c := started(t)
	r := c.receiver(t, "127.0.0.2", relayAt)
	c.awaitSaved(stateFile, r)
	c.run("systemctl", "stop", service)
	for damage, command := range map[string]string{
		"garbage":     `head -c 3000 /dev/urandom >$0`,
		"cut off":     `truncate -s -10 $0`,
		"other bytes": `sed -i 's/127.0.0.2/127.0.0.8/' $0`,
	} {
		saved := c.run("cat", stateFile)
		c.run("sh", "-c", command, stateFile)
		damaged := c.run("cat", stateFile)
		if saved == damaged {
			t.Fatalf("%s: nothing is damaged", damage)
		}
		c.run("systemctl", "start", service)
		process := c.show(service, "MainPID")
		aside := ""
		for _, l := range c.journal(service) {
			if l.Process == process && strings.HasPrefix(l.Message, "the file of the peers cannot be used") && l.Priority == "4" {
				aside = l.Message
			}
		}
		_, name, _ := strings.Cut(aside, "set_aside_as=")
		if want := "/var/lib/udprelay/peers.damaged"; name != want && !strings.HasPrefix(name, want+"-") {
			t.Fatalf("%s: want a warning with the name of the file that was set aside, got %q", damage, aside)
		}
		if kept := c.run("cat", name); kept != damaged {
			t.Errorf("%s: want the damaged file kept as it was", damage)
		}
		r.send(t, "") // it joins again
		c.awaitSaved(stateFile, r)
		c.run("systemctl", "stop", service)
	}
	c.want(service, "Result=success", "NRestarts=0")
}
