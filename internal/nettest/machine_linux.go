package nettest

import (
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
)

// A Machine is a network namespace that stands for another host. It lives in a
// thread of its own: sockets that are opened and programs that are started there
// stay there.
type Machine struct {
	thread int
	work   chan func() // nil: where the test is
}

// here is where the test is.
var here = new(Machine)

// NewMachine returns a machine that has nothing but lo, until the test ends.
func NewMachine(t testing.TB) *Machine {
	t.Helper()
	testneed.Root(t)
	testneed.Tool(t, "ip")
	m := &Machine{work: make(chan func())}
	ready, gone := make(chan error), make(chan struct{})
	go func() {
		defer close(gone)
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		m.thread = unix.Gettid()
		ready <- unix.Unshare(unix.CLONE_NEWNET)
		for do := range m.work {
			do()
		}
	}()
	err := <-ready
	t.Cleanup(func() { close(m.work); <-gone })
	if err != nil {
		t.Fatalf("make a network namespace: %v", err)
	}
	m.IP(t, "link set lo up")
	return m
}

// Thread returns what ip(8) knows the machine by, as in "link set eth netns ID".
func (m *Machine) Thread() int { return m.thread }

// Do runs f on the machine.
func (m *Machine) Do(f func()) {
	if m.work == nil {
		f()
		return
	}
	done := make(chan struct{})
	m.work <- func() { defer close(done); f() }
	<-done
}

// Run runs a command line, of words between blanks, on the machine, and returns
// what it says.
func (m *Machine) Run(t testing.TB, line string) string {
	t.Helper()
	return m.Feed(t, "", line)
}

// Feed is Run with what the program is to read.
func (m *Machine) Feed(t testing.TB, input, line string) string {
	t.Helper()
	var output []byte
	var err error
	m.Do(func() {
		words := strings.Fields(line)
		command := exec.Command(words[0], words[1:]...)
		command.Stdin = strings.NewReader(input)
		output, err = command.CombinedOutput()
	})
	if err != nil {
		t.Fatalf("%s: %v: %s\n%s", line, err, output, input)
	}
	return string(output)
}

// IP configures the network of the machine: commands of ip(8).
func (m *Machine) IP(t testing.TB, commands ...string) {
	t.Helper()
	m.Feed(t, strings.Join(commands, "\n")+"\n", "ip -batch -")
}

// AwaitAddress waits until the machine receives what it sends to each of its
// addresses. The kernel adds the route to an IPv6 address a moment after ip(8) has
// added the address, also without duplicate address detection.
func (m *Machine) AwaitAddress(t testing.TB, addrs ...string) {
	t.Helper()
	for _, addr := range addrs {
		testwait.Until(t, func() (local bool) {
			m.Do(func() { local = isLocal(addr) })
			return local
		}, "want "+addr+" to be a local address")
	}
}

// AwaitUp waits until the machine sends on each of its interfaces. That is a moment
// after ip(8) has set both ends of a cable up; what is sent earlier is lost.
func (m *Machine) AwaitUp(t testing.TB, interfaces ...string) {
	t.Helper()
	for _, name := range interfaces {
		testwait.Until(t, func() bool {
			return strings.Contains(m.Run(t, "ip -oneline link show dev "+name), " state UP ")
		}, "want "+name+" to be up")
	}
}

// isLocal reports whether a datagram to addr comes back to this host.
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

// Run is [Machine.Run] where the test is.
func Run(t testing.TB, line string) string { t.Helper(); return here.Run(t, line) }

// IP is [Machine.IP] where the test is.
func IP(t testing.TB, commands ...string) { t.Helper(); here.IP(t, commands...) }

// AwaitAddress is [Machine.AwaitAddress] where the test is.
func AwaitAddress(t testing.TB, addrs ...string) { t.Helper(); here.AwaitAddress(t, addrs...) }

// AwaitUp is [Machine.AwaitUp] where the test is.
func AwaitUp(t testing.TB, interfaces ...string) { t.Helper(); here.AwaitUp(t, interfaces...) }
