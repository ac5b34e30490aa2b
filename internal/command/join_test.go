//go:build unix

package command_test

import (
	"bufio"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"udprelay/internal/client/relaytest"
	"udprelay/internal/command"
	"udprelay/internal/testwait"
)

// asUdprelay in the environment makes the test binary the program itself, for
// what only a process of its own can show: signals and the ends of pipes.
const asUdprelay = "UDPRELAY_TEST_JOIN"

func init() {
	if os.Getenv(asUdprelay) != "" {
		os.Exit(command.Run(os.Args, command.World{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ()}))
	}
}

// startJoin starts udprelay join in a process of its own.
func startJoin(t *testing.T, prepare func(*exec.Cmd), args ...string) *relaytest.Process {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"join"}, args...)...)
	cmd.Env = append(os.Environ(), asUdprelay+"=1")
	if prepare != nil {
		prepare(cmd)
	}
	return relaytest.StartProcess(t, cmd)
}

func TestJoinStreamsLineByLine(t *testing.T) {
	relay := relaytest.Start(t)
	j := startJoin(t, nil, relay.Addr)
	peer := relay.Next(t).From
	for _, line := range []string{"one\n", "two\n"} {
		if _, err := j.Stdin.WriteString(line); err != nil {
			t.Fatal(err)
		}
		if got := relay.NextPayload(t); got != line {
			t.Errorf("want the datagram %q, got %q", line, got)
		}
		relay.Send(t, peer, "echo "+line)
		j.WantLine(t, "echo "+line)
	}
	j.Stdin.Close()
	j.WantEnd(t, 0, "")
}

func TestJoinEndsQuietlyWithItsReader(t *testing.T) {
	t.Run("a pipe", func(t *testing.T) {
		relay := relaytest.Start(t)
		j := startJoin(t, nil, "--no-input", relay.Addr)
		peer := relay.Next(t).From
		relay.Send(t, peer, "first")
		j.WantLine(t, "first\n")
		j.Stdout.Close() // as head -1 does; on Linux nothing more is needed
		if runtime.GOOS != "linux" {
			relay.Send(t, peer, "second")
		}
		j.WantEnd(t, 0, "")
	})
	// A socket is not watched, so that the write meets SIGPIPE.
	t.Run("a socket", func(t *testing.T) {
		ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		syscall.Close(ends[0])
		stdout := os.NewFile(uintptr(ends[1]), "stdout")
		defer stdout.Close()
		relay := relaytest.Start(t)
		j := startJoin(t, func(cmd *exec.Cmd) { cmd.Stdout = stdout }, "--no-input", relay.Addr)
		relay.Send(t, relay.Next(t).From, "nobody reads this")
		j.WantEnd(t, 0, "")
	})
}

func TestJoinEndsAtASignal(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			relay := relaytest.Start(t)
			j := startJoin(t, nil, relay.Addr)
			relay.Next(t) // it has joined, and so it listens for signals
			j.Signal(t, sig)
			j.WantEnd(t, 0, "")
		})
	}
}

func TestJoinWithoutInputOutlivesItsInput(t *testing.T) {
	relay := relaytest.Start(t)
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	j := startJoin(t, func(cmd *exec.Cmd) { cmd.Stdin = null }, "--no-input", "--keep-alive", "1s", relay.Addr)
	peer := relay.Next(t).From
	relay.Next(t) // a keep-alive: a session that had read its input would have ended by now
	relay.Send(t, peer, "still there")
	j.WantLine(t, "still there\n")
	j.Signal(t, syscall.SIGTERM)
	j.WantEnd(t, 0, "")
}

func TestJoinOnATerminal(t *testing.T) {
	keyboard, terminal := relaytest.Terminal(t)
	relay := relaytest.Start(t)
	j := startJoin(t, func(cmd *exec.Cmd) { cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal }, relay.Addr)
	screen := bufio.NewReader(keyboard)
	_ = keyboard.SetReadDeadline(time.Now().Add(relaytest.Patience))
	want := func(line string) {
		t.Helper()
		if got, err := screen.ReadString('\n'); got != line+"\r\n" || err != nil {
			t.Errorf("want %q on the screen, got %q, %v", line, got, err)
		}
	}
	typed := func(keys string) {
		t.Helper()
		if _, err := keyboard.WriteString(keys); err != nil {
			t.Fatal(err)
		}
	}
	want("udprelay: sending to " + relay.Addr + "; what you type goes to everyone else, Ctrl-D ends")
	peer := relay.Next(t).From
	typed("hello\n")
	want("hello") // the terminal's echo
	if got := relay.NextPayload(t); got != "hello\n" {
		t.Errorf("want the datagram %q, got %q", "hello\n", got)
	}
	relay.Send(t, peer, "\x1b]0;owned\x07\tgrüße\u202e\x9b2J\r\n")
	want(`\x1b]0;owned\x07` + "\t" + `grüße\u202e\x9b2J`)
	typed("\x04")
	j.WantEnd(t, 0, "")
}

// run runs udprelay join in this process.
func run(stdin string, args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = command.Run(append([]string{"udprelay", "join"}, args...),
		command.World{Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &err})
	return code, out.String(), err.String()
}

func TestJoinSendsAndLeaves(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	relay := relaytest.Start(t)
	defer relay.Close()
	for _, test := range []struct {
		args  []string
		input string
		want  []string
	}{
		{nil, "a\nb", []string{"a\n", "b"}},
		{[]string{"--hex"}, "00:ff\n", []string{"\x00\xff"}},
		{[]string{"--raw"}, strings.Repeat("x", 1201), []string{strings.Repeat("x", 1200), "x"}},
		{[]string{"--raw", "--size", "2"}, "abc", []string{"ab", "c"}},
	} {
		code, stdout, stderr := run(test.input, append(test.args, relay.Addr)...)
		if code != 0 || stdout != "" || stderr != "" {
			t.Errorf("%v: want exit code 0 in silence, got %d, %q, %q", test.args, code, stdout, stderr)
		}
		for _, want := range test.want {
			if got := relay.NextPayload(t); got != want {
				t.Errorf("%v: want the datagram %q, got %q", test.args, want, got)
			}
		}
	}
}

func TestJoinTellsWhatWentWrong(t *testing.T) {
	relay, dead := relaytest.Start(t), relaytest.FreeAddr(t)
	for name, test := range map[string]struct {
		input  string
		args   []string
		code   int
		stderr string
	}{
		"bad lines": {"01\n0\nxx\n", []string{"--hex", relay.Addr}, 1,
			"udprelay: line 2: column 1: a byte has two hex digits, not one\n" +
				"udprelay: line 3: column 1: 'x' is not a hex digit\n" +
				"udprelay: 2 lines were not sent\n"},
		"a dead relay": {"lost\n", []string{"--wait", "2s", dead}, 69,
			"udprelay: nothing listens at " + dead + " (connection refused); datagrams were lost\n" +
				"hint: is the relay running there? start one with: udprelay serve\n"},
		"a dead relay and bad lines": {"01\n0\n", []string{"--wait", "2s", "--hex", dead}, 69,
			"udprelay: line 2: column 1: a byte has two hex digits, not one\n" +
				"udprelay: nothing listens at " + dead + " (connection refused); datagrams were lost\n" +
				"udprelay: 1 line was not sent\n" +
				"hint: is the relay running there? start one with: udprelay serve\n"},
		"a dead relay and nothing to send": {"", []string{"--wait", "2s", dead}, 69,
			"udprelay: nothing listens at " + dead + " (connection refused)\n" +
				"hint: is the relay running there? start one with: udprelay serve\n"},
		"a zone that does not exist": {"", []string{"[fe80::1%nowhere]:9000"}, 69,
			"udprelay: connect to [fe80::1%nowhere]:9000: invalid argument\n"},
	} {
		t.Run(name, func(t *testing.T) {
			code, stdout, stderr := run(test.input, test.args...)
			stderr = strings.Replace(stderr, "udprelay: nothing listens at "+dead+" (connection refused); still trying\n", "", 1) // said while it waits
			if code != test.code || stdout != "" || stderr != test.stderr {
				t.Errorf("want exit code %d, got %d, output %q, standard error:\nwant %q\ngot  %q", test.code, code, stdout, test.stderr, stderr)
			}
		})
	}
	t.Run("a name that does not exist", func(t *testing.T) {
		code, _, stderr := run("", "no-such-host.invalid:9000")
		if code != 69 || !strings.HasPrefix(stderr, "udprelay: lookup no-such-host.invalid") {
			t.Errorf("want exit code 69 and the failed lookup, got %d, %q", code, stderr)
		}
	})
}

func TestJoinRefusesWhatMakesNoSense(t *testing.T) {
	const help = "see udprelay join --help"
	for args, want := range map[string][2]string{
		"":                         {"no relay is named", "want HOST:PORT, such as localhost:9000"},
		"relay.example":            {`address "relay.example": the port is missing`, "want HOST:PORT, such as relay.example:9000"},
		"::1":                      {`address "::1": an IPv6 address goes in brackets, and a port after them`, "want HOST:PORT, such as [::1]:9000"},
		"a:http":                   {`address "a:http": port "http" is not a number from 1 to 65535`, "want HOST:PORT, such as a:9000"},
		"a:1 --hex":                {`unexpected argument "--hex"`, "flags go before HOST:PORT"},
		"a:1 b:1":                  {`unexpected argument "b:1"`, help},
		"--hex --raw a:1":          {"--hex and --raw exclude each other", help},
		"--size 100 a:1":           {"--size has a meaning only with --raw", help},
		"--raw --size 0 a:1":       {"--size 0: want 1 to 65507 bytes", help},
		"--raw --size 65508 a:1":   {"--size 65508: want 1 to 65507 bytes", help},
		"--wait -1s a:1":           {"--wait -1s: want 0s or more", help},
		"--wait 1s --no-input a:1": {"--wait begins when the input ends, so it has no meaning with --no-input", help},
		"--keep-alive 999ms a:1":   {"--keep-alive 999ms: want 1s or more", help},
		"--secret-file= a:1":       {"--secret-file names no file", help},
		"--once a:1":               {"unknown flag --once", help},
	} {
		code, stdout, stderr := run("", strings.Fields(args)...)
		if wantErr := "udprelay: " + want[0] + "\nhint: " + want[1] + "\n"; code != 64 || stdout != "" || stderr != wantErr {
			t.Errorf("join %s:\nwant 64, %q\ngot  %d, %q, output %q", args, wantErr, code, stderr, stdout)
		}
	}
}

// TestJoinExamplesRun runs the examples of the help page as they stand, but
// for the relay's address; a reader that is gone ends them at the first
// datagram.
func TestJoinExamplesRun(t *testing.T) {
	code, help, _ := run("", "--help")
	_, examples, found := strings.Cut(help, "\nExamples:\n")
	if code != 0 || !found {
		t.Fatalf("want a help page with examples, got %d, %q", code, help)
	}
	count := 0
	for line := range strings.Lines(examples) {
		_, example, found := strings.Cut(line, "udprelay join ")
		if !found {
			break
		}
		count++
		t.Run(strings.TrimSpace(line), func(t *testing.T) { runExample(t, example) })
	}
	if count < 4 {
		t.Errorf("want four examples or more, got %d", count)
	}
}

func runExample(t *testing.T, example string) {
	example = example[:strings.IndexAny(example, "|>#\n")]
	if strings.Contains(example, "://") {
		runConnectedExample(t, example)
		return
	}
	relay := relaytest.Start(t)
	example = strings.NewReplacer("localhost:9000", relay.Addr, "relay.example:9000", relay.Addr, "'[::1]:9000'", relay.Addr, "relay.secret", secretFile(t, "s")).Replace(example)
	wantExampleEnd(t, example, func() { relay.Send(t, relay.Next(t).From, "to nobody") })
}

// wantExampleEnd runs an example, and wants it to end when the relay has said
// something.
func wantExampleEnd(t *testing.T, example string, say func()) {
	t.Helper()
	stdin, typed := io.Pipe() // stays open
	defer typed.Close()
	var stderr bytes.Buffer
	ended := make(chan int)
	go func() {
		ended <- command.Run(append([]string{"udprelay", "join"}, strings.Fields(example)...),
			command.World{Stdin: stdin, Stdout: gone{}, Stderr: &stderr})
	}()
	say()
	if code := <-ended; code != 0 || stderr.Len() > 0 {
		t.Errorf("want exit code 0 in silence, got %d, %q", code, stderr.String())
	}
}

// secretFile writes a file with a secret.
func secretFile(t *testing.T, secret string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(name, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestJoinProves(t *testing.T) {
	file := secretFile(t, "right")
	for name, test := range map[string]struct {
		secret []byte
		args   []string
	}{
		"cookie":             {nil, nil},
		"cookie, and secret": {nil, []string{"--secret-file", file}},
		"secret":             {[]byte("right"), []string{"--secret-file", file}},
	} {
		t.Run(name, func(t *testing.T) {
			relay := relaytest.StartProving(t, relaytest.ProvingOptions{Secret: test.secret, Answers: 5})
			code, stdout, stderr := run("deploy done, and long enough for a cookie\n", append(test.args, relay.Addr)...)
			if code != 0 || stdout != "" || stderr != "" {
				t.Errorf("want exit code 0 in silence, got %d, %q, %q", code, stdout, stderr)
			}
			if got, want := relay.Next(t), "deploy done, and long enough for a cookie\n"; got != want {
				t.Errorf("want %q relayed, got %q", want, got)
			}
		})
	}
}

func TestJoinTellsThatItsProofIsNotAccepted(t *testing.T) {
	file := secretFile(t, "wrong")
	for name, test := range map[string]struct {
		args  []string
		input string
		hint  string
	}{
		"without a secret":    {nil, "lost\n", "does it want a secret? give it with --secret-file FILE"},
		"with a wrong one":    {[]string{"--secret-file", file}, "lost\n", "is it the secret of this relay?"},
		"and nothing to send": {nil, "", "does it want a secret? give it with --secret-file FILE"},
	} {
		t.Run(name, func(t *testing.T) {
			relay := relaytest.StartProving(t, relaytest.ProvingOptions{Secret: []byte("right"), Answers: 5})
			code, stdout, stderr := run(test.input, append(test.args, relay.Addr)...)
			want := "udprelay: the relay at " + relay.Addr + " wants a proof and does not accept ours"
			stderr = strings.TrimPrefix(stderr, want+"; still trying\n") // said if it takes long
			if test.input != "" {
				want += "; datagrams were lost"
			}
			if want += "\nhint: " + test.hint + "\n"; code != 69 || stdout != "" || stderr != want {
				t.Errorf("want exit code 69, got %d, output %q, standard error:\nwant %q\ngot  %q", code, stdout, want, stderr)
			}
		})
	}
	t.Run("without input", func(t *testing.T) {
		relay := relaytest.StartProving(t, relaytest.ProvingOptions{Secret: []byte("right"), Answers: 5})
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		j := startJoin(t, func(cmd *exec.Cmd) { cmd.Stderr = write }, "--no-input", "--keep-alive", "1s", relay.Addr)
		write.Close()
		_ = read.SetReadDeadline(time.Now().Add(3 * relaytest.Patience))
		said := bufio.NewReader(read)
		want := "udprelay: the relay at " + relay.Addr + " wants a proof and does not accept ours; still trying\n"
		if got, err := said.ReadString('\n'); got != want || err != nil {
			t.Errorf("want %q on standard error, got %q, %v", want, got, err)
		}
		relay.Forget(nil) // a cookie is enough from now on
		testwait.Until(t, func() bool { return relay.Peers() > 0 }, "want a peer")
		relay.Say("welcome")
		j.WantLine(t, "welcome\n")
		j.Signal(t, syscall.SIGTERM)
		j.WantEnd(t, 0, "")
		if rest, err := io.ReadAll(said); len(rest) > 0 || err != nil {
			t.Errorf("want it said once, got also %q, %v", rest, err)
		}
	})
}

func TestJoinNamesASecretThatItCannotRead(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	empty := secretFile(t, "")
	long := secretFile(t, strings.Repeat("x", 5000))
	for file, want := range map[string]string{
		none:  "udprelay: --secret-file: " + none + ": no such file or directory\n",
		empty: "udprelay: --secret-file: " + empty + " is empty: want the secret, such as a line of: openssl rand -hex 32\n",
		long:  "udprelay: --secret-file: " + long + " has more than 4096 bytes: want the secret and nothing else\n",
	} {
		relay := relaytest.Start(t)
		code, stdout, stderr := run("x\n", "--secret-file", file, relay.Addr)
		if code != 66 || stdout != "" || stderr != want {
			t.Errorf("want exit code 66, got %d, output %q, standard error:\nwant %q\ngot  %q", code, stdout, want, stderr)
		}
	}
}

// gone is a pipe without a reader.
type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }
