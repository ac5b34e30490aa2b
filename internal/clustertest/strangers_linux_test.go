package clustertest

import (
	"fmt"
	"slices"
	"testing"

	"udprelay/internal/admin"
)

// A daemon without the secret, or with another one, gets no route to those who
// have it, hears nothing of them, and is not heard. Both sides say so.
func TestStrangersHearNothing(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, "a", "b", "none", "other")
	a := newDaemon(t, net.hosts[0], nil)
	toA := []string{net.hosts[0].four + ":6222"}
	b := newDaemon(t, net.hosts[1], section{"routes": toA})
	strangers := []*daemon{
		newDaemon(t, net.hosts[2], section{"routes": toA, "secret_file": nil, "insecure": true}),
		newDaemon(t, net.hosts[3], section{"routes": toA, "secret_file": writeSecret(t, "another secret, as long as the one")}),
	}
	var clients []*client
	for i, d := range []*daemon{a, b, strangers[0], strangers[1]} {
		d.start(t)
		c := newClient(t, d, net.hosts[i].name, "127.0.0.2")
		c.say(t, "")
		d.awaitPeers(t, 1)
		clients = append(clients, c)
	}
	insiders, outsiders := clients[:2], clients[2:]
	awaitNodes(t, a, b)
	awaitHeardBy(t, insiders, insiders)
	for i, d := range strangers {
		d.awaitStatus(t, "a route that is missing, with the reason", func(s *admin.Status) bool {
			return len(s.Cluster.Routes) == 1 && !s.Cluster.Routes[0].Connected && s.Cluster.Routes[0].Error != ""
		})
		d.awaitLog(t, `level=WARN .*cluster: .*secret`)
		a.awaitLog(t, `level=(WARN|ERROR) .*cluster: .*`+net.hosts[2+i].four)
	}
	for round := range 20 {
		for _, c := range outsiders {
			c.say(t, fmt.Sprintf("of-a-stranger,%d", round))
		}
		speech{count: 10, window: 1, most: 100, hears: insiders}.speak(t, insiders...).wait()
	}
	wantHeard(t, insiders, insiders)
	for i, d := range strangers {
		s := d.awaitStatus(t, "to give what its client said to the cluster", func(s *admin.Status) bool { return s.Cluster.Published == 20 })
		if s.Cluster.Received != 0 || len(s.Cluster.Nodes) != 0 {
			t.Errorf("want %s to hear of nobody; got %+v", d.name(), s.Cluster)
		}
		for _, c := range insiders {
			if heard := c.text("of-a-stranger,19") + outsiders[i].text("of-a-stranger,19"); heard != 0 || outsiders[i].of(c).count != 0 {
				t.Errorf("want %s and %s to hear nothing of each other", c.name, d.name())
			}
		}
	}
	awaitNodes(t, a, b)
	for _, d := range []*daemon{a, b} {
		s := d.status(t)
		if len(s.Cluster.Nodes) != 1 || slices.ContainsFunc(s.Cluster.Routes, func(r admin.ClusterRoute) bool { return r.Connected && r.Node != "a" && r.Node != "b" }) {
			t.Errorf("want %s to know of no stranger; got %+v", d.name(), s.Cluster)
		}
	}
}
