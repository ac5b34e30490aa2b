package command_test

import (
	"bufio"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"udprelay/internal/client/relaytest"
	"udprelay/internal/command"
	"udprelay/internal/testwait"
)

// withDefaults in the environment makes the test binary the program with its
// default configuration.
const withDefaults = "UDPRELAY_TEST_SERVE"

func init() {
	if name := os.Getenv(withDefaults); name != "" {
		os.Unsetenv(withDefaults) // no key of the configuration
		defaults, err := os.ReadFile(name)
		if err != nil {
			panic(err)
		}
		os.Exit(command.Run(os.Args, command.World{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Environ: os.Environ(), DefaultConfig: defaults}))
	}
}

// A serving is udprelay serve in a process of its own.
type serving struct {
	*relaytest.Process
	process *os.Process
}

// startServe starts udprelay serve with its log at stderr, in a session of its
// own.
func startServe(t *testing.T, stderr *os.File, args ...string) *serving {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"serve", "--listen", "127.0.0.1:0", "--admin-socket", "none"}, args...)...)
	cmd.Env = []string{withDefaults + "=../../config.yaml"}
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return &serving{relaytest.StartProcess(t, cmd), cmd.Process}
}

// A reading is a log that is read while it is written.
type reading struct {
	file  *os.File
	lines *bufio.Reader
}

func read(file *os.File) *reading { return &reading{file, bufio.NewReader(file)} }

// await reads up to a line that contains text.
func (r *reading) await(t *testing.T, text string) {
	t.Helper()
	if err := r.file.SetReadDeadline(time.Now().Add(relaytest.Patience)); err != nil {
		t.Fatal(err)
	}
	var seen []byte
	for {
		line, err := r.lines.ReadString('\n')
		seen = append(seen, line...)
		if strings.Contains(line, text) {
			return
		}
		if err != nil {
			t.Fatalf("want %q in the log, got %v after\n%s", text, err, seen)
		}
	}
}

// pipe returns a pipe for a log.
func pipe(t *testing.T) (log *reading, write *os.File) {
	t.Helper()
	r, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); write.Close() })
	return read(r), write
}

func TestAHangUpWhileItStopsIsNotItsEnd(t *testing.T) {
	for range 5 {
		log, write := pipe(t)
		state := filepath.Join(t.TempDir(), "peers")
		p := startServe(t, write, "--state-file", state)
		write.Close()
		log.await(t, "msg=access")
		p.Signal(t, syscall.SIGTERM)
		testwait.Until(t, func() bool { return errors.Is(p.process.Signal(syscall.SIGHUP), os.ErrProcessDone) }, "want an end")
		log.await(t, "msg=stopped")
		p.WantEnd(t, 0, "")
		if _, err := os.Stat(state); errors.Is(err, fs.ErrNotExist) {
			t.Error("want the peers saved")
		}
	}
}

func TestHangUpsBeforeItIsReadyReloadOnceItIs(t *testing.T) {
	name := filepath.Join(t.TempDir(), "room.yaml")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	log, write := pipe(t)
	p := startServe(t, write, "--config", name)
	write.Close()
	first, err := os.OpenFile(name, os.O_WRONLY, 0) // until the relay reads it
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if err := os.Rename(writeFile(t, "peers:\n  max: 5\n"), name); err != nil { // what the reload finds
		t.Fatal(err)
	}
	p.Signal(t, syscall.SIGHUP)
	p.Signal(t, syscall.SIGHUP)
	if _, err := first.WriteString("peers:\n  max: 4\n"); err != nil {
		t.Fatal(err)
	}
	first.Close()
	log.await(t, "msg=listening")
	log.await(t, "msg=reloaded changed=peers.max")
	p.Signal(t, syscall.SIGTERM)
	log.await(t, "msg=stopped")
	p.WantEnd(t, 0, "")
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAHangUpReloadsUntilTheTerminalIsGone(t *testing.T) {
	keyboard, terminal := relaytest.Terminal(t)
	p := startServe(t, terminal) // whose session has no controlling terminal
	log := read(keyboard)
	log.await(t, "access")
	p.Signal(t, syscall.SIGHUP)
	log.await(t, "reloaded")
	keyboard.Close()
	p.Signal(t, syscall.SIGHUP)
	p.WantEnd(t, 0, "")
}

func TestAFullPipeThatNobodyReadsKeepsNoErrorFromItsExit(t *testing.T) {
	_, write := pipe(t)
	if err := write.SetWriteDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := write.Write(make([]byte, 1<<21)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("want a full pipe, got %v", err)
	}
	startServe(t, write, "--expiry", "soon").WantEnd(t, 78, "")
}
