//go:build systemd && linux

package systemdtest

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

func TestTheRelayAndARoomBesideIt(t *testing.T) {
	c := started(t)
	c.write("/etc/udprelay/room.yaml", "listen: \":9100\"\n")
	c.run("systemctl", "enable", "--now", "udprelay@room.service")
	for _, unit := range []string{service, "udprelay@room.service"} {
		c.want(unit, "ActiveState=active", "SubState=running", "NRestarts=0", "NotifyAccess=main")
	}
	relays := map[string]netip.AddrPort{"relay": relayAt, "room": netip.MustParseAddrPort("127.0.0.1:9100")}
	for name, at := range relays {
		r := c.receiver(t, "127.0.0.2", at)
		sender := c.receiver(t, "127.0.0.3", at)
		sender.send(t, "said in the "+name)
		await(t, "a datagram in the "+name, func() bool { return r.got("said in the " + name) })
		for other := range relays {
			if other != name && r.got("said in the "+other) {
				t.Errorf("want nothing from the %s in the %s", other, name)
			}
		}
	}
	// Each has a user, a state and a control socket of its own, which only that
	// user and root reach.
	const question = `stat -L -c '%u %a' /run/udprelay /run/udprelay-room && stat -c '%u' /run/udprelay/control.sock /run/udprelay-room/control.sock && stat -L -c '%u %a' /var/lib/udprelay /var/lib/udprelay-room`
	got := strings.Fields(c.run("sh", "-c", question))
	if len(got) != 10 || got[0] == got[2] || got[1] != "755" || got[3] != "755" || got[4] != got[0] || got[5] != got[2] ||
		got[6] != got[0] || got[7] != "700" || got[8] != got[2] || got[9] != "700" || got[0] == "0" || got[2] == "0" {
		t.Errorf("want a user for each, with directories of mode 755 and 700; got %v", got)
	}
	// What one takes away when it stops is not the other's.
	c.run("systemctl", "stop", service)
	c.run("systemctl", "reload", "udprelay@room.service")
	c.run("systemctl", "start", service)
	c.run("systemctl", "stop", "udprelay@room.service")
	c.run("systemctl", "reload", service)
}

// A room's name is part of that of a user. Systemd tries for ever to start one
// with too long a name, and says little.
func TestCheckSaysWhyARoomDoesNotStart(t *testing.T) {
	c := installed(t)
	for port, length := range map[string]int{"9101": 22, "9102": 23} {
		name := strings.Repeat("x", length)
		file, unit := "/etc/udprelay/"+name+".yaml", "udprelay@"+name+".service"
		c.write(file, "listen: \":"+port+"\"\n")
		started, checked := c.try("systemctl", "start", unit), c.try("udprelay", "check", file)
		c.try("systemctl", "stop", unit)
		says := strings.Contains(checked.err, unit+" would not start (Invalid argument): want a name of at most 22 letters")
		if good := length == 22; good != (started.code == 0) || good == says || checked.code != 0 {
			t.Errorf("want a name of 22 letters started, and a warning of others; with %d the code is %d, and check says %q", length, started.code, checked.err)
		}
	}
}

func TestClientsThatAreTheUsersOwnPrograms(t *testing.T) {
	c := started(t)
	// A socat that joins by a line of its own and shows what others say.
	c.run("systemd-run", "--quiet", "--unit=listener", "sh", "-c",
		`mkfifo /tmp/input; exec 3<>/tmp/input; echo hello >&3; exec socat STDIO UDP:127.0.0.1:9000 <&3`)
	await(t, "a line at socat", func() bool {
		if said := c.tryWith("over here\n", "socat", "-u", "-", "UDP:127.0.0.1:9000"); said.code != 0 {
			t.Fatalf("socat: %s", said.err)
		}
		return c.count("listener.service", "over here") > 0
	})
	// And join, which says what it heard.
	c.run("systemd-run", "--quiet", "--unit=joined", "udprelay", "join", "--no-input", "127.0.0.1:9000")
	await(t, "a line at join", func() bool {
		if said := c.tryWith("and here\n", "udprelay", "join", "127.0.0.1:9000"); said.code != 0 {
			t.Fatalf("join: %s", said.err)
		}
		return c.count("joined.service", "and here") > 0
	})
}

func TestTheJournalHasPrioritiesAndOneTime(t *testing.T) {
	c := installed(t)
	c.write(configFile, "access:\n- from: any\n") // warned of
	c.run("systemctl", "start", service)
	process := c.show(service, "MainPID")
	c.run("systemctl", "stop", service)

	time := regexp.MustCompile(`\btime=|\d{4}-\d{2}-\d{2}|\d{2}:\d{2}:\d{2}`)
	priorities := make(map[string]string)
	for _, l := range c.journal(service) {
		if l.Process != process {
			continue // what systemd says
		}
		if time.MatchString(l.Message) || strings.Contains(l.Message, "level=") || strings.HasPrefix(l.Message, "<") {
			t.Errorf("want neither a time nor a level in the message, got %q", l.Message)
		}
		word, _, _ := strings.Cut(l.Message, " ")
		priorities[word] = l.Priority
	}
	for word, want := range map[string]string{"listening": "6", "sending": "6", "stopped": "6", configFile + ":2:3:": "4"} {
		if got := priorities[word]; got != want {
			t.Errorf("want priority %q for the line that begins with %q, got %q of %v", want, word, got, priorities)
		}
	}
	warnings := c.run("journalctl", "--no-pager", "--quiet", "-p", "warning", "-o", "cat", "--unit="+service)
	if !strings.Contains(warnings, configFile) || strings.Contains(warnings, "listening") {
		t.Errorf("want the warning and nothing else with journalctl -p warning, got:\n%s", warnings)
	}
}

func TestTheRelayLacksNothingInItsUnit(t *testing.T) {
	c := started(t)
	c.want(service, "WatchdogUSec=10s", "RestartUSec=200ms", "TimeoutStopUSec=10s", "FileDescriptorStoreMax=4")
	for _, l := range c.journal(service) {
		// How large buffers may be is a matter of this machine.
		if l.Priority < "5" && !strings.Contains(l.Message, " buffer is ") {
			t.Errorf("want no complaint, got %q", l.Message)
		}
	}
}

func TestStatusSaysWhatTheRelayDoes(t *testing.T) {
	c := started(t)
	if status := c.show(service, "StatusText"); !strings.Contains(status, "9000") || !strings.Contains(status, "peers") {
		t.Errorf("want the address and the peers, got %q", status)
	}
}

func TestStopGivesTheSocketUp(t *testing.T) {
	c := started(t)
	c.want(service, "NFileDescriptorStore=1")
	c.run("systemctl", "stop", service)
	c.want(service, "NFileDescriptorStore=0", "Result=success", "ActiveState=inactive")
	c.listenUDP(t, "0.0.0.0:9000").Close()
	if got := c.try("ls", "/run/udprelay"); got.code == 0 {
		t.Errorf("want the runtime directory gone, got %q in it", got.out)
	}
	c.run("systemctl", "start", service)
	c.want(service, "NFileDescriptorStore=1")
}
