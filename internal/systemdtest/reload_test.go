//go:build systemd && linux

package systemdtest

import (
	"strings"
	"testing"
)

const (
	refusesOne = "access:\n- from: 127.0.0.3\n  may: nothing\n- from: loopback\n"
	bad        = "listen: \":9000\"\naccess:\n- from: loopback\n  mya: both\npeers:\n  expiry: 60\n"
)

func TestReloadRefusesOneAndKeepsTheOthers(t *testing.T) {
	c := started(t)
	stays, goes := c.receiver(t, "127.0.0.2", relayAt), c.receiver(t, "127.0.0.3", relayAt)
	s := c.stream(t, relayAt, stays)
	s.goesOn(t, 200, stays, goes)
	c.write(configFile, refusesOne)
	c.run("systemctl", "reload", service)
	limit := s.sent.Load()
	s.goesOn(t, 400, stays)
	goes.send(t, "it does not get in again")
	s.goesOn(t, 400, stays)
	stays.wantAll(t, s.end())
	if got := goes.highest.Load(); got >= limit {
		t.Errorf("want nothing for the refused peer from datagram %d on, got %d", limit, got)
	}
	if lost := goes.wantOrder(t); lost != 0 {
		t.Errorf("want all datagrams until the reload for the refused peer, %d are missing", lost)
	}
	if stays.got("it does not get in again") {
		t.Error("want nothing of a refused peer relayed")
	}
	c.want(service, "NRestarts=0", "ActiveState=active")
}

func TestReloadOfABadConfigurationFailsAndChangesNothing(t *testing.T) {
	c := started(t)
	process := c.show(service, "MainPID")
	r := c.receiver(t, "127.0.0.2", relayAt)
	s := c.stream(t, relayAt, r)
	s.goesOn(t, 200, r)
	c.write(configFile, bad)
	if got := c.try("systemctl", "reload", service); got.code == 0 {
		t.Error("want systemctl reload to fail")
	}
	mistakes := c.mistakes()
	c.wantMistakes(process, mistakes, 1)

	c.run("systemctl", "kill", "--kill-whom=main", "--signal=HUP", service)
	await(t, "the second report", func() bool { return c.said(process, mistakes[len(mistakes)-1]) == 2 })
	c.wantMistakes(process, mistakes, 2)

	c.write(configFile, "listen: \":9000\"\n")
	c.run("systemctl", "reload", service)
	s.goesOn(t, 200, r)
	r.wantAll(t, s.end())
	c.want(service, "NRestarts=0", "ActiveState=active", "MainPID="+process)
}

func TestHangUpReloads(t *testing.T) {
	c := started(t)
	process := c.show(service, "MainPID")
	stays, goes := c.receiver(t, "127.0.0.2", relayAt), c.receiver(t, "127.0.0.3", relayAt)
	s := c.stream(t, relayAt, stays)
	s.goesOn(t, 200, stays, goes)
	c.write(configFile, refusesOne)
	c.run("systemctl", "kill", "--kill-whom=main", "--signal=HUP", service)
	await(t, "the journal to say that it reloaded", func() bool { return c.said(process, "reloaded") == 1 })
	limit := s.sent.Load()
	s.goesOn(t, 400, stays)
	stays.wantAll(t, s.end())
	if got := goes.highest.Load(); got >= limit {
		t.Errorf("want nothing for the refused peer from datagram %d on, got %d", limit, got)
	}
}

// A reload finds a control socket that the configuration names, and does
// without one where there is none.
func TestReloadFindsTheControlSocket(t *testing.T) {
	for name, socket := range map[string]string{"another": "/run/udprelay/other.sock", "none": "none"} {
		t.Run(name, func(t *testing.T) {
			c := installed(t)
			configuration := "admin:\n  socket: " + socket + "\n"
			c.write(configFile, configuration)
			c.run("systemctl", "restart", service)
			process := c.show(service, "MainPID")
			c.write(configFile, configuration+refusesOne)
			c.run("systemctl", "reload", service)
			await(t, "the journal to say that it reloaded", func() bool { return c.said(process, "reloaded") == 1 })
			c.want(service, "ActiveState=active", "MainPID="+process)

			c.write(configFile, configuration+"x: 1\n")
			if got := c.try("systemctl", "reload", service); got.code == 0 {
				t.Error("want systemctl reload to fail")
			}
			c.want(service, "ActiveState=active", "MainPID="+process)
		})
	}
}

// mistakes returns what check says about the configuration.
func (c *container) mistakes() (lines []string) {
	c.Helper()
	checked := c.try("udprelay", "check", configFile)
	if checked.code != 78 {
		c.Fatalf("want exit code 78 of check, got %d", checked.code)
	}
	for line := range strings.Lines(checked.err) {
		line = strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "udprelay: ")
		if strings.HasPrefix(line, configFile+":") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 2 {
		c.Fatalf("want two mistakes, got:\n%s", checked.err)
	}
	return lines
}

// wantMistakes checks that the process has logged each n times, as errors.
func (c *container) wantMistakes(process string, mistakes []string, n int) {
	c.Helper()
	for _, mistake := range mistakes {
		if got := c.said(process, mistake); got != n {
			c.Errorf("want %q %d times in the journal, got %d", mistake, n, got)
		}
	}
	for _, l := range c.journal(service) {
		if l.Process == process && strings.HasPrefix(l.Message, configFile) && l.Priority != "3" {
			c.Errorf("want priority 3 for %q, got %s", l.Message, l.Priority)
		}
	}
}

// said returns how many lines of a process begin with the text.
func (c *container) said(process, text string) (n int) {
	c.Helper()
	for _, l := range c.journal(service) {
		if l.Process == process && strings.HasPrefix(l.Message, text) {
			n++
		}
	}
	return n
}
