package command

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"udprelay/internal/admin"
)

const banDescription = `Keeps an address, or all of a prefix, out of a running relay from now on, whatever the
rules of access say: learned peers there are gone at once and cannot join, static
peers there stay but may not send and get nothing. A ban holds for all ports. It
outlives reloads and, if the relay has a state file, restarts. A ban of the same
prefix takes the place of the one before; "udprelay unban" ends it.

With --cluster it holds on all nodes of the cluster that the relay is a node of. Who
has it after three seconds is said, and who has not: those take it when they are heard
again. Without --cluster it holds on this relay alone.

DURATION is such as 30m, 12h, 7d or 1d12h: weeks (w), days (d), hours (h), minutes
(m) and seconds (s), from 1s to 36500d.

` + socketText + `

Examples:
  sudo udprelay ban --for 1h --reason "it floods the room" 192.0.2.7
  sudo udprelay ban 2001:db8::/64
  sudo udprelay ban --cluster --for 1h 192.0.2.7
  sudo udprelay ban --list
  sudo udprelay ban --list --json | jq '.bans[].from'`

func banCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "ban",
		Usage:       "keep addresses out of a running relay, or list who is kept out",
		ArgsUsage:   "[ADDRESS|PREFIX]",
		Description: banDescription,
		Flags: askFlags(
			&cli.StringFlag{Name: "for", Usage: "end the ban after `DURATION`; without it, never"},
			&cli.StringFlag{Name: "reason", Usage: "what it is for, `TEXT` of at most 256 bytes"},
			clusterFlag("ban on all nodes of the cluster"),
			&cli.BoolFlag{Name: "list", Usage: "list the bans", DisableDefaultText: true},
		),
		Action: func(c *cli.Context) error {
			if c.Bool("list") {
				return listBans(c, world)
			}
			return ban(c, world)
		},
	}
}

// clusterFlag is that of what can be done on all nodes.
func clusterFlag(usage string) cli.Flag {
	return &cli.BoolFlag{Name: "cluster", Usage: usage, DisableDefaultText: true}
}

func ban(c *cli.Context, world World) error {
	prefix, err := oneArgument(c, "an address or a prefix")
	if err != nil {
		return err
	}
	if _, err := admin.ParsePrefix(prefix); err != nil {
		return &usageFailure{err.Error(), helpHint(c)}
	}
	cluster := c.Bool("cluster")
	var duration time.Duration
	if c.IsSet("for") {
		if duration, err = parseBanTime(c.String("for")); err != nil {
			return &usageFailure{"--for " + err.Error(), helpHint(c)}
		}
	}
	reason := c.String("reason")
	if err := admin.CheckReason(reason); err != nil {
		return &usageFailure{"--reason: " + err.Error(), helpHint(c)}
	}
	return askOnce(c, world, func(ctx context.Context, client admin.Client) (admin.Banned, error) {
		banned, err := client.Ban(ctx, prefix, duration, reason, cluster)
		if err == nil {
			warnOfBan(world.Stderr, banned, cluster)
		}
		return banned, err
	}, func(w io.Writer, banned admin.Banned, _ time.Time) error {
		return writeBanned(w, banned, cluster)
	})
}

// warnOfBan says what is hardly meant.
func warnOfBan(stderr io.Writer, banned admin.Banned, cluster bool) {
	if from := banned.Ban.From; from.Bits() == 0 {
		family := "IPv4"
		if from.Addr().Is6() {
			family = "IPv6"
		}
		unban := "unban"
		if cluster {
			unban += " --cluster"
		}
		fmt.Fprintf(stderr, "udprelay: warning: %v is every %s address, this machine's too; udprelay %s %v ends it\n", from, family, unban, from)
	}
	switch {
	case banned.Kept:
	case cluster:
		fmt.Fprintln(stderr, "udprelay: warning: this relay has no state file that it can write (state.file): after a restart it has the ban only if another node tells it")
	default:
		fmt.Fprintln(stderr, "udprelay: warning: the ban ends when the relay does, for it has no state file that it can write (state.file)")
	}
}

// writeBanned writes for a person what a ban has done.
func writeBanned(w io.Writer, banned admin.Banned, cluster bool) error {
	text := fmt.Sprintf("%v is banned %s", banned.Ban.From, untilWhen(banned.Ban))
	if until := banned.Ban.Until; until != nil {
		text += " (" + roughly(until.Sub(banned.Ban.Since.Time)) + ")"
	}
	var done []string
	if n := banned.Removed; n > 0 {
		done = append(done, numbered(n, "learned peer is out", "learned peers are out"))
	}
	if n := banned.Static; n > 0 {
		done = append(done, numbered(n, "static peer gets nothing", "static peers get nothing"))
	}
	if done == nil {
		done = []string{"no peer was there"}
		if cluster {
			done[0] = "no peer of this relay was there"
		}
	}
	text += ": " + strings.Join(done, ", ") + "\n"
	if cluster {
		text += reachedLines(banned.Reached, "it is banned")
	}
	_, err := io.WriteString(w, text)
	return err
}

// reachedLines says which nodes of the cluster have what was done, in lines of
// their own.
func reachedLines(reached admin.Reached, done string) string {
	if len(reached.Nodes)+len(reached.Missing) == 0 {
		return "  no other node of the cluster is there; those that come will have it\n"
	}
	text := ""
	if len(reached.Nodes) > 0 {
		text += "  " + done + " on " + namesOf(reached.Nodes, mostShown) + "\n"
	}
	if len(reached.Missing) > 0 {
		text += "  not yet on " + namesOf(reached.Missing, mostShown) + ": when heard again\n"
	}
	return text
}

// namesOf returns the names of nodes in a sentence, of many only the first.
func namesOf(nodes []string, most int) string {
	var shown []string
	for _, name := range nodes[:min(len(nodes), most)] {
		shown = append(shown, printable(name))
	}
	text := strings.Join(shown, ", ")
	if more := len(nodes) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %s more", counted(more))
	}
	return text
}

// untilWhen says when a ban ends.
func untilWhen(b admin.Ban) string {
	if b.Until == nil {
		return "for ever"
	}
	return "until " + moment(b.Until.Time)
}

// roughly returns a duration with the two largest of its units, without the
// second one if that is 0: 1h, and 1h 30m.
func roughly(d time.Duration) string {
	text := lasting(d)
	if first, second, _ := strings.Cut(text, " "); strings.HasPrefix(second, "0") {
		return first
	}
	return text
}

func listBans(c *cli.Context, world World) error {
	if c.IsSet("for") || c.IsSet("reason") || c.IsSet("cluster") {
		return &usageFailure{"--list excludes --for, --reason and --cluster", helpHint(c)}
	}
	if err := noMoreThan(c, 0); err != nil {
		return err
	}
	return askOnce(c, world, func(ctx context.Context, client admin.Client) (admin.BanList, error) {
		return client.Bans(ctx)
	}, func(w io.Writer, list admin.BanList, now time.Time) error {
		width, _ := sizeOf(world)
		_, err := io.WriteString(w, strings.Join(banLines(list, width, now), "\n")+"\n")
		return err
	})
}

// banLines returns a table of bans that fits into width, and how many there are.
func banLines(list admin.BanList, width int, now time.Time) []string {
	if len(list.Bans) == 0 {
		return []string{"nobody is banned"}
	}
	from, since, until := column{title: "FROM"}, column{title: "SINCE", right: true, rank: 3}, column{title: "UNTIL", rank: 1}
	left, reason := column{title: "LEFT", right: true}, column{title: "REASON", shortest: 10, rank: 2}
	cluster := column{title: "CLUSTER", shortest: 7}
	for _, b := range list.Bans {
		cluster.cells = append(cluster.cells, cmp.Or(printable(b.Cluster), "-"))
		from.cells = append(from.cells, b.From.String())
		since.cells = append(since.cells, ago(b.Since.Time, now))
		reason.cells = append(reason.cells, printable(b.Reason))
		if b.Until == nil {
			until.cells = append(until.cells, "for ever")
			left.cells = append(left.cells, "-")
			continue
		}
		until.cells = append(until.cells, moment(b.Until.Time))
		left.cells = append(left.cells, roughly(b.Until.Sub(now)))
	}
	columns := []column{from, since, until, left, reason}
	if slices.ContainsFunc(list.Bans, func(b admin.Ban) bool { return b.Cluster != "" }) {
		columns = slices.Insert(columns, 4, cluster)
	}
	return append(layOut(columns, width), fmt.Sprintf("%s of at most %s", numbered(len(list.Bans), "ban", "bans"), counted(list.Max)))
}

var (
	banTimeShape = regexp.MustCompile(`^([0-9]+(\.[0-9]+)?[wdhms])+$`)
	banTimePart  = regexp.MustCompile(`([0-9.]+)([wdhms])`)
	secondsOf    = map[string]float64{"w": 7 * 24 * 60 * 60, "d": 24 * 60 * 60, "h": 60 * 60, "m": 60, "s": 1}
)

// parseBanTime returns how long a ban is to last that ends.
func parseBanTime(text string) (time.Duration, error) {
	if !banTimeShape.MatchString(text) {
		return 0, fmt.Errorf("\"%s\" is no duration; want one such as 30m, 12h, 7d or 1d12h", printable(text))
	}
	seconds := 0.0
	for _, part := range banTimePart.FindAllStringSubmatch(text, -1) {
		n, _ := strconv.ParseFloat(part[1], 64) // what is too large is infinite
		seconds += n * secondsOf[part[2]]
	}
	if seconds < 1 || seconds > admin.MostBan.Seconds() {
		return 0, fmt.Errorf("%s is out of range; want 1s to 36500d, or no --for for a ban without an end", printable(text))
	}
	return time.Duration(math.Round(seconds*1000)) * time.Millisecond, nil
}

const unbanDescription = `Ends a ban of a running relay: who was kept out may join again, as the rules of access
say. ADDRESS or PREFIX is that of the ban; "udprelay ban --list" has all of them. Other
bans that still cover some of its addresses are named. If there is no such ban, the
exit code is 1.

With --cluster the ban of the cluster on that prefix ends on all nodes, and so does one
of a single node that has taken its place there. Without --cluster a ban ends on this
relay alone, whoever has decided it.

` + socketText + `

Examples:
  sudo udprelay unban 192.0.2.7
  sudo udprelay unban 2001:db8::/64
  sudo udprelay unban --cluster 192.0.2.7`

func unbanCommand(world World) *cli.Command {
	return &cli.Command{
		Name:        "unban",
		Usage:       "end a ban of a running relay",
		ArgsUsage:   "ADDRESS|PREFIX",
		Description: unbanDescription,
		Flags:       askFlags(clusterFlag("end the ban of the cluster, on all nodes")),
		Action: func(c *cli.Context) error {
			prefix, err := oneArgument(c, "an address or a prefix")
			if err != nil {
				return err
			}
			from, err := admin.ParsePrefix(prefix)
			if err != nil {
				return &usageFailure{err.Error(), helpHint(c)}
			}
			cluster := c.Bool("cluster")
			return askOnce(c, world, func(ctx context.Context, client admin.Client) (admin.Unbanned, error) {
				return client.Unban(ctx, prefix, cluster)
			}, func(w io.Writer, unbanned admin.Unbanned, _ time.Time) error {
				err := writeUnbanned(w, from, unbanned, cluster)
				if !cluster && unbanned.Ban.Cluster != "" {
					fmt.Fprintf(world.Stderr, "hint: it still holds on the other nodes of the cluster: udprelay unban --cluster %v ends it on all\n", from)
				}
				return err
			})
		},
	}
}

// writeUnbanned writes for a person that a ban has ended, and which others go on.
func writeUnbanned(w io.Writer, from netip.Prefix, unbanned admin.Unbanned, cluster bool) error {
	text := fmt.Sprintf("the ban of %v has ended", from)
	switch {
	case cluster:
		text += "\n" + reachedLines(unbanned.Reached, "it has ended")
	case unbanned.Ban.Cluster != "":
		text += " on this relay\n"
	default:
		text += "\n"
	}
	for i, b := range unbanned.Still {
		if i == mostShown {
			text += fmt.Sprintf("  and %s more: udprelay ban --list\n", counted(len(unbanned.Still)-i))
			break
		}
		whom := "some of it is"
		if b.From.Bits() <= from.Bits() {
			whom = "it is"
		}
		text += fmt.Sprintf("  %s still banned, by that of %v, %s\n", whom, b.From, untilWhen(b))
	}
	_, err := io.WriteString(w, text)
	return err
}
