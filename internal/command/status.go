package command

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/urfave/cli/v2"

	"udprelay/internal/admin"
	"udprelay/internal/gateway"
	"udprelay/relay"
)

const statusDescription = `Says in a screenful what a running relay does: where it listens and since when,
how many peers there are, what passes in a second and in all, every reason for
which datagrams were dropped and what to do about it, the access rules that
refused some, how full the socket's buffers are, and why peers and bans cannot be
saved, if so. Pairs of peers that answer each other more than a thousand times per
second, perhaps in a loop, are named. If the relay is a node of a cluster, it says
how many other nodes are here, and what is wrong.

Datagrams that come in count once, those that go out once for each receiver. The
counts are since the start, those of rules since the last reload. Figures per
second are of the last full second.

With --watch it is shown again every second: on a terminal in place, elsewhere
one below the other, with --json one line each. When the relay goes away it says
so and goes on trying. Ctrl-C ends it, with exit code 0. If no relay answers the
first time, the exit code is 69.

` + clusterText + `

` + socketText + `

Examples:
  udprelay status
  udprelay status --watch
  udprelay status --json | jq .drops
  udprelay status --cluster --watch
  sudo udprelay status --socket /run/udprelay-NAME/control.sock   # the room NAME of udprelay@NAME.service`

func statusCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "status",
		Usage:       "say what a running relay does, and what it drops and why",
		Description: statusDescription,
		Flags: slices.Concat(viewFlags(), []cli.Flag{
			&cli.BoolFlag{Name: "cluster", Usage: "say what the relay knows of the other nodes of its cluster", DisableDefaultText: true},
		}, socketFlags()),
		Action: func(c *cli.Context) error {
			if err := noMoreThan(c, 0); err != nil {
				return err
			}
			ask := askStatus
			if c.Bool("cluster") {
				ask = clusterAsker()
			}
			return runView(c, view{world: world, ask: ask})
		},
	}
}

func askStatus(ctx context.Context, client admin.Client, _ int) (told, error) {
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	status, err := client.Status(ctx)
	return toldStatus(status), err
}

// A toldStatus is the status that a daemon tells.
type toldStatus admin.Status

func (s toldStatus) object() any { return admin.Status(s) }

// labelled returns a line with what it is about before it. Lines without a label
// belong to the one above.
func labelled(label, format string, args ...any) string {
	return fmt.Sprintf("%-9s %s", label, fmt.Sprintf(format, args...))
}

// lines returns the status; each line has a meaning of its own, so that grep
// finds it.
func (s toldStatus) lines(int) []string {
	var lines []string
	add := func(label, format string, args ...any) {
		lines = append(lines, labelled(label, format, args...))
	}
	ready := "ready"
	if !s.Ready {
		ready = "NOT READY: it starts or stops"
	}
	add("relay", "%s, version %s", ready, printable(s.Version))
	add("listens", "%s", printable(s.Listen))
	add("since", "%s, for %s", moment(s.Started.Time), lasting(s.Uptime.Duration))
	add("sends", "%s", printable(s.Way))
	most := "no limit"
	if s.Peers.Max > 0 {
		most = fmt.Sprintf("%s at most", counted(s.Peers.Max))
	}
	senders := ""
	if s.Peers.Senders > 0 { // they take no place
		senders = ", " + numbered(s.Peers.Senders, "sender", "senders")
	}
	add("peers", "%s learned (%s), %s static%s; %s may receive", counted(s.Peers.Learned), most, counted(s.Peers.Static), senders, counted(s.Peers.Receivers))
	add("", "%s joined, %s left", counted(s.Counters.Joined), counted(s.Counters.Left))
	if s.Peers.Quarantined > 0 {
		add("", "%s quarantined, cannot be reached: udprelay peers --state quarantined", counted(s.Peers.Quarantined))
	}
	if s.Peers.Banned > 0 {
		add("", "%s static and banned: udprelay peers --state banned", counted(s.Peers.Banned))
	}
	lines = append(lines, talkLines(s.Talks)...)
	for _, l := range s.Gateway.Listeners {
		add("gateway", "%s at %s: %s connected", printable(l.Transport), printable(l.Listen), counted(l.Clients))
	}
	for _, ended := range endedConnections(s.Gateway.Ended) {
		add("", "%s", ended)
	}
	lines = append(lines, clusterLines(&s.Cluster)...)
	r, n := s.Rates, s.Counters
	add("now", "%s in/s (%s/s), %s out/s (%s/s), %s dropped/s",
		shortRate(r.Received), bytesOf(shortRate(r.ReceivedBytes)), shortRate(r.Delivered), bytesOf(shortRate(r.DeliveredBytes)), shortRate(r.Dropped))
	add("in", "%s (%s): %s relayed, %s keep-alives", datagrams(n.Received), bytesOf(short(n.ReceivedBytes)), counted(n.Relayed), counted(n.KeepAlives))
	add("out", "%s (%s)", datagrams(n.Delivered), bytesOf(short(n.DeliveredBytes)))
	if n.Answers > 0 {
		add("answers", "%s (%s), to senders that have to prove their address", datagrams(n.Answers), bytesOf(short(n.AnswerBytes)))
	}
	if reports := mostFirst(nonzero(s.Reports)); reports != "" {
		add("reports", "from the network (ICMP) about datagrams sent: %s", reports)
	}
	if n.StrayErrors > 0 {
		add("stray", "%s errors of the network (ICMP), late or forged", counted(n.StrayErrors))
	}
	add("buffers", "%s; %s", buffer("receive", s.Buffers.ReceiveUsed, s.Buffers.Receive), buffer("send", s.Buffers.SendUsed, s.Buffers.Send))
	return slices.Concat(lines, stateLines(&s.State), s.dropLines(), s.ruleLines())
}

// nonzero returns the counts that are not 0.
func nonzero(counts map[string]uint64) map[string]uint64 {
	some := make(map[string]uint64)
	for what, n := range counts {
		if n > 0 {
			some[what] = n
		}
	}
	return some
}

// stateLines says that peers and bans cannot be saved, and what that means.
func stateLines(s *admin.State) (lines []string) {
	if s.Failing.Duration == 0 {
		return nil
	}
	loses := "a restart loses new bans and new silent peers"
	if s.InMemory {
		loses = "a restart loses nothing, a stop or a reboot does"
	}
	lines = append(lines, labelled("state", "NOT SAVED for %s: %s", lasting(s.Failing.Duration), loses),
		labelled("", "%s", printable(s.Error)))
	if s.Hint != "" {
		lines = append(lines, labelled("", "%s", printable(s.Hint)))
	}
	return lines
}

// talkLines names the pairs of peers that answer each other fastest, and says what
// to do about them.
func talkLines(talks []admin.Talk) (lines []string) {
	if len(talks) == 0 {
		return nil
	}
	shown := talks[:min(len(talks), mostNamed)]
	label := "talks"
	for _, talk := range shown {
		lines = append(lines, labelled(label, "%s and %s answer each other %s times/s", talk.A, talk.B, shortRate(float64(talk.PerSecond))))
		label = ""
	}
	if more := len(talks) - len(shown); more > 0 {
		lines = append(lines, labelled("", "and %s: udprelay status --json has all", numbered(more, "more pair", "more pairs")))
	}
	return append(lines, labelled("", "perhaps in a loop; limits.peer_datagrams_per_second bounds it"))
}

// endedConnections says how many connections to the gateways were refused and how
// many have ended, and why, the most frequent reason first.
func endedConnections(byReason map[string]uint64) (lines []string) {
	refused, ended := make(map[string]uint64), make(map[string]uint64)
	for reason, count := range byReason {
		if count > 0 {
			ended[reason] = count
		}
	}
	for _, reason := range gateway.Reasons() {
		if count := ended[reason.String()]; count > 0 && reason.Refused() {
			refused[reason.String()] = count
			delete(ended, reason.String())
		}
	}
	for _, part := range []struct {
		what    string
		reasons map[string]uint64
	}{{"refused", refused}, {"ended", ended}} {
		var total uint64
		for _, count := range part.reasons {
			total += count
		}
		if total > 0 {
			lines = append(lines, fmt.Sprintf("%s connections %s: %s", counted(total), part.what, mostFirst(part.reasons)))
		}
	}
	return lines
}

func buffer(name string, used, size int) string {
	if size == 0 {
		return name + ": the system does not say"
	}
	return fmt.Sprintf("%s: %s of %s used", name, memory(used), memory(size))
}

// dropHints say of each reason what it means, or what to do.
var dropHints = map[relay.Drop]string{
	relay.DropRule:             "no access rule lets the sender in",
	relay.DropBanned:           "the sender is banned",
	relay.DropTableFull:        "a new sender, and peers.max is reached",
	relay.DropAddressFull:      "over peers.max_per_address",
	relay.DropNeverAPeer:       "from port 0, multicast or the relay itself",
	relay.DropMayNotSend:       "its rule lets the sender only receive",
	relay.DropUnproven:         "the sender has to prove its address first",
	relay.DropBadProof:         "proof forged, late, or of another secret",
	relay.DropJoinRate:         "over peers.joins_per_second or _per_address",
	relay.DropPeerRate:         "the sender is over limits.peer_*_per_second",
	relay.DropStorm:            "a loop: the sender returns what it is sent",
	relay.DropWithheld:         "a few, to find out if a peer returns them",
	relay.DropOverload:         "set limits.peer_datagrams_per_second, or add CPU",
	relay.DropReceiveQueueFull: "raise socket.receive_buffer, or add CPU",
	relay.DropEgressLimit:      "over limits.egress_bytes_per_second",
	relay.DropQuarantined:      "the receiver cannot be reached",
	relay.DropTooBig:           "longer than the way to the receiver carries",
	relay.DropFiltered:         "a firewall on this machine forbids it",
	relay.DropUnreachable:      "no route to the receiver",
	relay.DropNoBuffer:         "send buffer, or gc_thresh3, too small",
	relay.DropQueueFull:        "a client of a gateway that is too slow",
	relay.DropDisconnected:     "the connection ended before it could leave",
	relay.DropStopped:          "the relay stopped before it could leave",
	relay.DropSendFailed:       "another error of the kernel; see the log",
}

// A dropCount is how many datagrams were dropped for a reason.
type dropCount struct {
	reason, hint string
	count        uint64
	out          bool
}

// dropped returns the reasons that are not 0, in the order in which a datagram
// meets them. At the end are those that only another version knows.
func (s toldStatus) dropped() (counts []dropCount) {
	rest := maps.Clone(s.Drops)
	for _, drop := range relay.Drops() {
		reason := drop.String()
		if count := rest[reason]; count > 0 {
			counts = append(counts, dropCount{reason, dropHints[drop], count, drop.OnTheWayOut()})
		}
		delete(rest, reason)
	}
	for _, reason := range slices.Sorted(maps.Keys(rest)) {
		if rest[reason] > 0 {
			counts = append(counts, dropCount{printable(reason), "", rest[reason], false})
		}
	}
	return counts
}

func (s toldStatus) dropLines() []string {
	counts := s.dropped()
	if len(counts) == 0 {
		return []string{"dropped   nothing"}
	}
	var in, out uint64
	columns := []column{{}, {right: true}, {}}
	for _, c := range counts {
		if c.out {
			out += c.count
		} else {
			in += c.count
		}
		columns[0].cells = append(columns[0].cells, "  "+c.reason)
		columns[1].cells = append(columns[1].cells, counted(c.count))
		columns[2].cells = append(columns[2].cells, c.hint)
	}
	heading := fmt.Sprintf("dropped   %s on the way in, %s on the way out", counted(in), counted(out))
	return append([]string{heading}, layOut(columns, 0)[1:]...)
}

// mostRules is how many rules are shown, so that a screen has room for the rest.
const mostRules = 10

// ruleLines returns the rules that have refused datagrams. Of many they are
// those that have refused most.
func (s toldStatus) ruleLines() []string {
	type refusing struct {
		name, does string
		count      uint64
	}
	var rules []refusing
	var total uint64
	for i, rule := range s.Rules {
		if rule.Refused == 0 {
			continue
		}
		total += rule.Refused
		if rule.From == "" {
			rules = append(rules, refusing{"no rule matched", "add one to let the sender in", rule.Refused})
			continue
		}
		does := "may " + rule.May
		if rule.Join != "" && rule.May != "nothing" {
			does += ", join " + rule.Join
		}
		rules = append(rules, refusing{fmt.Sprintf("access[%d] from %s", i, rule.From), does, rule.Refused})
	}
	if len(rules) == 0 {
		return []string{"rules     refused nobody"}
	}
	lines := []string{fmt.Sprintf("rules     refused %s since the last reload", datagrams(total))}
	left := 0
	if len(rules) > mostRules {
		left = len(rules) - mostRules
		slices.SortStableFunc(rules, func(a, b refusing) int { return cmp.Compare(b.count, a.count) })
		rules = rules[:mostRules]
	}
	columns := []column{{}, {right: true}, {}}
	for _, rule := range rules {
		columns[0].cells = append(columns[0].cells, "  "+printable(rule.name))
		columns[1].cells = append(columns[1].cells, counted(rule.count))
		columns[2].cells = append(columns[2].cells, printable(rule.does))
	}
	lines = append(lines, layOut(columns, 0)[1:]...)
	if left > 0 {
		lines = append(lines, fmt.Sprintf("  and %s more; udprelay status --json has all", counted(left)))
	}
	return lines
}
