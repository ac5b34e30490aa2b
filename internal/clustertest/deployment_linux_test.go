package clustertest

import (
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"udprelay/internal/admin"
)

// startNATS runs a NATS server on the loopback interface that is no node's.
func startNATS(t *testing.T) (url string) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("want a NATS server that listens")
	}
	return s.ClientURL()
}

// Daemons of two secrets, and programs that are none, share a NATS deployment and
// a room. What is not for a daemon is dropped and counted, by reason.
func TestWhatOthersSayInADeploymentIsCounted(t *testing.T) {
	t.Parallel()
	url := startNATS(t)
	start := func(name, secret string) (*daemon, *client) {
		d := newDaemon(t, nil, section{"name": name, "url": url, "room": "skew", "secret_file": writeSecret(t, secret)})
		d.start(t)
		c := newClient(t, d, name, "127.0.0.2")
		c.say(t, "")
		d.awaitPeers(t, 1)
		return d, c
	}
	a, one := start("a", secret)
	b, two := start("b", secret)
	awaitNodes(t, a, b)
	awaitHeardBy(t, []*client{one, two}, []*client{one, two})
	if drops := a.status(t).Cluster.Drops; drops["unknown_version"]+drops["malformed"]+drops["wrong_secret"] != 0 {
		t.Fatalf("want nothing wrong yet; got %v", drops)
	}

	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	header := "UDR\x01\x01\x00\x00\x01NODENODE\x00\x00\x00\x00\x00\x00\x00\x01" // of one datagram
	for _, message := range []string{
		"UDR\x02", "UDR\x00", "UDR\xff" + header[4:] + "\x01\x00\x04text", // later versions, and one before
		"", "hello, is there anybody?", header[:23], "UDR\x01\x01\x02" + header[6:], header[:16] + "\x00\x00\x00\x00\x00\x00\x00\x00",
		header + "\x01\x00\x04text",                               // with nothing wrong, but not sealed
		"UDR\x01\x01\x01" + header[6:] + "\x01\x00\x04text" + pad, // as if sealed
	} {
		for _, subject := range []string{"udprelay.skew.data", "udprelay.skew.control"} {
			if err := conn.Publish(subject, []byte(message)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, d := range []*daemon{a, b} {
		d.awaitStatus(t, "6 messages of other versions, 10 malformed, 4 of a wrong secret", func(s *admin.Status) bool {
			drops := s.Cluster.Drops
			return drops["unknown_version"] == 6 && drops["malformed"] == 10 && drops["wrong_secret"] == 4
		})
	}

	c, three := start("c", "another secret, as long as the one")
	for _, d := range []*daemon{a, b} {
		d.awaitStatus(t, "what c says refused", func(s *admin.Status) bool { return s.Cluster.Drops["wrong_secret"] > 4 })
	}
	c.awaitStatus(t, "what a and b say refused", func(s *admin.Status) bool { return s.Cluster.Drops["wrong_secret"] > 1 })
	three.say(t, "of-a-stranger")
	c.awaitStatus(t, "to give what its client said to the cluster", func(s *admin.Status) bool { return s.Cluster.Published == 1 })
	speech{count: 1000, window: 16, most: 1400, hears: []*client{one, two}}.speak(t, one, two).wait()
	wantHeard(t, []*client{one, two}, []*client{one, two})
	for _, l := range []*client{one, two} {
		if l.text("of-a-stranger") != 0 || l.text("text") != 0 || three.of(l).count != 0 {
			t.Errorf("want %s and the strangers to hear nothing of each other", l.name)
		}
	}
	if s := c.status(t); len(s.Cluster.Nodes) != 0 || s.Cluster.Received != 0 {
		t.Errorf("want c to hear of nobody; got %+v", s.Cluster)
	}
	awaitNodes(t, a, b)
}

// pad is as long as the tag of a sealed message.
const pad = "0123456789abcdef"
