package command

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/admin"
)

const (
	// defaultPeers is how many peers are shown if nobody says how many.
	defaultPeers = 50

	// peersAtOnce is how many the API gives in one answer at most.
	peersAtOnce = 1000
)

var peersDescription = `Lists the peers of a running relay, in the order in which they joined: address,
name (of static peers, as configured), state, when the last datagram came from
it, datagrams from it and to it in a second (smoothed over some seconds) and
since it joined, and how many of its datagrams, both ways, were dropped. A wide
terminal gets bytes, reasons of drops and more; so does a file or a pipe, unless
COLUMNS in the environment says how wide it is.

States: ok; silent, not heard for three quarters of the expiry; quarantined, it
cannot be reached and nothing is sent to it; cut, it returns what it is sent, and
that is dropped; overloading, it sends more than its fair share of what the relay
can handle; failing, what was sent to it lately could not leave this machine (no
route, a firewall, or a client of a gateway that is too slow), or the network
reports that it did not arrive; banned.

An address that may only send, from whatever port, is a sender and not a peer. It
is listed after the peers, with * as its port.

Numbers have SI prefixes: 1.23k is 1,230. INB and OUTB are payload bytes. --json
has all exactly, as the API tells it, in one object.

Fields to sort by: ` + wrapped(admin.SortFields()) + `.

With --watch it is shown again every second: on a terminal in place, with as many
peers as it has lines for, elsewhere one below the other, with --json one line
each. When the relay goes away it says so and goes on trying. Ctrl-C ends it,
with exit code 0. If no relay answers the first time, the exit code is 69.

` + clusterPeersText + `

` + socketText + `

Examples:
  udprelay peers
  udprelay peers --watch --sort -received_rate    # who sends most
  udprelay peers --state quarantined --limit 0    # all that cannot be reached
  udprelay peers --search 192.0.2. --json | jq '.peers[].address'
  udprelay peers --cluster --search 192.0.2.7     # which node it has joined`

// wrapped returns a list of words in lines of a help page.
func wrapped(words []string) string {
	text, line := "", len("Fields to sort by: ")
	for i, word := range words {
		if i > 0 {
			text += ","
			if line += len(word) + 2; line > 78 {
				text, line = text+"\n", len(word)
			} else {
				text += " "
			}
		} else {
			line += len(word)
		}
		text += word
	}
	return text
}

func peersCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "peers",
		Usage:       "list the peers of a running relay",
		Description: peersDescription,
		Flags: slices.Concat(viewFlags(), []cli.Flag{
			&cli.StringFlag{Name: "sort", Usage: "sort by `FIELD`, such as received; -FIELD: the largest first"},
			&cli.StringFlag{Name: "search", Usage: "only peers with `TEXT` in their address or name"},
			&cli.StringFlag{Name: "state", Usage: "only peers in the state `WORD`"},
			&cli.StringFlag{Name: "kind", Usage: "only peers of the kind `WORD`: static, learned, connected or sender"},
			&cli.BoolFlag{Name: "cluster", Usage: "the peers of all nodes of the relay's cluster", DisableDefaultText: true},
			&cli.IntFlag{Name: "limit", Value: defaultPeers, Usage: "`NUMBER` of peers at most; 0: all"},
		}, socketFlags()),
		Action: func(c *cli.Context) error {
			if err := noMoreThan(c, 0); err != nil {
				return err
			}
			query, err := peersQuery(c)
			if err != nil {
				return err
			}
			limit, ask := c.Int("limit"), askPeers
			if c.Bool("cluster") {
				ask = askClusterPeers
			}
			return runView(c, view{world: world, ask: func(ctx context.Context, client admin.Client, lines int) (told, error) {
				return ask(ctx, client, query, limit, lines)
			}})
		},
	}
}

// peersQuery returns what the flags ask for, but for the limit.
func peersQuery(c *cli.Context) (admin.Query, error) {
	field, descending := strings.CutPrefix(c.String("sort"), "-")
	if descending && field == "" {
		return admin.Query{}, &usageFailure{"--sort - names no field", helpHint(c)}
	}
	query := admin.Query{Sort: field, Descending: descending, Search: c.String("search"), State: c.String("state"), Kind: c.String("kind")}
	if _, err := admin.ParseQuery(query.Values()); err != nil {
		return query, &usageFailure{"--" + err.Error(), helpHint(c)}
	}
	if limit := c.Int("limit"); limit < 0 {
		return query, &usageFailure{fmt.Sprintf("--limit %d: want 0 or more", limit), helpHint(c)}
	}
	return query, nil
}

// aroundPeers is how many lines a table of peers has besides the peers.
const aroundPeers = 2

// shown returns how many peers of limit, 0: of all, are shown in so many lines,
// 0: any number, besides which there are others.
func shown(limit, lines, others int) int {
	if lines == 0 {
		return limit
	}
	room := max(lines-others, 1)
	if limit == 0 {
		return room
	}
	return min(limit, room)
}

// askPeers asks for no more than limit peers, 0: for all.
func askPeers(ctx context.Context, client admin.Client, query admin.Query, limit, lines int) (told, error) {
	page, err := askPages(ctx, client.Peers, query, shown(limit, lines, aroundPeers))
	if err != nil {
		return nil, err
	}
	return toldPeers{PeerPage: page, when: time.Now()}, nil
}

// askPages has ask ask for no more than limit peers, 0: for all, in as many pages
// as it takes. Peers that come and go meanwhile can be missing, but none is there
// twice.
func askPages(ctx context.Context, ask func(context.Context, admin.Query) (admin.PeerPage, error), query admin.Query, limit int) (all admin.PeerPage, err error) {
	askPage := func() (admin.PeerPage, error) {
		ctx, cancel := context.WithTimeout(ctx, askWithin)
		defer cancel()
		return ask(ctx, query)
	}
	type place struct {
		address   netip.AddrPort
		transport string
	}
	seen := map[place]bool{}
	for {
		query.Limit = peersAtOnce
		if limit > 0 {
			query.Limit = min(limit-len(all.Peers), peersAtOnce)
		}
		page, err := askPage()
		if err != nil {
			return admin.PeerPage{}, err
		}
		all.Total, all.Matched = page.Total, page.Matched
		for _, p := range page.Peers {
			if at := (place{p.Address, p.Transport}); !seen[at] {
				seen[at] = true
				all.Peers = append(all.Peers, p)
			}
		}
		query.Offset += len(page.Peers)
		if len(page.Peers) == 0 || query.Offset >= page.Matched || limit > 0 && len(all.Peers) >= limit {
			return all, nil
		}
	}
}

// A toldPeers is what a daemon tells of its peers.
type toldPeers struct {
	admin.PeerPage
	when time.Time
	on   string // what they are the peers of, behind the sum; "": one relay
}

func (t toldPeers) object() any {
	if t.Peers == nil {
		t.Peers = []admin.Peer{}
	}
	return t.PeerPage
}

// lines returns a table that fits into width, and how many peers there are.
func (t toldPeers) lines(width int) []string {
	text := tableOf(t.Peers)
	const number = 5 // places
	count := func(title string, rank int, n func(*admin.Peer) uint64) column {
		return right(text(title, rank, number, func(p *admin.Peer) string { return short(n(p)) }))
	}
	rate := func(title string, rank int, n func(*admin.Peer) float64) column {
		return right(text(title, rank, number, func(p *admin.Peer) string { return shortRate(n(p)) }))
	}
	heard := right(text("HEARD", 3, len("59s ago"), func(p *admin.Peer) string {
		if p.Heard == nil {
			return "never"
		}
		return ago(p.Heard.Time, t.when)
	}))
	joined := right(text("JOINED", 12, len("59s ago"), func(p *admin.Peer) string { return ago(p.Joined.Time, t.when) }))
	columns := []column{text("ADDRESS", 0, len("192.0.2.255:65535"), func(p *admin.Peer) string { return admin.AddressText(p.Address) })}
	if slices.ContainsFunc(t.Peers, func(p admin.Peer) bool { return p.Node != "" }) {
		nodes := text("NODE", 0, 0, func(p *admin.Peer) string { return printable(p.Node) })
		nodes.shortest = 8
		columns = append(columns, nodes)
	}
	if slices.ContainsFunc(t.Peers, func(p admin.Peer) bool { return nameOf(&p) != "" }) {
		names := text("NAME", 5, 0, nameOf)
		names.shortest = 12
		columns = append(columns, names)
	}
	if slices.ContainsFunc(t.Peers, func(p admin.Peer) bool { return p.Connected() }) {
		columns = append(columns, text("VIA", 6, 0, func(p *admin.Peer) string { return printable(p.Transport) }))
	}
	reasons := text("DROPPED FOR", 13, 0, reasonsOf)
	reasons.shortest = 20
	columns = append(columns,
		text("STATE", 2, 0, func(p *admin.Peer) string { return printable(p.State) }),
		heard,
		rate("IN/S", 1, func(p *admin.Peer) float64 { return p.ReceivedRate }),
		rate("OUT/S", 1, func(p *admin.Peer) float64 { return p.DeliveredRate }),
		rate("INB/S", 8, func(p *admin.Peer) float64 { return p.ReceivedBytesRate }),
		rate("OUTB/S", 8, func(p *admin.Peer) float64 { return p.DeliveredBytesRate }),
		count("IN", 7, func(p *admin.Peer) uint64 { return p.Received }),
		count("OUT", 6, func(p *admin.Peer) uint64 { return p.Delivered }),
		count("INB", 9, func(p *admin.Peer) uint64 { return p.ReceivedBytes }),
		count("OUTB", 9, func(p *admin.Peer) uint64 { return p.DeliveredBytes }),
		count("DROPS", 4, func(p *admin.Peer) uint64 { return p.DroppedTotal }),
		text("BY", 11, 0, func(p *admin.Peer) string { return printable(p.JoinedBy) }),
		text("MAY", 10, 0, func(p *admin.Peer) string { return printable(p.May) }),
		joined,
		reasons)
	if slices.ContainsFunc(t.Peers, func(p admin.Peer) bool { return len(p.Reported) > 0 }) {
		reports := text("NETWORK REPORTS", 14, 0, func(p *admin.Peer) string { return mostFirst(p.Reported) })
		reports.shortest = 20
		columns = append(columns, reports)
	}
	last := fmt.Sprintf("%s of %s peers", counted(len(t.Peers)), counted(t.Total))
	if len(t.Peers) < t.Matched && t.Matched < t.Total {
		last = fmt.Sprintf("%s of %s that match, of %s peers", counted(len(t.Peers)), counted(t.Matched), counted(t.Total))
	}
	return append(layOut(columns, width), last+t.on)
}

// nameOf returns the name of a peer, if it says more than its address.
func nameOf(p *admin.Peer) string {
	if p.Name == p.Address.String() {
		return ""
	}
	return printable(p.Name)
}

// reasonsOf returns why datagrams from or to a peer were dropped, the most
// frequent reason first.
func reasonsOf(p *admin.Peer) string { return mostFirst(p.Dropped) }

// mostFirst writes how often there was each reason, the most frequent one first.
func mostFirst(counts map[string]uint64) string {
	reasons := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	var texts []string
	for _, reason := range reasons {
		texts = append(texts, fmt.Sprintf("%s %s", printable(reason), short(counts[reason])))
	}
	return strings.Join(texts, ", ")
}
