package relay

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
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
	if os.Getenv(insideVariable) != "" {
		ip(t, "link set lo up")
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
	command := exec.CommandContext(t.Context(), self, "-test.run="+strings.Join(pattern, "/"), "-test.v", "-test.count=1", "-test.timeout=100s")
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

// ip configures the network of this process: a command line of ip(8).
func ip(t testing.TB, line string) {
	t.Helper()
	tool(t, "ip "+line)
}

// awaitAddress waits until what is sent to addr, of this host, is received: of
// IPv6, the kernel makes the route to an address a moment after ip(8) has said
// that it is there, also without duplicate address detection.
func awaitAddress(t testing.TB, addr string) {
	t.Helper()
	await(t, func() bool { return isLocal(addr) }, "want "+addr+" to be an address of this host; it is none")
}

// isLocal reports whether what is sent to addr comes back to this host.
func isLocal(addr string) bool {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 0)))
	if err != nil {
		return false
	}
	defer conn.Close()
	if _, err := conn.WriteTo([]byte("x"), conn.LocalAddr()); err != nil {
		return false
	}
	conn.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err = conn.Read(make([]byte, 1))
	return err == nil
}

// tool runs a command line, of words between blanks.
func tool(t testing.TB, line string) {
	t.Helper()
	words := strings.Fields(line)
	if output, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, output)
	}
}

// A machine is a network namespace that stands for another host. It lives in
// a thread of its own, and sockets that are opened there stay there.
type machine struct {
	thread int
	work   chan func()
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	m := &machine{work: make(chan func())}
	ready, gone := make(chan error), make(chan struct{})
	go func() {
		defer close(gone)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		m.thread = unix.Gettid()
		err := unix.Unshare(unix.CLONE_NEWNET)
		ready <- err
		for do := range m.work {
			do()
		}
	}()
	if err := <-ready; err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	t.Cleanup(func() { close(m.work); <-gone })
	m.ip(t, "link set lo up")
	return m
}

// do runs f on the machine.
func (m *machine) do(f func()) {
	done := make(chan struct{})
	m.work <- func() { defer close(done); f() }
	<-done
}

func (m *machine) ip(t testing.TB, line string) {
	t.Helper()
	var output []byte
	var err error
	m.do(func() { output, err = exec.Command("ip", strings.Fields(line)...).CombinedOutput() })
	if err != nil {
		t.Fatalf("ip %s, on the other machine: %v: %s", line, err, output)
	}
}

// client returns a client on the machine.
func (m *machine) client(t testing.TB, from string, to netip.AddrPort) (c *client) {
	t.Helper()
	m.do(func() { c = newClientAt(t, netip.AddrPortFrom(netip.MustParseAddr(from), 0), to) })
	return c
}

// connect lays cable number n to the other machine. This one has the addresses
// 10.77.n.1 and fd77:n::1 there, the other one 10.77.n.11 to .16 and fd77:n::11
// to ::16.
//
// The interface has one name and number at both ends, for package net keeps
// one list of them, whatever the namespace.
func (m *machine) connect(t testing.TB, n int) {
	t.Helper()
	ip(t, fmt.Sprintf("link add cable%d index %d type veth peer name cable%d index %d netns %d", n, 100+n, n, 100+n, m.thread))
	ip(t, fmt.Sprintf("address add 10.77.%d.1/24 broadcast + dev cable%d", n, n))
	ip(t, fmt.Sprintf("address add fd77:%d::1/64 dev cable%d nodad", n, n))
	ip(t, fmt.Sprintf("link set cable%d up", n))
	for i := 11; i <= 16; i++ {
		m.ip(t, fmt.Sprintf("address add 10.77.%d.%d/24 broadcast + dev cable%d", n, i, n))
		m.ip(t, fmt.Sprintf("address add fd77:%d::%d/64 dev cable%d nodad", n, i, n))
	}
	m.ip(t, fmt.Sprintf("link set cable%d up", n))
	awaitAddress(t, fmt.Sprintf("fd77:%d::1", n))
	await(t, func() (all bool) {
		m.do(func() {
			all = true
			for i := 11; i <= 16; i++ {
				all = all && isLocal(fmt.Sprintf("fd77:%d::%d", n, i))
			}
		})
		return all
	}, "want the addresses of the other machine to be there; they are not")
}
