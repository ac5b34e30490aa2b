package command

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/admin"
	"udprelay/internal/client/relaytest"
)

// program returns a command line of udprelay in a process of its own; see
// withDefaults of the external tests.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = []string{"UDPRELAY_TEST_SERVE=../../config.yaml", "RUNTIME_DIRECTORY=" + os.Getenv("RUNTIME_DIRECTORY")}
	return cmd
}

// A screen is a terminal with a program that draws on it.
type screen struct {
	*relaytest.Process
	keyboard *os.File
	drawn    strings.Builder
}

// startOnScreen starts a command on a terminal of its own.
func startOnScreen(t *testing.T, width, height uint16, args ...string) *screen {
	t.Helper()
	keyboard, terminal := relaytest.Terminal(t)
	resize(t, terminal, width, height)
	cmd := program(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = terminal, terminal, terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // which is its descriptor 0
	return &screen{Process: relaytest.StartProcess(t, cmd), keyboard: keyboard}
}

func resize(t *testing.T, terminal *os.File, width, height uint16) {
	t.Helper()
	raw, err := terminal.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: height, Col: width})
	})
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}

// await reads what is drawn until a whole screen satisfies want, and returns its
// lines.
func (s *screen) await(t *testing.T, want func(text string) bool) []string {
	t.Helper()
	if err := s.keyboard.SetReadDeadline(time.Now().Add(relaytest.Patience)); err != nil {
		t.Fatal(err)
	}
	part := make([]byte, 4096)
	for {
		frames := strings.Split(s.drawn.String(), "\x1b[H")
		for i := len(frames) - 1; i > 0; i-- {
			text, whole := strings.CutSuffix(frames[i], "\x1b[J")
			if whole && want(text) {
				return strings.Split(strings.TrimSuffix(strings.ReplaceAll(text, "\x1b[K\r\n", "\n"), "\n"), "\n")
			}
		}
		n, err := s.keyboard.Read(part)
		if err != nil {
			t.Fatalf("%v; drawn is %q", err, s.drawn.String())
		}
		s.drawn.Write(part[:n])
	}
}

func contains(part string) func(string) bool {
	return func(text string) bool { return strings.Contains(text, part) }
}

// wantFits compares what is drawn with the size of the screen. The last line of
// it stays free for the cursor.
func wantFits(t *testing.T, lines []string, width, height int) {
	t.Helper()
	if len(lines) > height-1 {
		t.Errorf("want %d lines at most, got %d:\n%s", height-1, len(lines), strings.Join(lines, "\n"))
	}
	for _, line := range lines {
		if len(line) > width || strings.Contains(line, "\x1b") {
			t.Errorf("want %d places at most and nothing to clear the screen, got %q", width, line)
		}
	}
}

func TestStatusIsWatchedOnATerminal(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	r := &relayOf{status: busyStatus()}
	stop := stand(t, socket, r)
	s := startOnScreen(t, 80, 40, "status", "--watch", "--socket", socket)
	lines := s.await(t, contains("in        1,234,568 datagrams"))
	wantFits(t, lines, 80, 40)
	if want := toldStatus(r.Status()).lines(80); len(lines) != len(want)+1 || !strings.HasSuffix(lines[0], " UTC; every second, Ctrl-C ends") {
		t.Errorf("want a heading and the status, got\n%s", strings.Join(lines, "\n"))
	}
	s.await(t, contains("in        1,234,570 datagrams")) // one was this test

	stop()
	lines = s.await(t, contains("THE RELAY DOES NOT ANSWER, since "))
	wantFits(t, lines, 80, 40)
	text := strings.Join(lines[1:], "")
	if !strings.HasPrefix(text, "no relay answers at the control socket "+socket+": ") || !strings.Contains(text, "What it said before:relay     ready, version 1.2.3listens ") {
		t.Errorf("want the reason and the previous status, got\n%s", strings.Join(lines, "\n"))
	}
	r.status.Listen = "[::]:9999"
	stand(t, socket, r)
	lines = s.await(t, contains("listens   [::]:9999"))
	if !strings.HasSuffix(lines[0], "Ctrl-C ends") {
		t.Errorf("want nothing said of the relay that is back, got\n%s", strings.Join(lines, "\n"))
	}
	if _, err := s.keyboard.WriteString("\x03"); err != nil { // Ctrl-C
		t.Fatal(err)
	}
	s.WantEnd(t, 0, "")
}

func TestAStatusThatIsTooHighForTheTerminalSaysSo(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	stand(t, socket, &relayOf{status: busyStatus()})
	s := startOnScreen(t, 30, 10, "status", "--watch", "--socket", socket)
	lines := s.await(t, contains("more lines)"))
	wantFits(t, lines, 30, 10)
	if want := "(25 more lines)"; lines[len(lines)-1] != want {
		t.Errorf("want %q, got\n%s", want, strings.Join(lines, "\n"))
	}
	s.Signal(t, syscall.SIGTERM)
	s.WantEnd(t, 0, "")
}

func TestPeersAreWatchedAsFarAsTheTerminalHasLines(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	stand(t, socket, &relayOf{peers: crowd(2500)})
	for _, test := range []struct {
		height      uint16
		limit, last string
		lines       int
	}{
		{10, "0", "6 of 2,500 peers", 9},
		{10, "3", "3 of 2,500 peers", 6},
		{0, "0", "20 of 2,500 peers", 23}, // a serial line, taken for one of 24 lines
	} {
		s := startOnScreen(t, 6*test.height, test.height, "peers", "--watch", "--limit", test.limit, "--socket", socket)
		got := s.await(t, contains(" peers"))
		if test.height > 0 {
			wantFits(t, got, 60, 10)
		}
		if len(got) != test.lines || got[len(got)-1] != test.last {
			t.Errorf("--limit %s: want %d lines, %q the last, got\n%s", test.limit, test.lines, test.last, strings.Join(got, "\n"))
		}
		s.Signal(t, os.Interrupt)
		s.WantEnd(t, 0, "")
	}
}

func TestAWatchGoesOnSayingThatTheConfigurationIsBad(t *testing.T) {
	directory := shortDirectory(t)
	stand(t, filepath.Join(directory, "control.sock"), &relayOf{peers: crowd(100)})
	t.Setenv("RUNTIME_DIRECTORY", directory)
	bad := writeConfig(t, "lisen: \":1\"\n")
	s := startOnScreen(t, 60, 10, "peers", "--watch", "--config", bad)
	got := s.await(t, contains("5 of 100 peers"))
	wantFits(t, got, 60, 10)
	if !strings.HasPrefix(got[0], "warning: asked at the usual places, for here") {
		t.Errorf("want the warning above, got\n%s", strings.Join(got, "\n"))
	}
	s.Signal(t, os.Interrupt)
	s.WantEnd(t, 0, "")
}

// lines reads lines from a pipe, each within a time.
type lines struct {
	file *os.File
	from *bufio.Reader
}

func (l *lines) next(t *testing.T) string {
	t.Helper()
	_ = l.file.SetReadDeadline(time.Now().Add(relaytest.Patience))
	line, err := l.from.ReadString('\n')
	if err != nil {
		t.Fatalf("want a line, got %q, %v", line, err)
	}
	return strings.TrimSuffix(line, "\n")
}

// startOnPipes starts a command with standard output and error in pipes.
func startOnPipes(t *testing.T, args ...string) (p *relaytest.Process, stdout, stderr *lines) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close() })
	cmd := program(args...)
	cmd.Stderr = write
	p = relaytest.StartProcess(t, cmd)
	write.Close()
	return p, &lines{p.Stdout, bufio.NewReader(p.Stdout)}, &lines{read, bufio.NewReader(read)}
}

func TestAWatchInAPipePrintsBlocks(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	r := &relayOf{status: admin.Status{Listen: "[::]:9000"}}
	stop := stand(t, socket, r)
	p, stdout, stderr := startOnPipes(t, "status", "--watch", "--socket", socket)
	block := func() {
		t.Helper()
		if _, err := time.Parse("2006-01-02 15:04:05 UTC", stdout.next(t)); err != nil {
			t.Errorf("want a time first: %v", err)
		}
		for _, want := range toldStatus(r.status).lines(0) {
			if got := stdout.next(t); got != want && !strings.HasPrefix(want, "in ") {
				t.Errorf("want %q, got %q", want, got)
			}
		}
	}
	block()
	if got := stdout.next(t); got != "" {
		t.Errorf("want an empty line between blocks, got %q", got)
	}
	block()
	stop()
	got := stderr.next(t)
	if !strings.HasPrefix(got, "udprelay: no relay answers at the control socket "+socket+": ") || !strings.HasSuffix(got, "; trying again every second") {
		t.Errorf("want it said that the relay is gone, got %q", got)
	}
	stand(t, socket, r)
	if got := stderr.next(t); got != "udprelay: the relay answers again" {
		t.Errorf("want it said that the relay is back, got %q", got)
	}
	p.Signal(t, os.Interrupt)
	p.WantEnd(t, 0, "")
}

func TestAWatchInJSONIsALineEachTime(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	stand(t, socket, &relayOf{peers: crowd(3)})
	p, stdout, _ := startOnPipes(t, "peers", "--watch", "--json", "--socket", socket)
	for range 2 {
		var page admin.PeerPage
		if err := json.Unmarshal([]byte(stdout.next(t)), &page); err != nil || len(page.Peers) != 3 {
			t.Errorf("want 3 peers, got %+v, %v", page, err)
		}
	}
	p.Signal(t, os.Interrupt)
	p.WantEnd(t, 0, "")
}

func TestCtrlCEndsAWatchThatHasNoAnswerYet(t *testing.T) {
	socket := filepath.Join(shortDirectory(t), "control.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	p, _, _ := startOnPipes(t, "status", "--watch", "--socket", socket)
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p.Signal(t, os.Interrupt)
	p.WantEnd(t, 0, "")
}
