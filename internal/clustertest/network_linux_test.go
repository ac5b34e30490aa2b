package clustertest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"udprelay/internal/nettest"
	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
)

// patience is how long a test waits for what must come.
const patience = testwait.Patience

// await waits until ok holds, and fails with what is wanted if it never does.
func await(t testing.TB, ok func() bool, want string, args ...any) {
	t.Helper()
	testwait.Until(t, ok, func() string { return fmt.Sprintf("want "+want, args...) })
}

// A network is hosts that a bridge connects.
type network struct {
	bridge *nettest.Machine
	hosts  []*host
}

// A host has the addresses 10.88.0.n and fd88::n, of which n is 1 for the first.
type host struct {
	*nettest.Machine
	name      string
	four, six string
	net       *network
	from      map[*host]passage
}

// newNetwork makes hosts. Their names are those of their cables, too.
func newNetwork(t testing.TB, names ...string) *network {
	t.Helper()
	testneed.Tool(t, "nft")
	n := &network{bridge: nettest.NewMachine(t)}
	n.bridge.IP(t, "link add bridge type bridge", "link set bridge up")
	for i, name := range names {
		h := &host{
			Machine: nettest.NewMachine(t), net: n, name: name,
			four: fmt.Sprintf("10.88.0.%d", i+1), six: fmt.Sprintf("fd88::%d", i+1),
			from: make(map[*host]passage),
		}
		n.bridge.IP(t,
			fmt.Sprintf("link add name %s type veth peer name eth netns %d", name, h.Thread()),
			fmt.Sprintf("link set dev %s master bridge up", name))
		h.IP(t, "link set eth up",
			"address add "+h.four+"/24 dev eth", "address add "+h.six+"/64 dev eth nodad")
		n.bridge.AwaitUp(t, name)
		h.AwaitUp(t, "eth")
		h.AwaitAddress(t, h.six)
		n.hosts = append(n.hosts, h)
	}
	return n
}

// cut unplugs the host, and heal plugs it in again.
func (h *host) cut(t testing.TB)  { t.Helper(); h.net.bridge.IP(t, "link set dev "+h.name+" down") }
func (h *host) heal(t testing.TB) { t.Helper(); h.net.bridge.IP(t, "link set dev "+h.name+" up") }

// A passage is what becomes of packets between two hosts.
type passage int

const (
	free    passage = iota
	stalled         // they are dropped, and nobody is told
	refused         // connections are refused, and all else is dropped
)

// between sets what becomes of packets between two hosts.
func between(t testing.TB, a, b *host, p passage) {
	t.Helper()
	a.from[b], b.from[a] = p, p
	a.firewall(t)
	b.firewall(t)
}

// firewall deals with what comes from other hosts.
func (h *host) firewall(t testing.TB) {
	t.Helper()
	var rules []string
	for other, p := range h.from {
		for _, from := range []string{"ip saddr " + other.four, "ip6 saddr " + other.six} {
			if p == refused {
				rules = append(rules, from+" tcp flags & rst == rst accept", from+" meta l4proto ipv6-icmp accept",
					from+" tcp flags & (syn | ack) == syn counter reject with tcp reset")
			}
			if p != free {
				rules = append(rules, from+" drop")
			}
		}
	}
	h.Feed(t, fmt.Sprintf("table inet test\ndelete table inet test\ntable inet test {\nchain in {\ntype filter hook input priority 0\n%s\n}\n}\n", strings.Join(rules, "\n")), "nft -f -")
}

var counter = regexp.MustCompile(`counter packets (\d+) `)

// refusals returns how many connections the host has refused since between was
// called last.
func (h *host) refusals(t testing.TB) (total int) {
	t.Helper()
	for _, found := range counter.FindAllStringSubmatch(h.Run(t, "nft list table inet test"), -1) {
		n, err := strconv.Atoi(found[1])
		if err != nil {
			t.Fatal(err)
		}
		total += n
	}
	return total
}
