package gateway

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
	"udprelay/relay"
)

// insideVariable tells a process that it is the inner one of inNamespace.
const insideVariable = "UDPRELAY_TEST_IN_NAMESPACE"

// inNamespace runs the test again, in a process whose network is its own and
// has nothing but lo, and returns true there. Where it returns false the test
// is over.
func inNamespace(t *testing.T) bool {
	t.Helper()
	testneed.Root(t)
	testneed.Tool(t, "ip")
	testneed.Tool(t, "nft")
	if os.Getenv(insideVariable) != "" {
		command(t, "ip link set lo up")
		return true
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	inner := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1", "-test.timeout=100s")
	inner.Env = append(os.Environ(), insideVariable+"=1")
	inner.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	output, err := inner.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("in a network namespace: %v\n%s", err, output)
	case !bytes.Contains(output, []byte("--- PASS: "+t.Name()+" ")):
		t.Errorf("in a network namespace: want the test to run; got\n%s", output)
	}
	return false
}

// command runs a command line, of words between blanks.
func command(t *testing.T, line string) {
	t.Helper()
	words := strings.Fields(line)
	if output, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, output)
	}
}

// A client whose host is gone, with datagrams on their way to it, is noticed by
// the kernel.
func TestClientWhoseHostVanishes(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	r := openRoom(t, func(o *relay.Options, _ *Options) { o.Peers.MaxPerAddress = 0 }, func(g *Gateway) {
		g.waits.vanished, g.waits.stuck = 2*time.Second, patience
	})
	gone, stays, u := r.tcpFrom("127.0.0.2"), r.tcpFrom("127.0.0.3"), r.udp()
	u.say("while it was there")
	wants(t, gone, "while it was there")
	wants(t, stays, "while it was there")
	command(t, "nft add table ip test")
	command(t, "nft add chain ip test input { type filter hook input priority 0 ; }")
	command(t, "nft add rule ip test input ip saddr 127.0.0.2 drop")
	command(t, "nft add rule ip test input ip daddr 127.0.0.2 drop")
	began := time.Now()
	u.say("to a host that is gone")
	wants(t, stays, "to a host that is gone")
	r.awaitEnded(Broken, 1)
	t.Logf("noticed after %v", time.Since(began).Round(time.Millisecond))
	r.awaitPeers(2)
	u.say("to those who are there")
	wants(t, stays, "to those who are there")
	r.balance()
}
