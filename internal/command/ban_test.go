package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"udprelay/internal/admin"
)

// A doorman is a control that keeps out whom it is told to, and says what a test
// has put into it.
type doorman struct {
	answering
	kicked   admin.Kicked
	banned   admin.Banned
	unbanned admin.Unbanned
	err      error
	asked    string
}

func (d *doorman) Kick(from netip.Prefix, port uint16) (admin.Kicked, error) {
	d.asked = fmt.Sprintf("kick %v %d", from, port)
	return d.kicked, d.err
}

func (d *doorman) Ban(_ context.Context, wish admin.BanWish) (admin.Banned, error) {
	d.asked = fmt.Sprintf("ban %v %v %s", wish.From, wish.Duration, wish.Reason)
	if wish.Cluster {
		d.asked += "everywhere"
	}
	return d.banned, d.err
}

func (d *doorman) Unban(_ context.Context, from netip.Prefix, cluster bool) (admin.Unbanned, error) {
	d.asked = fmt.Sprintf("unban %v", from)
	if cluster {
		d.asked += " everywhere"
	}
	return d.unbanned, d.err
}

// run runs a command with words that a blank parts, and returns what came of it
// and what arrived at the relay.
func (d *doorman) run(t *testing.T, socket, line string) (outcome, string) {
	t.Helper()
	d.asked = ""
	words := strings.Fields(line)
	got := runCommand(t, nil, append([]string{words[0], "--socket", socket}, words[1:]...)...)
	return got, d.asked
}

func banOf(from string, duration time.Duration, reason string) admin.Ban {
	b := admin.Ban{From: netip.MustParsePrefix(from), Since: *before(90 * time.Minute), Reason: reason}
	if duration > 0 {
		b.Until = &admin.Time{Time: b.Since.Add(duration)}
	}
	return b
}

// addressesOf returns n peers of one address.
func addressesOf(n int) (list []netip.AddrPort) {
	for i := range n {
		list = append(list, netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), uint16(40000+i)))
	}
	return list
}

func TestKickSaysWhoIsOut(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	d := &doorman{}
	stand(t, socket, &relayOf{control: d})
	for _, test := range []struct {
		line   string
		kicked admin.Kicked
		asked  string
		want   outcome
	}{
		{"kick 192.0.2.7:40000", admin.Kicked{Removed: addressesOf(1), Count: 1}, "kick 192.0.2.7/32 40000",
			outcome{0, "192.0.2.7:40000 is out; it may join again with its next datagram\n", "hint: to keep out who is there: udprelay ban 192.0.2.7/32\n"}},
		{"kick 192.0.2.7", admin.Kicked{Removed: addressesOf(2), Count: 2}, "kick 192.0.2.7/32 0",
			outcome{0, "2 learned peers are out; each may join again with its next datagram\n  192.0.2.7:40000\n  192.0.2.7:40001\n", "hint: to keep out who is there: udprelay ban 192.0.2.7/32\n"}},
		{"kick 192.0.2.7/24", admin.Kicked{Removed: addressesOf(100), Count: 1234}, "kick 192.0.2.0/24 0",
			outcome{0, "1,234 learned peers are out; each may join again with its next datagram\n  192.0.2.7:40000\n  192.0.2.7:40001\n  192.0.2.7:40002\n  192.0.2.7:40003\n  192.0.2.7:40004\n" +
				"  192.0.2.7:40005\n  192.0.2.7:40006\n  192.0.2.7:40007\n  192.0.2.7:40008\n  192.0.2.7:40009\n  and 1,224 more\n", "hint: to keep out who is there: udprelay ban 192.0.2.0/24\n"}},
		{"kick --json 192.0.2.7", admin.Kicked{Removed: addressesOf(1), Count: 1}, "kick 192.0.2.7/32 0",
			outcome{0, `{"removed":["192.0.2.7:40000"],"count":1}` + "\n", ""}},
	} {
		d.kicked = test.kicked
		got, asked := d.run(t, socket, test.line)
		got.want(t, test.want)
		if asked != test.asked {
			t.Errorf("%s: want %q asked, got %q", test.line, test.asked, asked)
		}
	}
}

func TestBanSaysWhatHolds(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	d := &doorman{}
	stand(t, socket, &relayOf{control: d})
	const restart = "udprelay: warning: the ban ends when the relay does, for it has no state file that it can write (state.file)\n"
	for _, test := range []struct {
		line   string
		banned admin.Banned
		asked  string
		want   outcome
	}{
		{"ban --for 1h --reason floods 192.0.2.7/24", admin.Banned{Ban: banOf("192.0.2.0/24", time.Hour, "floods"), Removed: 3, Static: 1, Kept: true}, "ban 192.0.2.0/24 1h0m0s floods",
			outcome{0, "192.0.2.0/24 is banned until 2026-11-22 11:30:00 UTC (1h): 3 learned peers are out, 1 static peer gets nothing\n", ""}},
		{"ban --for 1d12h 2001:db8::7", admin.Banned{Ban: banOf("2001:db8::7/128", 36*time.Hour, ""), Removed: 1, Kept: true}, "ban 2001:db8::7/128 36h0m0s ",
			outcome{0, "2001:db8::7/128 is banned until 2026-11-23 22:30:00 UTC (1d 12h): 1 learned peer is out\n", ""}},
		{"ban 192.0.2.7", admin.Banned{Ban: banOf("192.0.2.7/32", 0, ""), Static: 2}, "ban 192.0.2.7/32 0s ",
			outcome{0, "192.0.2.7/32 is banned for ever: 2 static peers get nothing\n", restart}},
		{"ban 0.0.0.0/0", admin.Banned{Ban: banOf("0.0.0.0/0", 0, ""), Kept: true}, "ban 0.0.0.0/0 0s ",
			outcome{0, "0.0.0.0/0 is banned for ever: no peer was there\n", "udprelay: warning: 0.0.0.0/0 is every IPv4 address, this machine's too; udprelay unban 0.0.0.0/0 ends it\n"}},
		{"ban --json ::/0", admin.Banned{Ban: banOf("::/0", 0, "")}, "ban ::/0 0s ",
			outcome{0, `{"ban":{"from":"::/0","since":"2026-11-22T10:30:00.000Z","until":null,"reason":"","cluster":""},"removed":0,"static":0,"kept":false,"nodes":[],"missing":[]}` + "\n",
				"udprelay: warning: ::/0 is every IPv6 address, this machine's too; udprelay unban ::/0 ends it\n" + restart}},
	} {
		d.banned = test.banned
		got, asked := d.run(t, socket, test.line)
		got.want(t, test.want)
		if asked != test.asked {
			t.Errorf("%s: want %q asked, got %q", test.line, test.asked, asked)
		}
	}
}

func TestUnbanSaysWhatIsStillBanned(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	d := &doorman{}
	stand(t, socket, &relayOf{control: d})
	ended := banOf("192.0.2.0/24", 0, "")
	many := []admin.Ban{banOf("192.0.0.0/16", time.Hour, "")}
	for i := range 11 {
		many = append(many, banOf(fmt.Sprintf("192.0.2.%d/32", i), 0, ""))
	}
	for _, test := range []struct {
		line  string
		still []admin.Ban
		want  string
	}{
		{"unban 192.0.2.0/24", nil, "the ban of 192.0.2.0/24 has ended\n"},
		{"unban 192.0.2.9/24", many[:2], "the ban of 192.0.2.0/24 has ended\n  it is still banned, by that of 192.0.0.0/16, until 2026-11-22 11:30:00 UTC\n  some of it is still banned, by that of 192.0.2.0/32, for ever\n"},
		{"unban --json 192.0.2.0/24", nil, `{"ban":{"from":"192.0.2.0/24","since":"2026-11-22T10:30:00.000Z","until":null,"reason":"","cluster":""},"still":[],"nodes":[],"missing":[]}` + "\n"},
	} {
		d.unbanned = admin.Unbanned{Ban: ended, Still: test.still}
		got, asked := d.run(t, socket, test.line)
		got.want(t, outcome{0, test.want, ""})
		if asked != "unban 192.0.2.0/24" {
			t.Errorf("%s: got %q asked", test.line, asked)
		}
	}
	d.unbanned.Still = many
	got, _ := d.run(t, socket, "unban 192.0.2.0/24")
	if lines := strings.Split(got.stdout, "\n"); len(lines) != 13 || lines[11] != "  and 2 more: udprelay ban --list" {
		t.Errorf("want ten bans and how many more, got %s", got.stdout)
	}
}

func TestWhichNodesHaveABanIsSaid(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	d := &doorman{}
	stand(t, socket, &relayOf{control: d})
	var twelve []string
	for i := range 12 {
		twelve = append(twelve, fmt.Sprint("n", i))
	}
	const (
		nobody    = "  no other node of the cluster is there; those that come will have it\n"
		all       = "n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 2 more\n"
		everybody = "udprelay: warning: ::/0 is every IPv6 address, this machine's too; udprelay unban --cluster ::/0 ends it\n"
	)
	for _, test := range []struct {
		reached admin.Reached
		want    string // a verb for what is done on the nodes
	}{
		{admin.Reached{}, nobody},
		{admin.Reached{Nodes: []string{"north", "zu läut"}}, "  it %s on north, zu l\\u00e4ut\n"},
		{admin.Reached{Nodes: twelve, Missing: []string{"south"}}, "  it %s on " + all + "  not yet on south: when heard again\n"},
		{admin.Reached{Missing: twelve}, "  not yet on n0, n1, n2, n3, n4, n5, n6, n7, n8, n9 and 2 more: when heard again\n"},
	} {
		d.banned = admin.Banned{Ban: banOf("::/0", time.Hour, ""), Removed: 2, Kept: true, Reached: test.reached}
		d.banned.Ban.Cluster = "west"
		got, asked := d.run(t, socket, "ban --cluster --for 1h ::/0")
		got.want(t, outcome{0, "::/0 is banned until 2026-11-22 11:30:00 UTC (1h): 2 learned peers are out\n" + strings.ReplaceAll(test.want, "%s", "is banned"), everybody})
		if asked != "ban ::/0 1h0m0s everywhere" {
			t.Errorf("got %q asked", asked)
		}
		d.unbanned = admin.Unbanned{Ban: d.banned.Ban, Still: []admin.Ban{banOf("192.0.0.0/16", 0, "")}, Reached: test.reached}
		got, asked = d.run(t, socket, "unban --cluster 192.0.2.7")
		got.want(t, outcome{0, "the ban of 192.0.2.7/32 has ended\n" + strings.ReplaceAll(test.want, "%s", "has ended") + "  it is still banned, by that of 192.0.0.0/16, for ever\n", ""})
		if asked != "unban 192.0.2.7/32 everywhere" {
			t.Errorf("got %q asked", asked)
		}
	}
	d.banned.Removed, d.banned.Reached = 0, admin.Reached{}
	got, _ := d.run(t, socket, "ban --cluster --for 1h ::/0")
	got.want(t, outcome{0, "::/0 is banned until 2026-11-22 11:30:00 UTC (1h): no peer of this relay was there\n" + nobody, everybody})
	d.banned.Kept = false
	got, _ = d.run(t, socket, "ban --cluster --for 1h ::/0")
	if want := everybody + "udprelay: warning: this relay has no state file that it can write (state.file): after a restart it has the ban only if another node tells it\n"; got.stderr != want {
		t.Errorf("want %q, got %q", want, got.stderr)
	}
	got, _ = d.run(t, socket, "unban 192.0.2.7")
	got.want(t, outcome{0, "the ban of 192.0.2.7/32 has ended on this relay\n  it is still banned, by that of 192.0.0.0/16, for ever\n",
		"hint: it still holds on the other nodes of the cluster: udprelay unban --cluster 192.0.2.7/32 ends it on all\n"})
	d.unbanned.Reached = admin.Reached{Nodes: []string{"north"}, Missing: []string{"south"}}
	got, _ = d.run(t, socket, "unban --cluster --json 192.0.2.7")
	if want := `"nodes":["north"],"missing":["south"]}` + "\n"; !strings.HasSuffix(got.stdout, want) || got.code != 0 {
		t.Errorf("want %s at the end, got %+v", want, got)
	}
}

func TestAFailureToKeepOutIsSaid(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	d := &doorman{err: &admin.Failure{Message: "it is not so", Way: "look elsewhere", Code: 1}}
	stand(t, socket, &relayOf{control: d})
	for _, line := range []string{"kick 192.0.2.7", "ban 192.0.2.7", "unban 192.0.2.7", "kick --json 192.0.2.7"} {
		got, _ := d.run(t, socket, line)
		got.want(t, outcome{1, "", "udprelay: it is not so\nhint: look elsewhere\n"})
	}
	nobody := filepath.Join(shortDirectory(t), "control.sock")
	for _, line := range []string{"kick 192.0.2.7", "ban 192.0.2.7", "unban 192.0.2.7", "ban --list"} {
		got, _ := d.run(t, nobody, line)
		if want := "udprelay: no relay answers at the control socket " + nobody + ": no such file or directory\nhint: is the relay running?"; got.code != 69 || got.stdout != "" || !strings.HasPrefix(got.stderr, want) {
			t.Errorf("%s: want %q and 69, got %+v", line, want, got)
		}
	}
}

func TestWhoIsToBeKeptOutMustBeClear(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	d := &doorman{}
	stand(t, socket, &relayOf{control: d})
	for line, want := range map[string]string{
		"kick":                            "an address is missing",
		"ban":                             "an address or a prefix is missing",
		"unban":                           "an address or a prefix is missing",
		"ban 192.0.2.7 192.0.2.8":         `unexpected argument "192.0.2.8"`,
		"ban 192.0.2.7 --for 1h":          "--for stands behind 192.0.2.7; want flags before it: udprelay ban --for ... 192.0.2.7",
		"ban 192.0.2.7:40000":             `"192.0.2.7:40000" has a port, and a ban is for all ports of an address; want 192.0.2.7`,
		"unban everyone":                  `"everyone" is no address and no prefix; want one such as 192.0.2.7, 2001:db8::7 or 192.0.2.0/24`,
		"kick 192.0.2.7:http":             `"192.0.2.7:http" is no address and no prefix; want one such as 192.0.2.7:40000, [2001:db8::7]:40000, 192.0.2.7 or 192.0.2.0/24`,
		"ban --for 60 192.0.2.7":          `--for "60" is no duration; want one such as 30m, 12h, 7d or 1d12h`,
		"ban --for -1h 192.0.2.7":         `--for "-1h" is no duration; want one such as 30m, 12h, 7d or 1d12h`,
		"ban --for= 192.0.2.7":            `--for "" is no duration; want one such as 30m, 12h, 7d or 1d12h`,
		"ban --for 0s 192.0.2.7":          "--for 0s is out of range; want 1s to 36500d, or no --for for a ban without an end",
		"ban --for 36500d1s 192.0.2.7":    "--for 36500d1s is out of range; want 1s to 36500d, or no --for for a ban without an end",
		"ban --reason a\u202eb 192.0.2.7": `--reason: the character '\u202e' cannot be shown; want letters, digits, signs and blanks`,
		"ban --list 192.0.2.7":            `unexpected argument "192.0.2.7"`,
		"ban --list --for 1h":             "--list excludes --for, --reason and --cluster",
		"ban --list --cluster":            "--list excludes --for, --reason and --cluster",
		"kick --for 1h 192.0.2.7":         "unknown flag --for",
	} {
		got, asked := d.run(t, socket, line)
		got.want(t, outcome{64, "", "udprelay: " + want + "\nhint: see udprelay " + strings.Fields(line)[0] + " --help\n"})
		if asked != "" {
			t.Errorf("%s: want nothing asked, got %s", line, asked)
		}
	}
}

func TestTheTimeOfABanIsRead(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"1s": time.Second, "90s": 90 * time.Second, "1.5h": 90 * time.Minute, "1h30m": 90 * time.Minute, "7d": 7 * day, "1d12h": 36 * time.Hour,
		"2w": 14 * day, "0.5w": 84 * time.Hour, "1m1m": 2 * time.Minute, "36500d": admin.MostBan,
	} {
		if got, err := parseBanTime(text); got != want || err != nil {
			t.Errorf("%s: want %v, got %v, %v", text, want, got, err)
		}
	}
}

func FuzzTheTimeOfABanIsRead(f *testing.F) {
	for _, text := range []string{"1d12h", "0.5w", "36500d", "1..5s", "99999999999999999999w", "1e3s", "0s"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseBanTime(text)
		if err == nil && (d < time.Second || d > admin.MostBan) {
			t.Errorf("%q: got %v", text, d)
		}
		if goes, bad := time.ParseDuration(text); bad == nil && err == nil && (goes-d).Abs() > time.Millisecond {
			t.Errorf("%q: want %v, got %v", text, goes, d)
		}
	})
}

func TestBansAreATable(t *testing.T) {
	list := admin.BanList{Max: 1000, Bans: []admin.Ban{
		banOf("192.0.2.0/24", 2*time.Hour, "it floods\u202e the room, every evening, and does not answer"),
		banOf("198.51.100.7/32", 51*time.Hour, ""),
		banOf("2001:db8:1111:2222::/64", 0, "a test"),
	}}
	for _, width := range []int{0, 40, 60, 80, 100} {
		lines := banLines(list, width, noon)
		golden(t, fmt.Sprintf("bans-%d.txt", width), lines)
		for _, line := range lines {
			if width > 0 && len(line) > width {
				t.Errorf("want %d places at most, got %d: %s", width, len(line), line)
			}
		}
	}

	shared := list
	shared.Bans = slices.Clone(list.Bans)
	shared.Bans[0].Cluster, shared.Bans[2].Cluster = "north", "a node with a name that is rather long"
	for _, width := range []int{0, 40, 80, 120} {
		lines := banLines(shared, width, noon)
		golden(t, fmt.Sprintf("bans-cluster-%d.txt", width), lines)
		for _, line := range lines {
			if width > 0 && len(line) > width {
				t.Errorf("want %d places at most, got %d: %s", width, len(line), line)
			}
		}
	}

	socket := filepath.Join(shortDirectory(t), "control.sock")
	r := &relayOf{bans: list}
	stand(t, socket, r)
	got := runCommand(t, nil, "ban", "--list", "--json", "--socket", socket)
	var read admin.BanList
	if err := json.Unmarshal([]byte(got.stdout), &read); err != nil || got.code != 0 || got.stderr != "" {
		t.Errorf("want JSON, got %v: %+v", err, got)
	}
	if diff := cmp.Diff(list, read, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.bans.Bans = r.bans.Bans[2:]
	if got := runCommand(t, []string{"COLUMNS=40"}, "ban", "--list", "--socket", socket); !strings.HasPrefix(got.stdout, "FROM                     ") || !strings.HasSuffix(got.stdout, "\n1 ban of at most 1,000\n") {
		t.Errorf("want a table of 40 places, got %+v", got)
	}
	r.bans.Bans = nil
	runCommand(t, nil, "ban", "--list", "--socket", socket).want(t, outcome{0, "nobody is banned\n", ""})
	runCommand(t, nil, "ban", "--list", "--json", "--socket", socket).want(t, outcome{0, `{"bans":[],"max":1000}` + "\n", ""})
}

// Why an address is refused leads to what ends it.
func TestWhyNamesTheEndOfABan(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	r := &relayOf{why: admin.Why{Address: "192.0.2.7", Verdict: "refused", Would: []admin.Step{{Step: "known peer", Result: "no"}, {Step: "ban", Result: "192.0.2.0/24 is banned until 2026-11-22T12:00:00Z: x is banned", Decides: true}}}}
	stand(t, socket, r)
	const known = "192.0.2.7: refused\n\n  known peer: no\n> ban: 192.0.2.0/24 is banned until 2026-11-22T12:00:00Z: x is banned\n"
	runCommand(t, nil, "why", "--socket", socket, "192.0.2.7").want(t, outcome{0,
		known + "\nThe ban is ended by: udprelay unban 192.0.2.0/24\n\nNothing from there or for there was dropped lately.\n", ""})
	for _, step := range []admin.Step{{Step: "ban", Result: "none"}, {Step: "rule", Result: "192.0.2.0/24 is banned"}, {Step: "ban", Result: "it is banned"}} {
		r.why.Would = []admin.Step{step}
		if got := runCommand(t, nil, "why", "--socket", socket, "192.0.2.7"); strings.Contains(got.stdout, "unban") || got.code != 0 {
			t.Errorf("%+v: want no way out, got %+v", step, got)
		}
	}
}
