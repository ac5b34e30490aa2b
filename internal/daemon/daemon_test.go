package daemon

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"udprelay/internal/config"
	"udprelay/internal/logs"
	"udprelay/peers"
	"udprelay/relay"
)

// configured loads the shipped defaults with flags.
func configured(t *testing.T, flags ...config.Setting) *config.Config {
	t.Helper()
	cfg, err := withSettings(flags...)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// withSettings is configured for a goroutine that may not end the test.
func withSettings(flags ...config.Setting) (*config.Config, error) {
	defaults, err := os.ReadFile("../../config.yaml")
	if err != nil {
		return nil, err
	}
	// Those who want it say so: the default is one for all relays of a machine.
	flags = append([]config.Setting{{Name: "--admin-http", Key: "admin.http", Value: config.None}}, flags...)
	cfg, _, err := config.Load(defaults, nil, nil, flags)
	return cfg, err
}

// always returns options for a daemon that has cfg and logs to w.
func always(cfg *config.Config, w io.Writer) Options {
	return Options{
		Load:   func() (*config.Config, []config.Warning, error) { return cfg, nil, nil },
		Log:    func(*config.Config) *logs.Log { return logs.New(w, logs.Options{Level: slog.LevelDebug}) },
		Getenv: func(string) string { return "" },
	}
}

func allow(rule string) config.Setting {
	return config.Setting{Name: "--allow", Key: "access", Value: rule}
}

func secretFile(name string) config.Setting {
	return config.Setting{Name: "--secret-file", Key: "join.secret_file", Value: name}
}

func TestEveryKeyOfTheDatapathGetsThere(t *testing.T) {
	set := func(key, value string) config.Setting { return config.Setting{Name: key, Key: key, Value: value} }
	got := relayOptions(configured(t,
		set("peers.expiry", "1s"), set("peers.max", "2"), set("peers.max_per_address", "3"),
		set("peers.joins_per_second", "4"), set("peers.joins_per_second_per_address", "5"),
		allow("::/0=cookie=send"),
		set("limits.peer_datagrams_per_second", "6"), set("limits.peer_bytes_per_second", "7KiB"), set("limits.egress_bytes_per_second", "8MiB"),
		set("socket.receive_buffer", "9MiB"), set("socket.send_buffer", "10MiB"), set("socket.senders", "11"), set("socket.trains", "off"), set("socket.coalesce", "12us"),
	), []byte("secret"), nil)
	want := relay.Options{
		Peers: peers.Options{
			Expiry:        time.Second,
			Max:           2,
			MaxPerAddress: 3,
			Access: []peers.Rule{
				{From: "::/0", Cover: []netip.Prefix{netip.MustParsePrefix("::/0")}, May: peers.MaySend, Join: peers.JoinCookie},
			},
			JoinsPerSecond:           4,
			JoinsPerSecondPerAddress: 5,
		},
		ReceiveBuffer: 9 << 20,
		SendBuffer:    10 << 20,
		NoTrains:      true,
		Senders:       11,
		Coalesce:      12 * time.Microsecond,
		Limits:        relay.Limits{PeerDatagrams: 6, PeerBytes: 7 << 10, EgressBytes: 8 << 20},
		Secret:        []byte("secret"),
	}
	comparePrefixes := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	ignoreLogger := cmp.FilterValues(func(_, _ *slog.Logger) bool { return true }, cmp.Ignore())
	if diff := cmp.Diff(want, got, comparePrefixes, ignoreLogger); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
}

func TestSendersAreOnePerCoreIfTheyAreToBe(t *testing.T) {
	if before := runtime.GOMAXPROCS(3); before != 3 {
		defer runtime.GOMAXPROCS(before)
	}
	for number, want := range map[string]int{"0": 3, "1": 1, "2": 2} {
		if got := relayOptions(configured(t, keyed("socket.senders", number)), nil, nil).Senders; got != want {
			t.Errorf("socket.senders %s: want %d, got %d", number, want, got)
		}
	}
}

func TestWhatIsNotAsUsualIsSaidOfTheSending(t *testing.T) {
	for _, c := range []struct {
		options relay.Options
		want    []any
	}{
		{relay.Options{Senders: 1}, []any{"by", "the way"}},
		{relay.Options{Senders: 4}, []any{"by", "the way", "senders", 4}},
		{relay.Options{Senders: 1, Coalesce: time.Millisecond}, []any{"by", "the way", "coalesce", time.Millisecond}},
		{relay.Options{Senders: 2, Coalesce: time.Millisecond}, []any{"by", "the way", "senders", 2, "coalesce", time.Millisecond}},
	} {
		if diff := cmp.Diff(c.want, sending("the way", c.options)); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.options, diff)
		}
	}
}

func TestAccessRulesReadAsASentence(t *testing.T) {
	cfg := configured(t, allow("loopback"), allow("10.0.0.0/8=nothing=cookie"), allow("private=receive=cookie"), allow("any=secret"), secretFile("x"))
	const want = "loopback may send and receive, 10.0.0.0/8 may do nothing, private may only receive after a proof, any may send and receive after a proof with the secret, others are refused"
	if got := rules(cfg.Access); got != want {
		t.Errorf("want %q, got %q", want, got)
	}
}

func TestNoRelayStartsWithoutTheSecretThatItsRulesAskFor(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "secret")
	cfg := configured(t, config.Setting{Name: "--listen", Key: "listen", Value: "127.0.0.1:0"}, allow("any=secret"), secretFile(missing))
	err := Run(context.Background(), always(cfg, io.Discard))
	var unreadable *config.UnreadableSecret
	if !errors.As(err, &unreadable) || unreadable.ExitCode() != 78 || err.Error() != missing+": join.secret_file: there is no such file" {
		t.Errorf("want an error of the secret with exit code 78, got %v", err)
	}
}

func TestAWeakSecretIsLoggedButNotItself(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte("opensesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	d := start(t, surroundings{}, allow("any=secret"), secretFile(name))
	wants := []string{"level=WARN", "join.secret_file: the secret is 10 bytes long", "peer_datagrams_per_second=\"no limit\""}
	if runtime.GOOS != "windows" {
		wants = append(wants, "every user of this machine may read the secret")
	}
	for _, want := range wants {
		d.await(t, regexp.QuoteMeta(want))
	}
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(d.log.String(), "opensesame") {
		t.Errorf("want no secret in the log, got\n%s", &d.log)
	}
}
