//go:build unix

package command_test

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"udprelay/internal/certificate/certificatetest"
	"udprelay/internal/client/relaytest"
	"udprelay/internal/testwait"
)

// wantIn waits until a client is in.
func wantIn(t *testing.T, relay *relaytest.Connected) {
	t.Helper()
	testwait.Until(t, func() bool {
		_, in := relay.Count()
		return in > 0
	}, "want a client at the relay, and none came")
}

// runConnectedExample runs an example of a relay that is reached by a
// connection.
func runConnectedExample(t *testing.T, example string) {
	scheme := regexp.MustCompile(`(\w+)://\S+`).FindStringSubmatch(example)
	authority := certificatetest.New(t)
	relay := relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: scheme[1], TLS: authority.Serving()})
	example = strings.NewReplacer(scheme[0], relay.URL, "ca.pem", authority.File).Replace(example)
	wantExampleEnd(t, example, func() {
		wantIn(t, relay)
		relay.Say("to nobody")
	})
}

func TestJoinConnects(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	authority := certificatetest.New(t)
	secret := secretFile(t, "right")
	for _, scheme := range []string{"tcp", "tls", "ws", "wss"} {
		for name, key := range map[string][]byte{"open": nil, "secret": []byte("right")} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				relay := relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: scheme, Secret: key, TLS: authority.Serving()})
				defer relay.Close()
				args := []string{relay.URL}
				if key != nil {
					args = append([]string{"--secret-file", secret}, args...)
				}
				if scheme == "tls" || scheme == "wss" {
					args = append([]string{"--ca", authority.File}, args...)
				}
				code, stdout, stderr := run("one\ntwo\n", args...)
				if code != 0 || stdout != "" || stderr != "" {
					t.Errorf("want exit code 0 in silence, got %d, %q, %q", code, stdout, stderr)
				}
				for _, want := range []string{"one\n", "two\n"} {
					if got := relay.Next(t); got != want {
						t.Errorf("want the datagram %q, got %q", want, got)
					}
				}
			})
		}
	}
}

func TestJoinTellsWhyItCannotConnect(t *testing.T) {
	dead := relaytest.FreeAddr(t)
	turns := relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: "tcp", TurnAway: func(int) bool { return true }})
	wants := relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: "tcp", Secret: []byte("right")})
	const access = "hint: does it let this client in? see access, gateway.connections and the bans of the relay\n"
	for name, test := range map[string]struct {
		url, input, stderr string
	}{
		"nobody there": {"tcp://" + dead, "lost\n", "udprelay: cannot connect to tcp://" + dead + ": connection refused\n" +
			"hint: is the relay running there, and does its gateway listen there? see gateway in its configuration\n"},
		"turned away": {turns.URL, "", "udprelay: " + turns.URL + " ended the connection as soon as it had begun (closed by the relay)\n" + access},
		"wants a secret": {wants.URL, "", "udprelay: the relay at " + wants.URL + " wants a proof and does not accept ours\n" +
			"hint: does it want a secret? give it with --secret-file FILE\n"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := run(test.input, "--wait", "2s", test.url)
			said := strings.Split(stderr, "; still trying\n")
			stderr = strings.Replace(said[len(said)-1], "connection reset by peer", "closed by the relay", 1)
			if code != 69 || stdout != "" || stderr != test.stderr {
				t.Errorf("want exit code 69, got %d, output %q, standard error:\nwant %q\ngot  %q", code, stdout, test.stderr, stderr)
			}
		})
	}
}

// What is lost while the relay is away is said, and that it is back.
func TestJoinSaysThatTheRelayIsAwayAndBack(t *testing.T) {
	relay := relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: "tcp"})
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	j := startJoin(t, func(cmd *exec.Cmd) { cmd.Stderr = write }, relay.URL)
	write.Close()
	_ = read.SetReadDeadline(time.Now().Add(3 * relaytest.Patience))
	said := bufio.NewReader(read)
	want := func(begin, end string) {
		t.Helper()
		if got, err := said.ReadString('\n'); !strings.HasPrefix(got, begin) || !strings.HasSuffix(got, end+"\n") || err != nil {
			t.Fatalf("want %q … %q on standard error, got %q, %v", begin, end, got, err)
		}
	}
	typed := func(line string) {
		t.Helper()
		if _, err := j.Stdin.WriteString(line); err != nil {
			t.Fatal(err)
		}
	}
	wantIn(t, relay)
	relay.Say("hello")
	j.WantLine(t, "hello\n")
	relay.Close()
	want("udprelay: the connection to "+relay.URL+" is lost (", "); still trying")
	typed("lost\n")
	relay = relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: "tcp", Address: relay.Addr})
	want("udprelay: connected to "+relay.URL+" again", "")
	typed("taken\n")
	if got := relay.Next(t); got != "taken\n" {
		t.Errorf("want %q, got %q", "taken\n", got)
	}
	j.Stdin.Close()
	want("udprelay: the connection to "+relay.URL+" was lost for a while; datagrams were lost", "")
	want("hint: it is there again", "")
	j.WantEnd(t, 69, "")
	if rest, err := io.ReadAll(said); len(rest) > 0 || err != nil {
		t.Errorf("want nothing more on standard error, got %q, %v", rest, err)
	}
}

func TestJoinLeavesAConnectionAtASignal(t *testing.T) {
	relay := relaytest.StartConnected(t, relaytest.ConnectedOptions{Scheme: "ws"})
	j := startJoin(t, nil, "--no-input", relay.URL)
	wantIn(t, relay)
	relay.Say("hello")
	j.WantLine(t, "hello\n")
	j.Signal(t, syscall.SIGTERM)
	j.WantEnd(t, 0, "")
}

func TestJoinRefusesWhatMakesNoSenseOverAConnection(t *testing.T) {
	const help = "see udprelay join --help"
	for args, want := range map[string][2]string{
		"tcp://a":                        {`address "tcp://a": the port is missing`, "want tcp://HOST:PORT, such as tcp://a:9000"},
		"http://a:1":                     {`address "http://a:1": "http" is no way to reach a relay`, "want HOST:PORT (UDP), or tcp://, tls://, ws:// or wss:// before it, such as tcp://localhost:9000"},
		"--ca x a:1":                     {"--ca has a meaning only with tls:// and wss://", help},
		"--server-name x ws://a:1":       {"--server-name has a meaning only with tls:// and wss://", help},
		"--ca= tls://a:1":                {"--ca names nothing", help},
		"--certificate x tls://a:1":      {"--certificate and --key need each other", help},
		"--key x tls://a:1":              {"--certificate and --key need each other", help},
		"--raw --size 65508 tcp://a:1":   {"--size 65508: want 1 to 65507 bytes", help},
		"tcp://a:1 tcp://b:1":            {`unexpected argument "tcp://b:1"`, help},
		"tcp://a:1 --hex":                {`unexpected argument "--hex"`, "flags go before HOST:PORT"},
		"--wait 1s --no-input tcp://a:1": {"--wait begins when the input ends, so it has no meaning with --no-input", help},
	} {
		code, stdout, stderr := run("", strings.Fields(args)...)
		if wantErr := "udprelay: " + want[0] + "\nhint: " + want[1] + "\n"; code != 64 || stdout != "" || stderr != wantErr {
			t.Errorf("join %s:\nwant 64, %q\ngot  %d, %q, output %q", args, wantErr, code, stderr, stdout)
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	code, _, stderr := run("", "--ca", none, "tls://127.0.0.1:1")
	if want := "udprelay: --ca: " + none + ": no such file or directory\n"; code != 66 || stderr != want {
		t.Errorf("want 66, %q, got %d, %q", want, code, stderr)
	}
}
