//go:build systemd && linux

package systemdtest

import (
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestALowPort(t *testing.T) {
	c := installed(t)
	c.write(configFile, "listen: \":514\"\n")
	if got := c.try("systemctl", "start", service); got.code == 0 || c.count(service, "permission denied") == 0 {
		t.Errorf("want port 514 denied without the drop-in, and the journal to say so; got exit code %d", got.code)
	}
	c.run("systemctl", "stop", service)
	c.example("low-port.conf", "/etc/systemd/system/udprelay.service.d/low-port.conf")
	c.run("systemctl", "start", service)
	at := netip.MustParseAddrPort("127.0.0.1:514")
	r := c.receiver(t, "127.0.0.2", at)
	s := c.stream(t, at, r)
	s.goesOn(t, 100, r)
	c.run("systemctl", "restart", service)
	c.run("systemctl", "reload", service)
	s.goesOn(t, 100, r)
	r.wantAll(t, s.end())
}

func TestASecretThatOnlyRootReads(t *testing.T) {
	for _, test := range []struct{ example, dropIn, unit, config, secret string }{
		{"secret.conf", "udprelay.service.d/secret.conf", service, configFile, "/etc/udprelay/secret"},
		{"secret@.conf", "udprelay@.service.d/secret.conf", "udprelay@room.service", "/etc/udprelay/room.yaml", "/etc/udprelay/room.secret"},
	} {
		t.Run(test.unit, func(t *testing.T) {
			c := installed(t)
			c.write(test.config, "listen: \":9000\"\naccess:\n- from: loopback\n  join: secret\n")
			c.example(test.example, "/etc/systemd/system/"+test.dropIn)
			// Without it the relay does not start, and is not tried again.
			if got := c.try("systemctl", "start", test.unit); got.code == 0 {
				t.Error("want no start without the secret")
			}
			c.want(test.unit, "ActiveState=failed", "NRestarts=0")

			c.writeMode(test.secret, "0123456789abcdef0123456789abcdef\n", 0o600)
			c.run("systemctl", "start", test.unit)
			c.run("systemctl", "reload", test.unit)
			c.write("/root/other", "another secret that is long enough\n")
			c.run("systemd-run", "--quiet", "--unit=heard", "udprelay", "join", "--no-input", "--secret-file", test.secret, "127.0.0.1:9000")
			c.run("systemd-run", "--quiet", "--unit=refused", "udprelay", "join", "--no-input", "--secret-file", "/root/other", "127.0.0.1:9000")
			await(t, "a line at the one who knows the secret", func() bool {
				if said := c.tryWith("psst\n", "udprelay", "join", "--secret-file", test.secret, "127.0.0.1:9000"); said.code != 0 {
					t.Fatalf("join: exit code %d: %s", said.code, said.err)
				}
				return c.count("heard.service", "psst") > 0
			})
			if c.count("refused.service", "psst") != 0 {
				t.Error("want nothing for one that does not know the secret")
			}
		})
	}
}

func TestTheSocketOfSystemd(t *testing.T) {
	c := installed(t)
	c.activate()
	c.run("systemctl", "enable", "--now", "udprelay.socket")
	c.want(service, "ActiveState=inactive")

	// The first datagrams start the relay, which then relays them.
	first, second := c.receiver(t, "127.0.0.2", relayAt), c.receiver(t, "127.0.0.3", relayAt)
	s := c.stream(t, relayAt, first, second)
	s.goesOn(t, 200, first, second)
	c.want(service, "ActiveState=active", "Result=success")
	for range 3 {
		c.run("systemctl", "restart", service)
		s.goesOn(t, 200, first, second)
	}
	c.awaitSaved(stateFile, first, second)
	c.run("systemctl", "stop", service) // and the next datagram starts it again
	s.goesOn(t, 200, first, second)
	c.run("systemctl", "reload", service)
	s.goesOn(t, 200, first, second)
	n := s.end()
	first.wantAll(t, n)
	second.wantAll(t, n)
	c.want(service, "NRestarts=0", "ActiveState=active")
	if from := c.count(service, "the service manager"); from != 5 {
		t.Errorf("want the socket taken from systemd five times, got %d", from)
	}

	// It has a network of its own, with nothing in it, and no way out by the one
	// of the host either.
	mine, theirs := c.run("readlink", "/proc/1/ns/net"), c.run("readlink", "/proc/"+c.show(service, "MainPID")+"/ns/net")
	if mine == theirs {
		t.Error("want the relay in a network of its own")
	}
	if got := c.try("systemd-run", "--quiet", "--wait", "--property=IPAddressDeny=any", "socat", "-u", "/etc/hostname", "UDP:127.0.0.1:9"); got.code == 0 {
		t.Error("IPAddressDeny= has no effect here, so nothing is known of it")
	}
	// Systemd has made the buffers as large as the relay wants them.
	if got := c.run("ss", "-H", "-u", "-l", "-n", "-m", "sport = :9000"); !regexp.MustCompile(`rb16777216,.*tb16777216,`).MatchString(got) {
		t.Errorf("want buffers of twice 8 MiB, got %q", got)
	}
	if complaints := c.count(service, "buffer is"); complaints != 0 {
		t.Errorf("want no complaint of the buffers, got %d", complaints)
	}
}

// Each example says how to install it; that it is said for the file that it
// stands in is checked here, that it works above.
func TestExamplesSayHowToInstallThem(t *testing.T) {
	examples, err := os.ReadDir("../../systemd/examples")
	if err != nil {
		t.Fatal(err)
	}
	if len(examples) != 7 {
		t.Errorf("want 7 examples, got %d: is there a test for each?", len(examples))
	}
	for _, example := range examples {
		text := source(t, filepath.Join("systemd/examples", example.Name()))
		if example.Name() == "udprelay.socket" { // said in socket-activated.conf
			text = source(t, "systemd/examples/socket-activated.conf")
		}
		if !regexp.MustCompile(`(?m)^#   install .*\b` + regexp.QuoteMeta(example.Name()) + ` /etc/`).MatchString(text) {
			t.Errorf("%s: want a line that installs it", example.Name())
		}
		if !strings.HasPrefix(text, "# ") {
			t.Errorf("%s: want a comment that says when to use it", example.Name())
		}
	}
}

// With a configuration that is bad no datagram is read, and what waits starts
// the relay again and again. It is systemd that makes an end of that.
func TestTheSocketOfSystemdBeforeABadConfiguration(t *testing.T) {
	c := installed(t)
	c.activate()
	c.write(configFile, bad)
	c.run("systemctl", "start", "udprelay.socket")
	r := c.receiver(t, "127.0.0.2", relayAt)
	await(t, "the socket to be given up", func() bool { return c.show("udprelay.socket", "ActiveState") == "failed" })
	c.want("udprelay.socket", "Result=trigger-limit-hit")
	c.want(service, "ActiveState=failed", "ExecMainStatus=78")

	c.write(configFile, "listen: \":9000\"\n")
	c.run("systemctl", "restart", "udprelay.socket", service)
	other := c.receiver(t, "127.0.0.3", relayAt)
	r.send(t, "here again")
	await(t, "a datagram", func() bool { return other.got("here again") })
}
