package config

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"udprelay/peers"
)

func load(t testing.TB, file string, environ []string, flags []Setting) (*Config, []Warning) {
	t.Helper()
	loaded, warnings, err := tryLoad(t, file, environ, flags)
	if err != nil {
		t.Fatalf("want no error, got\n%v", err)
	}
	return loaded, warnings
}

func tryLoad(t testing.TB, file string, environ []string, flags []Setting) (*Config, []Warning, error) {
	t.Helper()
	var f *File
	if file != "" {
		f = &File{Name: "room.yaml", Data: []byte(file)}
	}
	return Load(shipped(t), f, environ, flags)
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	file := "peers:\n  expiry: 2s\n"
	environ := []string{"UDPRELAY_PEERS_EXPIRY=3s"}
	flags := []Setting{{"--expiry", "peers.expiry", "4s"}}
	for _, c := range []struct {
		name    string
		file    string
		environ []string
		flags   []Setting
		want    time.Duration
	}{
		{"default", "", nil, nil, 60 * time.Second},
		{"file", file, nil, nil, 2 * time.Second},
		{"environment", file, environ, nil, 3 * time.Second},
		{"flag", file, environ, flags, 4 * time.Second},
		{"flag over default", "", nil, flags, 4 * time.Second},
	} {
		if loaded, _ := load(t, c.file, c.environ, c.flags); loaded.Peers.Expiry != c.want {
			t.Errorf("%s: want %s, got %s", c.name, c.want, loaded.Peers.Expiry)
		}
	}
}

func TestEveryValueCanBeSetByTheEnvironment(t *testing.T) {
	loaded, warnings := load(t, "", []string{
		"UDPRELAY_LISTEN=127.0.0.1:0",
		"UDPRELAY_PEERS_EXPIRY=5m",
		"UDPRELAY_PEERS_MAX=7",
		"UDPRELAY_PEERS_MAX_PER_ADDRESS=0",
		"UDPRELAY_PEERS_JOINS_PER_SECOND=8",
		"UDPRELAY_PEERS_JOINS_PER_SECOND_PER_ADDRESS=9",
		"UDPRELAY_PEERS_STATIC=192.0.2.1:1, a.example:2",
		"UDPRELAY_ACCESS=private, 203.0.113.0/24=receive,2001:db8::/32=secret=nothing",
		"UDPRELAY_JOIN_SECRET_FILE=/run/a=b,c",
		"UDPRELAY_LIMITS_PEER_DATAGRAMS_PER_SECOND=10",
		"UDPRELAY_LIMITS_PEER_BYTES_PER_SECOND=11KiB",
		"UDPRELAY_LIMITS_EGRESS_BYTES_PER_SECOND=0",
		"UDPRELAY_SOCKET_RECEIVE_BUFFER=1MiB",
		"UDPRELAY_SOCKET_SEND_BUFFER=2MiB",
		"UDPRELAY_SOCKET_SENDERS=4",
		"UDPRELAY_SOCKET_TRAINS=auto",
		"UDPRELAY_SOCKET_COALESCE=200us",
		"UDPRELAY_GATEWAY_TCP_LISTEN=:9002",
		"UDPRELAY_GATEWAY_TLS_LISTEN=relay.example:9003",
		"UDPRELAY_GATEWAY_TLS_CERTIFICATE=/run/a b.crt",
		"UDPRELAY_GATEWAY_TLS_KEY=/run/a=b,c.key",
		"UDPRELAY_GATEWAY_TLS_CLIENT_CA=none",
		"UDPRELAY_GATEWAY_WEBSOCKET_LISTEN=[::1]:0",
		"UDPRELAY_GATEWAY_WEBSOCKET_TLS=true",
		"UDPRELAY_GATEWAY_WEBSOCKET_PATH=/a,b=c:",
		"UDPRELAY_GATEWAY_WEBSOCKET_ORIGINS=https://a.example, app://localhost",
		"UDPRELAY_GATEWAY_CONNECTIONS=1",
		"UDPRELAY_GATEWAY_QUEUE=64KiB",
		"UDPRELAY_GATEWAY_IDLE=5m",
		"UDPRELAY_CLUSTER_NAME=a site",
		"UDPRELAY_CLUSTER_ROOM=B_1-c",
		"UDPRELAY_CLUSTER_LISTEN=:6222",
		"UDPRELAY_CLUSTER_ADVERTISE=relay-a.example:6223",
		"UDPRELAY_CLUSTER_ROUTES=relay-b.example:6222, [::1]:6224",
		"UDPRELAY_CLUSTER_URL=none",
		"UDPRELAY_CLUSTER_SECRET_FILE=/run/a b.secret",
		"UDPRELAY_CLUSTER_CREDENTIALS=none",
		"UDPRELAY_CLUSTER_TLS_CERTIFICATE=/run/node.crt",
		"UDPRELAY_CLUSTER_TLS_KEY=/run/node.key",
		"UDPRELAY_CLUSTER_TLS_CA=/run/nodes.crt",
		"UDPRELAY_CLUSTER_INSECURE=false",
		"UDPRELAY_CLUSTER_QUEUE=1GiB",
		"UDPRELAY_ADMIN_SOCKET=/run/a b.sock",
		"UDPRELAY_ADMIN_GROUP=adm",
		"UDPRELAY_ADMIN_HTTP=[::1]:0",
		"UDPRELAY_ADMIN_METRICS_PER_PEER=true",
		"UDPRELAY_STATE_FILE=none",
		"UDPRELAY_LOG_LEVEL=debug",
		"UDPRELAY_LOG_FORMAT=json",
		"UDPRELAY_CONFIG=/etc/udprelay/config.yaml",
		"PATH=/bin",
	}, nil)
	want := &Config{Listen: "127.0.0.1:0"}
	want.Peers.Expiry = 5 * time.Minute
	want.Peers.Max = 7
	want.Peers.JoinsPerSecond, want.Peers.JoinsPerSecondPerAddress = 8, 9
	want.Peers.Static = []StaticPeer{{"192.0.2.1:1"}, {"a.example:2"}}
	for _, rule := range []struct {
		from string
		may  peers.May
		join peers.Join
	}{{"private", peers.MayBoth, peers.JoinOpen}, {"203.0.113.0/24", peers.MayReceive, peers.JoinOpen}, {"2001:db8::/32", peers.MayNothing, peers.JoinSecret}} {
		cover, err := peers.ParseFrom(rule.from)
		if err != nil {
			t.Fatal(err)
		}
		want.Access = append(want.Access, peers.Rule{From: rule.from, Cover: cover, May: rule.may, Join: rule.join})
	}
	want.Join.SecretFile = "/run/a=b,c"
	want.Limits.PeerDatagramsPerSecond, want.Limits.PeerBytesPerSecond = 10, 11<<10
	want.Socket.ReceiveBuffer, want.Socket.SendBuffer = 1<<20, 2<<20
	want.Socket.Senders, want.Socket.Trains, want.Socket.Coalesce = 4, TrainsAuto, 200*time.Microsecond
	want.Gateway.TCP.Listen, want.Gateway.TLS.Listen, want.Gateway.WebSocket.Listen = ":9002", "relay.example:9003", "[::1]:0"
	want.Gateway.TLS.Certificate, want.Gateway.TLS.Key, want.Gateway.TLS.ClientCA = "/run/a b.crt", "/run/a=b,c.key", None
	want.Gateway.WebSocket.TLS, want.Gateway.WebSocket.Path = true, "/a,b=c:"
	want.Gateway.WebSocket.Origins = []string{"https://a.example", "app://localhost"}
	want.Gateway.Connections, want.Gateway.Queue, want.Gateway.Idle = 1, 64<<10, 5*time.Minute
	want.Cluster = Cluster{
		Name: "a site", Room: "B_1-c", Listen: ":6222", Advertise: "relay-a.example:6223", Routes: []string{"relay-b.example:6222", "[::1]:6224"},
		URL: None, SecretFile: "/run/a b.secret", Credentials: None, Queue: 1 << 30,
	}
	want.Cluster.TLS.Certificate, want.Cluster.TLS.Key, want.Cluster.TLS.CA = "/run/node.crt", "/run/node.key", "/run/nodes.crt"
	want.Admin.Socket, want.Admin.HTTP, want.State.File = "/run/a b.sock", "[::1]:0", None
	want.Admin.Group, want.Admin.MetricsPerPeer = "adm", true
	want.Log.Level, want.Log.Format = slog.LevelDebug, FormatJSON
	if diff := cmp.Diff(want, loaded, comparePrefixes); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	if len(warnings) > 0 {
		t.Errorf("want no warning, got %v", warnings)
	}
}

func TestEmptyVariableCountsAsNotSet(t *testing.T) {
	loaded, warnings := load(t, "listen: :9001\n", []string{"UDPRELAY_LISTEN=", "UDPRELAY_ACCESS=", "UDPRELAY_PEERS_STATIC="}, nil)
	if loaded.Listen != ":9001" || len(loaded.Access) != 3 || len(warnings) > 0 {
		t.Errorf("want what the file says, got %+v and %v", loaded, warnings)
	}
}

func TestTheLastOfTwoEqualVariablesHolds(t *testing.T) {
	loaded, _ := load(t, "", []string{"UDPRELAY_LISTEN=:1", "UDPRELAY_LISTEN=:2"}, nil)
	if loaded.Listen != ":2" {
		t.Errorf("want :2, got %s", loaded.Listen)
	}
}

func TestUnknownVariableIsAWarning(t *testing.T) {
	_, warnings := load(t, "", []string{
		"UDPRELAY_SERVICE_HOST=10.0.0.1",
		"UDPRELAY_PEER_MAX=3",
		"UDPRELAY_LISTN=:9001",
		"udprelay_listen=:9001",
		"UDPRELAY_PEERS_MAX PER ADDRESS=3",
	}, nil)
	want := []string{
		`"UDPRELAY_PEERS_MAX PER ADDRESS": unknown variable, ignored; did you mean UDPRELAY_PEERS_MAX_PER_ADDRESS?`,
		"UDPRELAY_LISTN: unknown variable, ignored; did you mean UDPRELAY_LISTEN?",
		"UDPRELAY_PEER_MAX: unknown variable, ignored; did you mean UDPRELAY_PEERS_MAX?",
		"UDPRELAY_SERVICE_HOST: unknown variable, ignored",
	}
	var got []string
	for _, w := range warnings {
		got = append(got, w.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

func TestFlagsAddPeersAndReplaceRules(t *testing.T) {
	file := "peers:\n  static:\n  - address: a.example:1\naccess:\n- from: any\n"
	loaded, _ := load(t, file, nil, []Setting{
		{"--peer", "peers.static", "b.example:2"},
		{"--allow", "access", "private"},
		{"--peer", "peers.static", "[::1]:3"},
		{"--allow", "access", "198.51.100.0/24=send"},
	})
	if diff := cmp.Diff([]StaticPeer{{"a.example:1"}, {"b.example:2"}, {"[::1]:3"}}, loaded.Peers.Static); diff != "" {
		t.Errorf("static peers (-want +got):\n%s", diff)
	}
	var rules []string
	for _, rule := range loaded.Access {
		rules = append(rules, rule.From+"="+rule.May.String())
	}
	if diff := cmp.Diff([]string{"private=both", "198.51.100.0/24=send"}, rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
}

func TestWordsOfARuleMayComeInAnyOrder(t *testing.T) {
	for text, want := range map[string]string{
		"any":                  "any both open",
		"any=send":             "any send open",
		"any=cookie":           "any both cookie",
		"any=receive=cookie":   "any receive cookie",
		"any=secret=receive":   "any receive secret",
		"2001:db8::=open":      "2001:db8:: both open",
		"10.0.0.0/8=open=both": "10.0.0.0/8 both open",
	} {
		secret := Setting{"--secret-file", "join.secret_file", "secret"}
		for _, loaded := range []*Config{
			first(load(t, "", nil, []Setting{{"--allow", "access", text}, secret})),
			first(load(t, "", []string{"UDPRELAY_ACCESS=" + text}, []Setting{secret})),
		} {
			rule := loaded.Access[0]
			if got := fmt.Sprint(rule.From, " ", rule.May, " ", rule.Join); got != want {
				t.Errorf("%s: want %s, got %s", text, want, got)
			}
		}
	}
}

func first(loaded *Config, _ []Warning) *Config { return loaded }

func TestWrongWordsOfARuleAreNamed(t *testing.T) {
	const (
		words  = "both, send, receive, nothing, open, cookie or secret"
		secret = `"secret" needs a secret, and join.secret_file is not set; want there the name of a file with the secret, such as /etc/udprelay/secret`
	)
	long := strings.Repeat("x", 1000)
	for text, want := range map[string]string{
		"any=":                 `access[0]: has nothing after a "="; want ` + words,
		"any==send":            `access[0]: has nothing after a "="; want ` + words,
		"any=send=":            `access[0]: has nothing after a "="; want ` + words,
		"any=cokie":            `access[0]: unknown word "cokie"; did you mean "cookie"?`,
		"any=all":              `access[0]: unknown word "all"; want ` + words,
		"any=" + long:          `access[0]: unknown word "` + long[:60] + `…"; want ` + words,
		"any=send=receive":     `access[0].may: "send" and "receive" cannot both hold; want one of them`,
		"any=cookie=send=open": `access[0].join: "cookie" and "open" cannot both hold; want one of them`,
		"any=cookie=cookie":    `access[0].join: "cookie" and "cookie" cannot both hold; want one of them`,
		"any=secret":           `access[0].join: ` + secret,
		"=secret":              "access[0].from: is empty; want any, loopback, private, link-local, an address, or a prefix such as 203.0.113.0/24\nSOURCE: access[0].join: " + secret,
	} {
		_, _, err := tryLoad(t, "", nil, []Setting{{"--allow", "access", text}})
		wantError(t, err, "--allow: "+strings.ReplaceAll(want, "SOURCE", "--allow"))
		_, _, err = tryLoad(t, "", []string{"UDPRELAY_ACCESS=" + text}, nil)
		wantError(t, err, "UDPRELAY_ACCESS: "+strings.ReplaceAll(want, "SOURCE", "UDPRELAY_ACCESS"))
	}
}

func TestARuleOfManyWordsDoesNotFloodTheLog(t *testing.T) {
	_, _, err := tryLoad(t, "", []string{"UDPRELAY_ACCESS=any" + strings.Repeat("=x", 100_000)}, nil)
	if lines := strings.Split(err.Error(), "\n"); len(lines) != maxErrors+1 {
		t.Errorf("want %d lines, got %d", maxErrors+1, len(lines))
	}
}

func TestASecretFileIsTakenBackByAnEmptyFlag(t *testing.T) {
	file := "join:\n  secret_file: secret\n"
	flag := []Setting{{"--secret-file", "join.secret_file", ""}}
	if loaded, warnings := load(t, file, nil, flag); loaded.Join.SecretFile != "" || len(warnings) > 0 {
		t.Errorf("want no file and no warning, got %q and %v", loaded.Join.SecretFile, warnings)
	}
	_, _, err := tryLoad(t, file+"access:\n- from: any\n  join: secret\n", nil, flag)
	wantError(t, err, `room.yaml:5:9: access[0].join: "secret" needs a secret, and join.secret_file is not set; want there the name of a file with the secret, such as /etc/udprelay/secret`)
	if loaded, _ := load(t, "access:\n- from: any\n  join: secret\n", []string{"UDPRELAY_JOIN_SECRET_FILE=x"}, nil); loaded.Join.SecretFile != "x" {
		t.Errorf("want the file of the environment, got %q", loaded.Join.SecretFile)
	}
}

func TestAnOpenRuleFromAFlagIsAWarning(t *testing.T) {
	_, warnings := load(t, "", nil, []Setting{{"--allow", "access", "any=receive"}, {"--expiry", "peers.expiry", "2h"}})
	const want = "--allow: access[0]: the rule for any lets everybody join without a proof: one datagram with a forged source address makes a stranger a receiver for 2h, who then gets all that peers send; want join: cookie, or a rule for the networks that you know"
	if len(warnings) != 1 || warnings[0].String() != want {
		t.Errorf("want %q, got %v", want, warnings)
	}
}

func TestHTTPIsTurnedOffByEachSource(t *testing.T) {
	const file = "admin:\n  http: 192.0.2.1:80\n"
	flag := func(value string) []Setting { return []Setting{{"--admin-http", "admin.http", value}} }
	for _, c := range []struct {
		name    string
		file    string
		environ []string
		flags   []Setting
		want    string
	}{
		{"default", "", nil, nil, "127.0.0.1:9001"},
		{"file", "admin:\n  http: ''\n", nil, nil, ""},
		{"environment", file, []string{"UDPRELAY_ADMIN_HTTP=none"}, nil, None},
		{"empty flag", file, nil, flag(""), ""},
		{"flag", file, nil, flag("none"), None},
		{"flag over environment", file, []string{"UDPRELAY_ADMIN_HTTP=0.0.0.0:80"}, flag(None), None},
	} {
		if loaded, warnings := load(t, c.file, c.environ, c.flags); loaded.Admin.HTTP != c.want || len(warnings) > 0 {
			t.Errorf("%s: want %q and no warning, got %q and %v", c.name, c.want, loaded.Admin.HTTP, warnings)
		}
	}
}

func TestAWaitForTrainsThatThereAreNotIsAWarningAtItsSource(t *testing.T) {
	const text = " socket.coalesce: each datagram waits up to 1ms so that trains grow, and there are none: socket.trains is off; want trains: auto, or coalesce: 0"
	off := []Setting{{"--trains", "socket.trains", "off"}}
	_, fromVariable := load(t, "", []string{"UDPRELAY_SOCKET_COALESCE=1ms"}, off)
	_, fromFile := load(t, "socket:\n  coalesce: 1ms\n", nil, off)
	for source, warnings := range map[string][]Warning{"UDPRELAY_SOCKET_COALESCE:": fromVariable, "room.yaml:2:13:": fromFile} {
		if len(warnings) != 1 || warnings[0].String() != source+text {
			t.Errorf("want %q, got %v", source+text, warnings)
		}
	}
	if _, warnings := load(t, "socket:\n  coalesce: 1ms\n", []string{"UDPRELAY_SOCKET_COALESCE=0"}, off); len(warnings) > 0 {
		t.Errorf("want no warning where nothing waits, got %v", warnings)
	}
}

func TestHTTPThatOthersReachIsAWarningAtItsSource(t *testing.T) {
	const text = " admin.http: everybody who reaches 192.0.2.1:80 may read who the peers are, and change nothing; want a loopback address such as 127.0.0.1:80 if that is not meant"
	_, fromVariable := load(t, "", []string{"UDPRELAY_ADMIN_HTTP=192.0.2.1:80"}, nil)
	_, fromFlag := load(t, "admin:\n  http: none\n", nil, []Setting{{"--admin-http", "admin.http", "192.0.2.1:80"}})
	_, fromFile := load(t, "admin:\n  http: 192.0.2.1:80\n", []string{"UDPRELAY_ADMIN_HTTP="}, nil)
	for source, warnings := range map[string][]Warning{"UDPRELAY_ADMIN_HTTP:": fromVariable, "--admin-http:": fromFlag, "room.yaml:2:9:": fromFile} {
		if len(warnings) != 1 || warnings[0].String() != source+text {
			t.Errorf("want %q, got %v", source+text, warnings)
		}
	}
}

func TestMistakesOfAllSourcesComeAtOnce(t *testing.T) {
	_, _, err := tryLoad(t, "peers:\n  max: 0x1\n  static:\n  - address: 192.0.2.1:1\n", []string{
		"UDPRELAY_PEERS_EXPIRY=60",
		"UDPRELAY_ACCESS=private,,any=recv",
	}, []Setting{
		{"--listen", "listen", ""},
		{"--log-level", "log.level", "wran"},
		{"--peer", "peers.static", "192.0.2.1:1"},
		{"--allow", "access", "privat=send"},
		{"--max-peers", "peers.max", "many"},
		{"--nonsense", "nonsense", "1"},
	})
	wantError(t, err, `room.yaml:2:8: peers.max: "0x1" is no whole number; want a number from 1 to 1000000, or 0 for no limit
UDPRELAY_PEERS_EXPIRY: peers.expiry: "60" has no unit; want a duration such as 60s, 5m or 1h30m
UDPRELAY_ACCESS: access[1].from: is empty; want any, loopback, private, link-local, an address, or a prefix such as 203.0.113.0/24
UDPRELAY_ACCESS: access[2]: unknown word "recv"; want both, send, receive, nothing, open, cookie or secret
--listen: listen: is empty; want host:port such as ":9000" or "192.0.2.1:9000"
--log-level: log.level: unknown word "wran"; did you mean "warn"?
--allow: access[0].from: unknown word "privat"; did you mean "private"?
--max-peers: peers.max: "many" is no whole number; want a number from 1 to 1000000, or 0 for no limit
--nonsense: nonsense: unknown key
--peer: peers.static[1].address: "192.0.2.1:1" is already in the list, at room.yaml:4:5; want it once`)
}

func TestMistakesBetweenSourcesNameTheOther(t *testing.T) {
	_, _, err := tryLoad(t, "", []string{"UDPRELAY_PEERS_STATIC=[2001:db8::1]:1"}, []Setting{{"--listen", "listen", "192.0.2.1:9000"}})
	wantError(t, err, `UDPRELAY_PEERS_STATIC: peers.static[0].address: 2001:db8::1 is IPv6, but listen is "192.0.2.1:9000", which is IPv4 only; want a listen such as ":9000"`)
}

func TestAHiddenRuleFromAFlagIsAWarning(t *testing.T) {
	_, warnings := load(t, "", nil, []Setting{{"--allow", "access", "any=cookie"}, {"--allow", "access", "private=send"}})
	if len(warnings) != 1 || warnings[0].String() != "--allow: access[1]: the rule for private never decides: access[0] at --allow comes first and covers all of it" {
		t.Errorf("want one warning of the second rule, got %v", warnings)
	}
}

func TestListsOfTheEnvironmentAreBounded(t *testing.T) {
	var rules []Setting
	for range maxRules + 1 {
		rules = append(rules, Setting{"--allow", "access", "any"})
	}
	_, _, err := tryLoad(t, "", nil, rules)
	wantError(t, err, "--allow: access: has more than 1000 items; want at most 1000")
}
