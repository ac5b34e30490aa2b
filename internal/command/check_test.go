package command

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v2"

	"udprelay/internal/config"
)

// outcome is all that a command leaves behind.
type outcome struct {
	code           int
	stdout, stderr string
}

// runCheck runs udprelay check with the shipped defaults.
func runCheck(t *testing.T, stdin string, environ []string, args ...string) outcome {
	t.Helper()
	defaults, err := os.ReadFile("../../config.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := Run(append([]string{"udprelay", "check"}, args...), World{
		Stdin:         strings.NewReader(stdin),
		Stdout:        &stdout,
		Stderr:        &stderr,
		Environ:       environ,
		DefaultConfig: defaults,
	})
	return outcome{code, stdout.String(), stderr.String()}
}

func (got outcome) want(t *testing.T, want outcome) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(outcome{})); diff != "" {
		t.Errorf("outcome (-want +got):\n%s", diff)
	}
}

// writeConfig writes a file and returns its name.
func writeConfig(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "room.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

const effective = `listen: ":9001"

peers:
  expiry: 60s
  max: 10000
  max_per_address: 256
  joins_per_second: 1000
  joins_per_second_per_address: 256
  static: []

access:
- from: loopback
  may: both
  join: open
- from: private
  may: both
  join: open
- from: link-local
  may: both
  join: open

join:
  secret_file: ""

limits:
  peer_datagrams_per_second: 0
  peer_bytes_per_second: 0
  egress_bytes_per_second: 0

socket:
  receive_buffer: 8MiB
  send_buffer: 8MiB
  senders: 1
  trains: auto
  coalesce: 0

gateway:
  tcp:
    listen: ""
  tls:
    listen: ""
    certificate: ""
    key: ""
    client_ca: ""
  websocket:
    listen: ""
    tls: false
    path: /
    origins: []
  connections: 1000
  queue: 1MiB
  idle: 0

cluster:
  name: ""
  room: main
  listen: ""
  advertise: ""
  routes: []
  url: ""
  secret_file: ""
  credentials: ""
  tls:
    certificate: ""
    key: ""
    ca: ""
  insecure: false
  queue: 8MiB

admin:
  socket: ""
  group: ""
  http: "127.0.0.1:9001"
  metrics_per_peer: false

state:
  file: ""

log:
  level: info
  format: text
`

func TestCheckPrintsWhatHolds(t *testing.T) {
	const text = "listen: :9001\n"
	file := writeConfig(t, text)
	defaults := strings.Replace(effective, ":9001", ":9000", 1)

	runCheck(t, "", nil).want(t, outcome{0, defaults, ""})
	runCheck(t, "", nil, file).want(t, outcome{0, effective, ""})
	runCheck(t, text, nil, "-").want(t, outcome{0, effective, ""})
	runCheck(t, "", []string{"UDPRELAY_CONFIG=" + file}).want(t, outcome{0, effective, ""})
	runCheck(t, "", []string{"UDPRELAY_CONFIG="}).want(t, outcome{0, defaults, ""})
	runCheck(t, "", []string{"UDPRELAY_CONFIG=/nowhere"}, file).want(t, outcome{0, effective, ""})
	runCheck(t, "", []string{"UDPRELAY_LISTEN=:9001"}).want(t, outcome{0, effective, ""})
}

func TestCheckOutputIsAConfiguration(t *testing.T) {
	first := runCheck(t, "", nil)
	runCheck(t, first.stdout, nil, "-").want(t, first)
}

func TestCheckTellsEveryMistakeAndPrintsNothing(t *testing.T) {
	file := writeConfig(t, "peers:\n  expirey: 60s\n  expiry: 60\n")
	want := outcome{78, "", "udprelay: " + file + `:2:3: peers.expirey: unknown key; did you mean "expiry"?
udprelay: ` + file + `:3:11: peers.expiry: "60" has no unit; want a duration such as 60s, 5m or 1h30m
udprelay: UDPRELAY_LISTEN: listen: port 70000 is out of range; want 1 to 65535 (0 lets the system choose)
`}
	environ := []string{"UDPRELAY_LISTEN=:70000", "UDPRELAY_NONSENSE=1"}
	runCheck(t, "", environ, file).want(t, want)
	runCheck(t, "", environ, "--quiet", file).want(t, want)
}

func TestCheckWarnsAndGoesOn(t *testing.T) {
	environ := []string{"UDPRELAY_LISTN=:9002"}
	const warning = "udprelay: warning: UDPRELAY_LISTN: unknown variable, ignored; did you mean UDPRELAY_LISTEN?\n"
	runCheck(t, "listen: :9001\n", environ, "-").want(t, outcome{0, effective, warning})
}

func TestCheckWarnsOfTheFileOfTheSecret(t *testing.T) {
	directory := t.TempDir()
	missing, weak := filepath.Join(directory, "missing"), filepath.Join(directory, "weak")
	if err := os.WriteFile(weak, []byte("opensesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, warning := range map[string]string{
		missing: missing + ": join.secret_file: there is no such file; serve would not start as this user",
		weak:    weak + ": join.secret_file: the secret is 10 bytes long and can be found by trial; want at least 16 bytes, such as a line of: openssl rand -hex 32",
	} {
		environ := []string{"UDPRELAY_JOIN_SECRET_FILE=" + name, "UDPRELAY_ACCESS=any=secret"}
		got := runCheck(t, "", environ)
		if want := "udprelay: warning: " + warning + "\n"; got.code != 0 || got.stderr != want || !strings.Contains(got.stdout, "\n  join: secret\n") {
			t.Errorf("want 0, the configuration and the warning %q, got %+v", want, got)
		}
		if strings.Contains(got.stdout+got.stderr, "opensesame") {
			t.Errorf("want no secret in the output, got %+v", got)
		}
		runCheck(t, "", environ, "--quiet").want(t, outcome{0, "", ""})
	}
}

func TestCheckWarnsOfTheFilesOfACertificate(t *testing.T) {
	directory := t.TempDir()
	missing, there := filepath.Join(directory, "missing"), filepath.Join(directory, "tls.key")
	if err := os.WriteFile(there, []byte("-----BEGIN PRIVATE KEY-----\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := []string{"UDPRELAY_GATEWAY_TLS_LISTEN=:9003", "UDPRELAY_GATEWAY_TLS_CERTIFICATE=" + missing, "UDPRELAY_GATEWAY_TLS_KEY=" + there}
	got := runCheck(t, "", environ)
	want := "udprelay: warning: " + missing + ": gateway.tls.certificate: there is no such file; serve would not start as this user\n"
	if got.code != 0 || got.stderr != want || !strings.Contains(got.stdout, "\n    key: ") {
		t.Errorf("want 0, the configuration and the warning %q, got %+v", want, got)
	}
	runCheck(t, "", environ, "--quiet").want(t, outcome{0, "", ""})
}

func TestCheckQuietlySaysNothingOfAGoodFile(t *testing.T) {
	environ := []string{"UDPRELAY_LISTN=:9002"}
	runCheck(t, "listen: :9001\n", environ, "--quiet", "-").want(t, outcome{0, "", ""})
	runCheck(t, "listen: :9001\n", environ, "-q", "-").want(t, outcome{0, "", ""})
}

func TestCheckNamesAFileThatCannotBeRead(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "room.yaml")
	want := outcome{78, "", "udprelay: " + missing + ": there is no such file\nhint: without a file the built-in defaults hold\n"}
	runCheck(t, "", nil, missing).want(t, want)
	runCheck(t, "", []string{"UDPRELAY_CONFIG=" + missing}).want(t, want)
}

func TestCheckRefusesASecondFile(t *testing.T) {
	runCheck(t, "", nil, "a.yaml", "b.yaml").want(t, outcome{64, "", "udprelay: unexpected argument \"b.yaml\"\nhint: see udprelay check --help\n"})
}

func TestCheckHelpHasExamples(t *testing.T) {
	got := runCheck(t, "", nil, "--help")
	if got.code != 0 || !strings.Contains(got.stdout, "Examples:\n  udprelay check ") || got.stderr != "" {
		t.Errorf("want a help page with examples, got %+v", got)
	}
}

func TestMistakesHintAtCheckInOtherCommands(t *testing.T) {
	file := writeConfig(t, "x: 1\n")
	_, err := loadConfig(World{DefaultConfig: []byte("listen: :9000\n")}, file, nil)
	var stderr bytes.Buffer
	if code := report(&stderr, err); code != 78 {
		t.Errorf("want exit code 78, got %d", code)
	}
	if want := "hint: udprelay check " + file + "\n"; !strings.HasSuffix(stderr.String(), want) {
		t.Errorf("want %q at the end, got %q", want, stderr.String())
	}
}

func TestCheckWarnsOfMoreSendersThanCoresHere(t *testing.T) {
	if before := runtime.GOMAXPROCS(2); before != 2 {
		defer runtime.GOMAXPROCS(before)
	}
	const warning = "udprelay: warning: socket.senders: 3 senders, but 2 cores here: those beyond one per core send nothing faster; want at most 2, or 0 for one per core\n"
	file := writeConfig(t, "listen: :9001\nsocket:\n  senders: 3\n")
	runCheck(t, "", nil, file).want(t, outcome{0, strings.Replace(effective, "senders: 1", "senders: 3", 1), warning})
	runCheck(t, "", nil, "--quiet", file).want(t, outcome{0, "", ""})
	for _, fits := range []string{"2", "0"} {
		runCheck(t, "", []string{"UDPRELAY_SOCKET_SENDERS=" + fits}, file).want(t, outcome{0, strings.Replace(effective, "senders: 1", "senders: "+fits, 1), ""})
	}
}

func TestFlagsBecomeSettings(t *testing.T) {
	var got []config.Setting
	app := &cli.App{
		Flags:  cliConfigFlags(),
		Action: func(c *cli.Context) error { got = configSettings(c); return nil },
	}
	err := app.Run([]string{"serve", "--listen", "", "--peer", "a:1", "--allow", "any=send=cookie", "--peer", "b:2", "--max-peers", "0", "--secret-file", "/a b"})
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Setting{
		{Name: "--listen", Key: "listen", Value: ""},
		{Name: "--peer", Key: "peers.static", Value: "a:1"},
		{Name: "--peer", Key: "peers.static", Value: "b:2"},
		{Name: "--allow", Key: "access", Value: "any=send=cookie"},
		{Name: "--secret-file", Key: "join.secret_file", Value: "/a b"},
		{Name: "--max-peers", Key: "peers.max", Value: "0"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestFlagsAreDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(page), "\n")
	for _, f := range configFlags {
		row := "| `--" + f.name + " " + strings.Split(f.usage, "`")[1] + "` | `" + f.key + "` |"
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, row) }) {
			t.Errorf("want the row %q in docs/configuration.md", row)
		}
	}
}

// systemd makes no user for a room whose name is too long, or has other signs.
func TestCheckWarnsOfNamesThatRoomsCannotHave(t *testing.T) {
	for file, want := range map[string]string{
		"/etc/udprelay/games.yaml":                               "",
		"/etc/udprelay/" + strings.Repeat("x", 22) + ".yaml":     "",
		"/etc/udprelay/" + strings.Repeat("x", 23) + ".yaml":     "udprelay@" + strings.Repeat("x", 23) + ".service would not start",
		"/etc/udprelay/the.games.yaml":                           "udprelay@the.games.service would not start",
		"/home/me/" + strings.Repeat("x", 23) + ".yaml":          "",
		"/etc/udprelay/../udprelay/a room of its own, long.yaml": "udprelay@a room of its own, long.service would not start",
	} {
		var stderr bytes.Buffer
		warnOfRoom(World{Stderr: &stderr}, file)
		if got := stderr.String(); (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: want the warning %q; got %q", file, want, got)
		}
	}
}
