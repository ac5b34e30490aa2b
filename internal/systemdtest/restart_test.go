//go:build systemd && linux

package systemdtest

import (
	"strconv"
	"strings"
	"testing"
)

const stateFile = "/var/lib/private/udprelay/peers"

func TestTenRestartsLoseNothing(t *testing.T) {
	c := started(t)
	restartTenTimes(t, c)
}

// A port that is closed answers with an ICMP error, which the socket has then
// pending while systemd keeps it.
func TestTenRestartsWithErrorsPendingLoseNothing(t *testing.T) {
	c := installed(t)
	c.write(configFile, "peers:\n  static:\n  - address: 127.0.0.9:9\n")
	c.run("systemctl", "start", service)
	restartTenTimes(t, c)
	if refused := c.icmpErrors(); refused == 0 {
		t.Error("want ICMP errors for the static peer, got none")
	}
}

func restartTenTimes(t *testing.T, c *container) {
	t.Helper()
	var receivers []*receiver
	for _, at := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		receivers = append(receivers, c.receiver(t, at, relayAt))
	}
	s := c.stream(t, relayAt, receivers...)
	for i := range 10 {
		s.goesOn(t, 200, receivers...)
		before := c.icmpErrors()
		c.run("systemctl", "restart", service)
		t.Logf("restart %d with %d datagrams sent, ICMP errors before %d", i+1, s.sent.Load(), before)
	}
	s.goesOn(t, 200, receivers...)
	n := s.end()
	for _, r := range receivers {
		r.wantAll(t, n)
	}
	c.want(service, "ActiveState=active", "NRestarts=0", "NFileDescriptorStore=1")
	if kept := c.count(service, "the process before"); kept != 10 {
		t.Errorf("want the socket taken over ten times, got %d", kept)
	}
}

// icmpErrors returns how many "destination unreachable" the network of the
// container has received.
func (c *container) icmpErrors() int {
	c.Helper()
	n := 0
	for line := range strings.Lines(c.run("cat", "/proc/net/snmp")) {
		if fields := strings.Fields(line); fields[0] == "IcmpMsg:" || fields[0] == "Icmp:" {
			// Icmp: InMsgs InErrors InCsumErrors InDestUnreachs ...; the first
			// line of the two has the names.
			if value, err := strconv.Atoi(fields[min(4, len(fields)-1)]); err == nil && fields[0] == "Icmp:" {
				n = value
			}
		}
	}
	return n
}

func TestAKilledRelayComesBackWithItsPeers(t *testing.T) {
	c := started(t)
	receivers := []*receiver{c.receiver(t, "127.0.0.2", relayAt), c.receiver(t, "127.0.0.3", relayAt), c.receiver(t, "127.0.0.4", relayAt)}
	s := c.stream(t, relayAt, receivers...)
	s.goesOn(t, 200, receivers...)
	c.awaitSaved(stateFile, receivers...)
	for kills := 1; kills <= 3; kills++ {
		process := c.show(service, "MainPID")
		c.kill("KILL")
		await(t, "another process", func() bool {
			now := c.show(service, "MainPID")
			return now != "0" && now != process && c.show(service, "ActiveState") == "active"
		})
		s.goesOn(t, 200, receivers...)
		c.want(service, "NRestarts="+strconv.Itoa(kills))
	}
	n := s.end()
	for _, r := range receivers {
		await(t, "the last datagram", func() bool { return r.highest.Load() == int64(n-1) })
		t.Logf("%s: three kills cost %d datagrams of %d", r.name, r.wantOrder(t), n)
	}
	if kept := c.count(service, "the process before"); kept != 3 {
		t.Errorf("want the socket taken over three times, got %d", kept)
	}
}

func TestTheWatchdogEndsARelayThatHangs(t *testing.T) {
	c := installed(t)
	c.dropIn(service, "watchdog.conf", "[Service]\nWatchdogSec=1s\n")
	c.run("systemctl", "start", service)
	receivers := []*receiver{c.receiver(t, "127.0.0.2", relayAt), c.receiver(t, "127.0.0.3", relayAt)}
	s := c.stream(t, relayAt, receivers...)
	s.goesOn(t, 200, receivers...)
	c.awaitSaved(stateFile, receivers...)
	c.kill("STOP")
	await(t, "the watchdog", func() bool { return c.show(service, "NRestarts") == "1" && c.show(service, "ActiveState") == "active" })
	s.goesOn(t, 200, receivers...)
	n := s.end()
	for _, r := range receivers {
		await(t, "the last datagram", func() bool { return r.highest.Load() == int64(n-1) })
		t.Logf("%s: the stop cost %d datagrams of %d", r.name, r.wantOrder(t), n)
	}
	if c.count(service, "Failed with result 'watchdog'") != 1 || c.count(service, "the process before") != 1 {
		t.Error("want the journal to say that the watchdog ended it, and that the next took the socket over")
	}
}

func TestAWatchdogThatIsFedEndsNothing(t *testing.T) {
	c := installed(t)
	c.dropIn(service, "watchdog.conf", "[Service]\nWatchdogSec=1s\n")
	c.run("systemctl", "start", service)
	r := c.receiver(t, "127.0.0.2", relayAt)
	s := c.stream(t, relayAt, r)
	s.goesOn(t, 5000, r) // two and a half times WatchdogSec=
	c.want(service, "NRestarts=0", "ActiveState=active")
	r.wantAll(t, s.end())
}
