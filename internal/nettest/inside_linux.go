package nettest

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
)

// insideVariable tells a process that it is the inner one of Inside.
const insideVariable = "UDPRELAY_TEST_INSIDE"

// dumpTime is how long before the outer test the inner one times out, so that
// it can say where it was.
const dumpTime = 5 * time.Second

// Inside runs the test again, in a process whose network is its own and has
// nothing but lo, and returns true there. Where it returns false the test is
// over.
func Inside(t *testing.T) bool {
	t.Helper()
	testneed.Root(t)
	testneed.Tool(t, "ip")
	if os.Getenv(insideVariable) != "" {
		IP(t, "link set lo up")
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var pattern []string
	for _, part := range strings.Split(t.Name(), "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	timeout := time.Duration(0) // none
	if deadline, ok := t.Deadline(); ok {
		timeout = max(time.Until(deadline)-dumpTime, time.Second)
	}
	command := exec.CommandContext(t.Context(), self, "-test.run="+strings.Join(pattern, "/"), "-test.v", "-test.count=1", "-test.timeout="+timeout.String())
	command.Env = append(os.Environ(), insideVariable+"=1")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	output, err := command.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("in a network namespace: %v\n%s", err, output)
	case bytes.Contains(output, []byte("--- SKIP: "+t.Name())):
		testneed.True(t, false, "what it says in a network namespace:\n%s", output)
	case !bytes.Contains(output, []byte("--- PASS: "+t.Name()+" ")):
		t.Errorf("in a network namespace: want the test to run; got\n%s", output)
	default:
		t.Logf("in a network namespace:\n%s", output)
	}
	return false
}
