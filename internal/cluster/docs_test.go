//go:build !nocluster

package cluster

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"udprelay/relay"
)

func clusterPage(t testing.TB) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/cluster.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// startDocumented runs a NATS server with the configuration that docs/cluster.md
// shows under that name, until the test ends. What is in changes is replaced
// before, in pairs; it listens on free ports of the loopback interface.
func startDocumented(t testing.TB, name string, changes ...string) *server.Server {
	t.Helper()
	found := regexp.MustCompile("(?s)```text\n# " + regexp.QuoteMeta(name) + "\\b[^\n]*\n(.*?)```").FindStringSubmatch(clusterPage(t))
	if found == nil {
		t.Fatalf("want %s in docs/cluster.md", name)
	}
	text := regexp.MustCompile(`listen: "[0-9.]+:[0-9]+"`).ReplaceAllString(found[1], `listen: "127.0.0.1:-1"`)
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			t.Fatalf("%s: want %q in it", name, changes[i])
		}
		text = strings.ReplaceAll(text, changes[i], changes[i+1])
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	options, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	options.NoSigs, options.NoLog = true, true
	s, err := server.NewServer(options)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	await(t, "the NATS server listens", func() bool { return s.ReadyForConnections(time.Millisecond) })
	return s
}

// withUser returns the URL for clients of s, with the user that the page has.
func withUser(s *server.Server) string {
	return strings.Replace(s.ClientURL(), "://", "://udprelay:PASSWORD@", 1)
}

// wantTalk checks that what one node brings the other hears, both ways.
func wantTalk(t *testing.T, one, two *testNode) {
	t.Helper()
	awaitNodes(t, one, two)
	for from, to := range map[*testNode]*testNode{one: two, two: one} {
		from.tap.bring(t, said("of "+from.options.Name))
		to.tap.wants(t, nobody+"of "+from.options.Name)
	}
}

func TestDocumentedPermissionsAreEnough(t *testing.T) {
	s := startDocumented(t, "nats-server.conf")
	options := Options{Room: "main", URL: withUser(s), Secret: []byte("secret")}
	list := startNodes(t, 2, options)
	wantTalk(t, list[0], list[1])
	for _, n := range list {
		if n.log.Has("Permissions") {
			t.Errorf("%s: want no subject that is not allowed; got %s", n.options.Name, n.log.String())
		}
	}

	refused := make(chan error, 10)
	conn, err := nats.Connect(withUser(s), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Publish("udprelay.other.data", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-refused:
		if !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
			t.Errorf("want another room refused; got %v", err)
		}
	case <-time.After(patience):
		t.Error("want another room refused; nothing is said")
	}
}

func TestDocumentedLeafNodes(t *testing.T) {
	t.Parallel() // it waits most of the time
	hub := startDocumented(t, "hub.conf")
	leafs, err := hub.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf := startDocumented(t, "leaf.conf", "hub.example:7422", fmt.Sprint("127.0.0.1:", leafs.LeafNode.Port))
	there := startNode(t, Options{Name: "there", URL: leaf.ClientURL()})
	here := startNode(t, Options{Name: "here", URL: withUser(hub)})
	wantTalk(t, here, there)
}

func TestDocumentedGateways(t *testing.T) {
	t.Parallel() // it waits most of the time
	const north, south = "north.example:7222", "south.example:7222"
	first := startDocumented(t, "north.conf", north, "127.0.0.1:1", south, "127.0.0.1:1") // of which it hears
	second := startDocumented(t, "north.conf", "name: north\n", "name: south\n",
		north, first.GatewayAddr().String(), south, "127.0.0.1:1")
	one := startNode(t, Options{Name: "one", URL: first.ClientURL()})
	two := startNode(t, Options{Name: "two", URL: second.ClientURL()})
	wantTalk(t, one, two)
}

// TestDocumentedFailures checks that the table of what can fail has each reason,
// and no other but two of the relay's own.
func TestDocumentedFailures(t *testing.T) {
	_, table, _ := strings.Cut(clusterPage(t), "\n## When something fails\n")
	table, _, _ = strings.Cut(table, "\n## ")
	got := make(map[string]bool)
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) != 7 {
			continue
		}
		for _, found := range regexp.MustCompile("`([a-z]+_?[a-z_]*)`").FindAllStringSubmatch(cells[3], -1) {
			got[found[1]] = true
		}
	}
	for _, reason := range Drops() {
		if !got[reason.String()] {
			t.Errorf("want %s among the failures in docs/cluster.md", reason)
		}
		delete(got, reason.String())
	}
	for _, other := range []string{relay.DropPeerRate.String(), relay.DropEgressLimit.String()} {
		delete(got, other)
	}
	if len(got) > 0 {
		t.Errorf("want no such reasons in docs/cluster.md: %v", got)
	}
}

// TestDocumentedSizes checks the figures of docs/cluster.md that follow from the
// form of messages and from what bounds the link.
func TestDocumentedSizes(t *testing.T) {
	page := strings.Join(strings.Fields(clusterPage(t)), " ")
	wants := func(format string, args ...any) {
		t.Helper()
		if text := fmt.Sprintf(format, args...); !strings.Contains(page, text) {
			t.Errorf("want %q in docs/cluster.md", text)
		}
	}
	thousands := func(n int) string {
		if n < 1000 {
			return fmt.Sprint(n)
		}
		return fmt.Sprintf("%d,%03d", n/1000, n%1000)
	}
	line := len(fmt.Sprintf("RMSG $G udprelay.main.data %d\r\n\r\n", maxMessage))
	wants("| %d | each message | NATS", line)
	wants("| %d | each message | header", headerBytes)
	wants("| %d | each message | tag", sealBytes)
	const each = 1 + 2 + 4 + 2 // the origin is another one, by IPv4
	wants("| %d, %d | each datagram", each, maxEntry)

	const ethernet, segment = 90, 1448
	var counts []string
	for _, size := range []int{50, 200, 1200} {
		count := (maxMessage-headerBytes-sealBytes-maxEntry-size)/(each+size) + 1
		counts = append(counts, thousands(count))
		lone := line + headerBytes + sealBytes + each + size
		full := float64(line+headerBytes+sealBytes+count*(each+size)) / float64(count)
		full *= float64(segment+ethernet) / segment
		wants("| %s | %s | %s | %s |", thousands(size), thousands(lone+ethernet), thousands(int(full+0.5)), thousands(size+8+20+38))
	}
	wants("%s, %s and %s datagrams", counts[0], counts[1], counts[2])
	wants("up to %s bytes", thousands(maxMessage))
	wants("`max_payload`** below %d", maxMessage)
	wants("a node remembers %d others", maxNodes)
	wants("%d nodes is the most", maxNodes+1)
	wants("`gone` after %v s", goneAfter.Seconds())
	wants("%d MiB for each route", maxPending>>20)
	wants("one and a half `cluster.queue` (%d MiB) it drops", maxPending>>20*3/4)
	wants("routes are cut after %.0f s if", writeDeadline.Seconds())
	wants("`cluster.queue` (%d MiB)", DefaultQueue>>20)

	for others, size := range map[int]int{1: 300, maxEchoes: 1200} {
		wants("some %s", thousands(size))
		if got := beatBytes(t, others); got < size*9/10 || got > size*11/10 {
			t.Errorf("want a heartbeat with %d others of some %d bytes; got %d", others, size, got)
		}
	}
	wants("from %d on", maxEchoes+1)
}

// beatBytes returns the bytes of a usual heartbeat, with those of NATS.
func beatBytes(t *testing.T, others int) int {
	b := beat{
		Name: "north.example", Version: "1.0.0", Peers: 1000, In: 12345.678901234, Out: 1234.5678901,
		At: int64(34 * time.Hour), Next: 1234567890, Shared: new(digest(1234567890123456789)), Echo: make(map[string]echo),
	}
	for i := range others {
		b.Echo[fmt.Sprintf("%016x", i)] = echo{At: int64(34 * time.Hour), Held: int64(time.Second / 2)}
	}
	body, err := json.Marshal(&b)
	if err != nil {
		t.Fatal(err)
	}
	return len("RMSG $G udprelay.main.control 1000\r\n\r\n") + headerBytes + len(body) + sealBytes
}
