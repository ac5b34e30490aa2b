//go:build systemd && linux

package systemdtest

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"udprelay/internal/admin"
)

// Two services in their sandboxes are one relay, with a secret that only root
// reads, as docs/operations.md has it.
func TestServicesAreOneRelay(t *testing.T) {
	c := installed(t)
	_, text, _ := strings.Cut(source(c, "docs/operations.md"), "udprelay.service.d/cluster.conf`:\n\n```ini\n")
	dropIn, _, found := strings.Cut(text, "```")
	if !found {
		t.Fatal("want the drop-in in docs/operations.md")
	}
	const south = "udprelay@south.service"
	for unit, config := range map[string]string{
		service: "listen: \":9000\"\ncluster:\n  name: north\n  listen: \":6222\"\n",
		south:   "listen: \":9001\"\nadmin:\n  http: none\ncluster:\n  name: south\n  listen: \":6223\"\n  routes: [\"127.0.0.1:6222\"]\n",
	} {
		file := configFile
		if unit == south {
			file = "/etc/udprelay/south.yaml"
		}
		c.write(file, config)
		c.dropIn(unit, "cluster.conf", dropIn)
	}
	// Without the secret there is no start, and none is tried again.
	if got := c.try("systemctl", "start", service); got.code == 0 {
		t.Error("want no start without the secret")
	}
	c.writeMode("/etc/udprelay/cluster.secret", "0123456789abcdef0123456789abcdef\n", 0o600)
	c.run("systemctl", "start", service, south)

	status := func() (cluster admin.Cluster) {
		if err := json.Unmarshal([]byte(c.run("udprelay", "status", "--cluster", "--json")), &cluster); err != nil {
			t.Fatal(err)
		}
		return cluster
	}
	other := func(not string) (id string) {
		await(t, "the other service", func() bool {
			for _, n := range status().Nodes {
				if n.Name == "south" && n.State == "here" && n.ID != not {
					id = n.ID
				}
			}
			return id != ""
		})
		return id
	}
	before := other("")
	if !status().Sealed {
		t.Error("want what they say sealed")
	}
	atNorth := c.receiver(t, "127.0.0.2", relayAt)
	southAt := netip.MustParseAddrPort("127.0.0.1:9001")
	atSouth := c.receiver(t, "127.0.0.3", southAt)
	s := c.stream(t, relayAt, atNorth, atSouth)
	s.goesOn(t, 200, atNorth, atSouth)
	c.run("systemctl", "reload", service)
	s.goesOn(t, 200, atNorth, atSouth)
	s.end() // what comes from another node while one restarts is lost there
	c.run("systemctl", "restart", south)
	other(before)
	atNorth, atSouth = c.receiver(t, "127.0.0.4", relayAt), c.receiver(t, "127.0.0.5", southAt)
	s = c.stream(t, relayAt, atNorth, atSouth)
	s.goesOn(t, 200, atNorth, atSouth)
	s.end()
	for _, unit := range []string{service, south} {
		c.want(unit, "ActiveState=active", "Result=success", "NRestarts=0")
	}
}
