package dashboardtest

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
)

// insideVariable is set in the process that has a network of its own.
const insideVariable = "UDPRELAY_TEST_INSIDE"

// inPrivateNetwork runs the test that calls it in a process with a network of
// its own, which has the loopback interface and on it all of the private
// networks that the pictures show. It reports whether this is that process.
func inPrivateNetwork(t *testing.T) (inside bool) {
	t.Helper()
	testneed.Root(t)
	testneed.Tool(t, "ip")
	if os.Getenv(insideVariable) != "" {
		for _, line := range []string{
			"link set lo up",
			"address add 192.168.7.1/24 dev lo", "route add local 10.8.0.0/24 dev lo src 192.168.7.1",
			"address add fd00:7::1/128 dev lo", "address add fd00:7::24/128 dev lo", "address add fd00:7::43/128 dev lo",
		} {
			if output, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v: %s", line, err, output)
			}
		}
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), self, "-test.run=^"+regexp.QuoteMeta(t.Name())+"$", "-test.v", "-test.count=1")
	command.Env = append(os.Environ(), insideVariable+"=1")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	output, err := command.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("in a network of its own: %v\n%s", err, output)
	case bytes.Contains(output, []byte("--- SKIP: "+t.Name())):
		testneed.True(t, false, "what it says in a network of its own:\n%s", output)
	case !bytes.Contains(output, []byte("--- PASS: "+t.Name()+" ")):
		t.Errorf("in a network of its own: want the test to run; got\n%s", output)
	default:
		t.Logf("in a network of its own:\n%s", output)
	}
	return false
}
