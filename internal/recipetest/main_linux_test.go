package recipetest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"udprelay/internal/nettest"
	"udprelay/internal/programtest"
	"udprelay/internal/testlog"
	"udprelay/internal/testwait"
)

func TestMain(m *testing.M) { programtest.Main(m) }

// A page is a page of docs.
type page struct{ name, text string }

func readPage(t *testing.T, name string) page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return page{name, string(text)}
}

// block returns the first block of code in the language, such as yaml, that
// contains part.
func (p page) block(t *testing.T, language, part string) string {
	t.Helper()
	for _, after := range strings.Split(p.text, "```"+language+"\n")[1:] {
		if code, _, ended := strings.Cut(after, "\n```"); ended && strings.Contains(code, part) {
			return code + "\n"
		}
	}
	t.Fatalf("docs/%s: want a block of %s with %q, got none", p.name, language, part)
	return ""
}

// write writes a file into directory and returns its name.
func write(t *testing.T, directory, name, text string) string {
	t.Helper()
	name = filepath.Join(directory, name)
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// start starts a program on a machine, and ends it with the test.
func start(t *testing.T, on *nettest.Machine, words ...string) *testlog.Log {
	t.Helper()
	output := new(testlog.Log)
	command := exec.Command(words[0], words[1:]...)
	command.Stdout, command.Stderr = output, output
	var err error
	on.Do(func() { err = command.Start() })
	if err != nil {
		t.Fatalf("start %s: %v", words[0], err)
	}
	t.Cleanup(func() {
		command.Process.Signal(syscall.SIGTERM)
		ended := time.AfterFunc(testwait.Patience, func() { command.Process.Kill() })
		defer ended.Stop()
		command.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", words[0], output)
		}
	})
	return output
}

// awaitSocket waits until a program on a machine has a UDP socket at the port.
func awaitSocket(t *testing.T, on *nettest.Machine, port int) {
	t.Helper()
	testwait.Until(t, func() bool { return strings.TrimSpace(on.Run(t, fmt.Sprintf("ss -ulnH sport = :%d", port))) != "" },
		func() string { return fmt.Sprintf("want a socket at port %d; got %s", port, on.Run(t, "ss -ulnH")) })
}

// connected returns machines with these addresses on one network. The first is
// the one with the bridge.
func connected(t *testing.T, addresses ...string) []*nettest.Machine {
	t.Helper()
	machines := make([]*nettest.Machine, len(addresses))
	for i, address := range addresses {
		m := nettest.NewMachine(t)
		machines[i] = m
		if i == 0 {
			m.IP(t, "link add lan type bridge", "addr add "+address+" dev lan", "link set lan up")
			continue
		}
		machines[0].IP(t, fmt.Sprintf("link add port%d type veth peer name eth0 netns %d", i, m.Thread()),
			fmt.Sprintf("link set port%d master lan up", i))
		m.IP(t, "addr add "+address+" dev eth0", "link set eth0 up")
		machines[0].AwaitUp(t, fmt.Sprintf("port%d", i))
		m.AwaitUp(t, "eth0")
	}
	return machines
}
