//go:build systemd && linux

package systemdtest

import (
	"strings"
	"testing"
)

// notifying returns a container of the newer system with the relay of the
// shipped configuration, whose reloads systemd itself waits for.
func notifying(t *testing.T) *container {
	t.Helper()
	c := newer.boot(t)
	c.install()
	c.example("notify-reload.conf", "/etc/systemd/system/udprelay.service.d/notify-reload.conf")
	c.run("systemctl", "start", service)
	c.want(service, "Type=notify-reload", "ActiveState=active")
	return c
}

func TestNewerUnitsExposeLittle(t *testing.T) {
	c := notifying(t)
	c.verify(service, "udprelay@room.service")
	c.exposure(service, 12)
	c.exposure("udprelay@room.service", 12)
}

func TestNewerTenRestartsLoseNothing(t *testing.T) {
	restartTenTimes(t, notifying(t))
}

func TestNewerReloadWaitsForTheReload(t *testing.T) {
	c := notifying(t)
	process := c.show(service, "MainPID")
	stays, goes := c.receiver(t, "127.0.0.2", relayAt), c.receiver(t, "127.0.0.3", relayAt)
	s := c.stream(t, relayAt, stays)
	s.goesOn(t, 200, stays, goes)
	c.write(configFile, refusesOne)
	c.run("systemctl", "reload", service)
	limit := s.sent.Load()
	s.goesOn(t, 400, stays)
	if got := goes.highest.Load(); got >= limit {
		t.Errorf("want nothing for the refused peer from datagram %d on, got %d", limit, got)
	}

	c.write(configFile, bad)
	c.try("systemctl", "reload", service) // whether it fails is a matter of the version
	mistakes := c.mistakes()
	c.wantMistakes(process, mistakes, 1)
	if status := c.show(service, "StatusText"); !strings.Contains(status, mistakes[0]) {
		t.Errorf("want the status to say %q, got %q", mistakes[0], status)
	}

	c.kill("HUP")
	await(t, "the second report", func() bool { return c.said(process, mistakes[1]) == 2 })
	s.goesOn(t, 200, stays)
	stays.wantAll(t, s.end())
	await(t, "the end of the reload", func() bool { return c.show(service, "ActiveState") == "active" })
	c.want(service, "NRestarts=0", "MainPID="+process)
}

func TestNewerRestartsAtGrowingIntervals(t *testing.T) {
	c := notifying(t)
	c.run("systemctl", "stop", service)
	inTheWay := c.listenUDP(t, "127.0.0.1:9000")
	if got := c.try("systemctl", "start", service); got.code == 0 {
		t.Error("want systemctl start to fail while the port is taken")
	}
	first := c.show(service, "RestartUSecNext")
	await(t, "a longer interval", func() bool { return c.show(service, "RestartUSecNext") != first })
	inTheWay.Close()
	await(t, "the relay", func() bool { return c.show(service, "ActiveState") == "active" })
}
