package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// anyProcessor lets the system choose, and change, where a child runs.
const anyProcessor = -1

const (
	startPatience = time.Minute // for a relay to open its port
	stopPatience  = time.Minute // for it to end
	mostSaid      = 4 << 10     // bytes of what it says that are kept
)

// A child is a relay that was started. It does not outlive this process.
type child struct {
	addr    netip.AddrPort
	pid     int
	process *os.Process
	done    chan struct{} // closed when it has ended
	said    *tail
}

// startChild starts a relay on a processor, and returns when its port is open.
func startChild(ctx context.Context, processor int, port uint16, command, environ []string) (*child, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = environ
	// A Ctrl-C is for this process, which ends its children itself.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	c := &child{addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port), done: make(chan struct{}), said: new(tail)}
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = c.said, c.said, time.Second
	started := make(chan error, 1)
	go func() {
		// The thread that starts it must live as long, for its end is what
		// Pdeathsig tells; and the child has the thread's processors.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(c.done)
		var before unix.CPUSet
		err := unix.SchedGetaffinity(0, &before)
		if err == nil {
			its := before
			if processor != anyProcessor {
				its = only(processor)
			}
			err = unix.SchedSetaffinity(0, &its)
		}
		if err == nil {
			err = cmd.Start()
			err = errors.Join(err, unix.SchedSetaffinity(0, &before))
		}
		if cmd.Process == nil {
			started <- err
			return
		}
		started <- nil
		_ = cmd.Wait() // it is ended by a signal
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", command[0], err)
	}
	c.process, c.pid = cmd.Process, cmd.Process.Pid
	for deadline := time.Now().Add(startPatience); ; time.Sleep(time.Millisecond) {
		open, err := isOpen(port)
		switch {
		case err == nil && open:
			return c, nil
		case err != nil:
		case c.ended():
			err = fmt.Errorf("%s has ended; it said: %s", command[0], c.said)
		case ctx.Err() != nil:
			err = ctx.Err()
		case time.Now().After(deadline):
			err = fmt.Errorf("%s does not open UDP port %d; it said: %s", command[0], port, c.said)
		}
		if err != nil {
			c.stop()
			return nil, err
		}
	}
}

func (c *child) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// stop ends the relay.
func (c *child) stop() {
	_ = c.process.Signal(syscall.SIGTERM) // it may have ended
	_ = c.process.Signal(syscall.SIGCONT) // it may be stopped
	timeout := time.NewTimer(stopPatience)
	defer timeout.Stop()
	select {
	case <-c.done:
	case <-timeout.C:
		_ = c.process.Kill()
		<-c.done
	}
}

// isOpen reports whether a socket of this network namespace has the port.
func isOpen(port uint16) (bool, error) {
	sockets, err := socketsAt(port)
	return len(sockets) > 0, err
}

// socketsAt returns the lines of the system's tables of sockets at a port.
func socketsAt(port uint16) (lines [][]string, err error) {
	suffix := fmt.Sprintf(":%04X", port)
	for _, table := range []string{"/proc/self/net/udp", "/proc/self/net/udp6"} {
		text, err := os.ReadFile(table)
		if errors.Is(err, os.ErrNotExist) {
			continue // no IPv6
		}
		if err != nil {
			return nil, err
		}
		for scanner := bufio.NewScanner(bytes.NewReader(text)); scanner.Scan(); {
			if fields := strings.Fields(scanner.Text()); len(fields) > 12 && strings.HasSuffix(fields[1], suffix) && strings.HasSuffix(fields[2], ":0000") {
				lines = append(lines, fields)
			}
		}
	}
	return lines, nil
}

// freePorts returns ports in a row that nobody has on any address. They are none
// that the system gives to others by itself, which begin at 32768.
func freePorts(count int) (first uint16, err error) {
	const least, most, tries = 10_000, 32_000, 100
	if count < 1 || count > most-least {
		return 0, fmt.Errorf("%d ports in a row: want 1 to %d", count, most-least)
	}
	for range tries {
		first = uint16(least + rand.IntN(most-least-count))
		if err = takePorts(first, count); err == nil {
			return first, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row: %w", count, err)
}

func takePorts(first uint16, count int) error {
	for i := range count {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: int(first) + i})
		if err != nil {
			return err
		}
		defer conn.Close()
	}
	return nil
}

// A tail keeps the end of what was written.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(text []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, text...)
	t.text = append([]byte(nil), t.text[max(0, len(t.text)-mostSaid):]...)
	return len(text), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.text))
}
