package relaytest

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"
)

// A Process is a client in a process of its own.
type Process struct {
	Stdin  *os.File // what it reads
	Stdout *os.File // what it writes; read it with WantLine
	cmd    *exec.Cmd
	lines  *bufio.Reader
	stderr bytes.Buffer // read it after the end
	ended  chan struct{}
}

// StartProcess starts cmd, which does not outlive the test. Streams that cmd
// does not set are pipes.
func StartProcess(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	cmd.Env = append(cmd.Environ(), "GORACE=atexit_sleep_ms=0") // else each process of a test with -race ends a second late
	if cmd.Stderr == nil {
		cmd.Stderr = &p.stderr
	}
	var theirs []*os.File
	if cmd.Stdin == nil {
		read, write := pipe(t)
		cmd.Stdin, p.Stdin, theirs = read, write, append(theirs, read)
	}
	if cmd.Stdout == nil {
		read, write := pipe(t)
		cmd.Stdout, p.Stdout, p.lines, theirs = write, read, bufio.NewReader(read), append(theirs, write)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, file := range theirs {
		file.Close()
	}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // WantEnd looks at the state
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
	})
	return p
}

func pipe(t testing.TB) (read, write *os.File) {
	t.Helper()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { read.Close(); write.Close() })
	return read, write
}

// Signal sends sig to the process.
func (p *Process) Signal(t testing.TB, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// WantLine waits for a line on standard output and compares it.
func (p *Process) WantLine(t testing.TB, want string) {
	t.Helper()
	_ = p.Stdout.SetReadDeadline(time.Now().Add(Patience))
	if got, err := p.lines.ReadString('\n'); got != want || err != nil {
		t.Errorf("want the line %q on standard output, got %q, %v", want, got, err)
	}
}

// WantEnd waits for the end and compares the exit code and standard error.
func (p *Process) WantEnd(t testing.TB, code int, stderr string) {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(Patience):
		t.Fatalf("want the end of the process, it still runs after %v", Patience)
	}
	if got := p.cmd.ProcessState; got.ExitCode() != code {
		t.Errorf("want exit code %d, got %v", code, got)
	}
	if got := p.stderr.String(); got != stderr {
		t.Errorf("standard error:\nwant %q\ngot  %q", stderr, got)
	}
}
