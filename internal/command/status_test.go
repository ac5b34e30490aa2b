package command

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"udprelay/internal/admin"
	"udprelay/internal/config"
	"udprelay/relay"
)

func TestStatusOfABusyRelay(t *testing.T) {
	lines := toldStatus(busyStatus()).lines(80)
	golden(t, "status-busy.txt", lines)
	for _, line := range lines {
		if len(line) > 80 {
			t.Errorf("want 80 places at most, got %d: %s", len(line), line)
		}
	}
}

func TestStatusOfARelayThatStarts(t *testing.T) {
	golden(t, "status-new.txt", toldStatus(admin.Status{Version: "(devel)", Started: *before(0), Now: *before(0), Listen: "127.0.0.1:9000", Way: "sendmmsg"}).lines(80))
}

func TestOfManyRulesThoseThatRefuseMostAreShown(t *testing.T) {
	status := admin.Status{}
	for i := range 30 {
		status.Rules = append(status.Rules, admin.Rule{From: fmt.Sprintf("10.0.0.%d", i), May: "nothing", Refused: uint64(1000 * (i % 15))})
	}
	golden(t, "status-rules.txt", toldStatus(status).ruleLines())
}

func TestWhatARelayTellsIsShownAsText(t *testing.T) {
	evil := "\x1b[2J\n\u202e"
	status := admin.Status{Version: evil, Listen: evil, Way: evil, Drops: map[string]uint64{evil: 1},
		Rules: []admin.Rule{{From: evil, May: evil, Join: evil, Refused: 1}}}
	peer := admin.Peer{Name: evil, State: evil, May: evil, JoinedBy: evil, Dropped: map[string]uint64{evil: 1}}
	lines := append(toldStatus(status).lines(0), toldPeers{PeerPage: admin.PeerPage{Peers: []admin.Peer{peer}}, when: noon}.lines(0)...)
	if text := strings.Join(lines, ""); strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("want printable ASCII, got %q", text)
	} else if got, want := strings.Count(text, `\x1b[2J\n\u202e`), 12; got != want {
		t.Errorf("want %d texts escaped, got %d in %s", want, got, text)
	}
}

// Every reason has a hint, and the keys that hints name are those of the
// configuration.
func TestEveryReasonHasAHint(t *testing.T) {
	shipped := runCheck(t, "", nil).stdout
	keys := regexp.MustCompile(`\b(peers|limits|socket)\.([a-z_]+)`)
	for _, drop := range relay.Drops() {
		hint := dropHints[drop]
		if hint == "" {
			t.Errorf("%v: want a hint", drop)
		}
		for _, key := range keys.FindAllStringSubmatch(hint, -1) {
			if !strings.Contains(shipped, "\n"+key[1]+":\n") || !strings.Contains(shipped, "\n  "+key[2]) {
				t.Errorf("%v: the hint names %s, which is no key", drop, key[0])
			}
		}
	}
	if len(dropHints) != len(relay.Drops()) {
		t.Errorf("want a hint for each of %d reasons, got %d", len(relay.Drops()), len(dropHints))
	}
}

func TestStatusAsksTheRelay(t *testing.T) {
	directory := shortDirectory(t)
	socket := filepath.Join(directory, "control.sock")
	status := busyStatus()
	stand(t, socket, &relayOf{status: status})
	status.Counters.Received++ // the first one

	got := runCommand(t, nil, "status", "--socket", socket)
	got.want(t, outcome{0, strings.Join(toldStatus(status).lines(0), "\n") + "\n", ""})

	named := writeConfig(t, fmt.Sprintf("admin:\n  socket: %q\n", socket))
	if got := runCommand(t, nil, "status", "--config", named); got.code != 0 || !strings.Contains(got.stdout, "listens   [::]:9000\n") || got.stderr != "" {
		t.Errorf("want the status of the relay that the configuration names, got %+v", got)
	}
	bad := writeConfig(t, "lisen: \":1\"\n")
	got = runCommand(t, []string{"RUNTIME_DIRECTORY=" + directory}, "status", "--config", bad)
	if want := "udprelay: warning: asked at the usual places, for here the configuration does not load: " + bad + ":1:1: lisen: unknown key; did you mean \"listen\"?\n"; got.code != 0 || got.stderr != want {
		t.Errorf("want the status and %q, got %+v", want, got)
	}
}

func TestStatusAsJSONIsThatOfTheAPI(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	want := busyStatus()
	stand(t, socket, &relayOf{status: want})
	want.Counters.Received++
	want.Cluster.Drops, want.Cluster.Routes, want.Cluster.Nodes = map[string]uint64{}, []admin.ClusterRoute{}, []admin.ClusterNode{}
	got := runCommand(t, nil, "status", "--json", "--socket", socket)
	var object admin.Status
	if err := json.Unmarshal([]byte(got.stdout), &object); err != nil || strings.Count(got.stdout, "\n") != 1 {
		t.Fatalf("want one line of JSON, got %v: %+v", err, got)
	}
	if diff := cmp.Diff(want, object, cmpopts.EquateComparable(netip.AddrPort{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatusSaysWhatToDoWhenNobodyAnswers(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	nobody := fmt.Sprintf("udprelay: no relay answers at the control socket %s: no such file or directory\n", socket)
	named := writeConfig(t, fmt.Sprintf("admin:\n  socket: %q\n", socket))
	none := writeConfig(t, "admin:\n  socket: "+config.None+"\n")
	const another = "hint: is the relay running? --socket names the socket of one that was started with another admin.socket\n"
	for _, command := range []string{"status", "peers"} {
		for _, watch := range []string{"--watch=false", "--watch"} {
			for _, test := range []struct {
				flag, value string
				want        outcome
			}{
				{"--socket", socket, outcome{69, "", nobody + "hint: is the relay running? one that has no control socket says so when it starts; --socket names the socket of another one, such as /run/udprelay-NAME/control.sock\n"}},
				{"--config", named, outcome{69, "", nobody + another}},
				{"--config", none, outcome{69, "", "udprelay: no control socket: the configuration says admin.socket: none\n" + another}},
			} {
				// A unit sets MAINPID, but only a reload has a signal that does.
				runCommand(t, []string{"MAINPID=1234567"}, command, watch, test.flag, test.value).want(t, test.want)
			}
		}
	}
}

func TestStatusAndPeersRefuseWhatTheyDoNotUnderstand(t *testing.T) {
	for args, want := range map[string]string{
		"status x":                  "unexpected argument \"x\"",
		"status --config a -s b":    "--config and --socket exclude each other",
		"status --limit 3":          "unknown flag --limit",
		"peers x":                   "unexpected argument \"x\"",
		"peers --sort port":         "--sort: unknown field \"port\"; want one of " + strings.Join(admin.SortFields(), ", ") + ", with a - before it for the largest first",
		"peers --sort -":            "--sort - names no field",
		"peers --state good":        "--state: unknown word \"good\"; want one of ok, quarantined, cut, banned, overloading, failing, silent",
		"peers --kind odd":          "--kind: unknown word \"odd\"; want one of static, learned, connected, sender",
		"peers --limit -1":          "--limit -1: want 0 or more",
		"peers --socket a --config": "a value is missing after --config",
	} {
		words := strings.Fields(args)
		runCommand(t, nil, words...).want(t, outcome{64, "", "udprelay: " + want + "\nhint: see udprelay " + words[0] + " --help\n"})
	}
	long := strings.Repeat("x", 257)
	if got := runCommand(t, nil, "peers", "--search", long); got.code != 64 || !strings.Contains(got.stderr, "--search has 257 bytes; want 256 at most") {
		t.Errorf("want a long search refused, got %+v", got)
	}
}

func TestTheMapOfDropsIsLeftAlone(t *testing.T) {
	status := busyStatus()
	before := maps.Clone(status.Drops)
	toldStatus(status).lines(0)
	if diff := cmp.Diff(before, status.Drops); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}
