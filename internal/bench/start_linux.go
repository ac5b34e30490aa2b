package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	startPatience = 30 * time.Second // for the relay to say where it listens
	stopPatience  = 10 * time.Second // for it to end

	logPatience = time.Second // for the end of the log of one that has ended

	mostStartLog = 64 << 10 // bytes of its log that are kept to say why it did not start
)

// A Relay is a relay that a bench has started, in a process of its own. It does
// not outlive the bench.
type Relay struct {
	Addr netip.AddrPort
	PID  int
	Done <-chan struct{} // closed when it has ended, and its log has been read

	process *os.Process
	err     error // why it has ended; after Done
}

var listening = regexp.MustCompile(`msg=listening address=(\S+)`)

// Start starts command, a relay whose log at standard error says where it
// listens, as udprelay does in the format text. What it says later goes to log,
// if that is not nil.
func Start(ctx context.Context, log io.Writer, command, environ []string) (*Relay, error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = environ
	// A Ctrl-C is for the bench, which needs the relay until its end.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = write
	done, logged := make(chan struct{}), make(chan struct{})
	r := &Relay{Done: done}
	started := make(chan error, 1)
	go func() {
		// The thread that starts it must live as long, for its end is what
		// Pdeathsig tells.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		write.Close()
		started <- err
		if err == nil {
			r.err = cmd.Wait()
			_ = read.SetReadDeadline(time.Now().Add(logPatience)) // others may hold the log open
			<-logged
		}
		close(done)
	}()
	if err := <-started; err != nil {
		read.Close()
		return nil, fmt.Errorf("start a relay: %w", err)
	}
	r.process, r.PID = cmd.Process, cmd.Process.Pid
	found := make(chan netip.AddrPort, 1)
	said := make(chan string, 1)
	go func() {
		defer close(logged)
		follow(read, log, found, said)
	}()
	timeout := time.NewTimer(startPatience)
	defer timeout.Stop()
	select {
	case r.Addr = <-found:
		return r, nil
	case text := <-said:
		<-done
		return nil, &StartError{strings.TrimSpace(text)}
	case <-timeout.C:
		err = errors.New("the relay that was started does not say where it listens")
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = r.process.Kill()
	<-done
	return nil, err
}

// follow reads the log to its end. It yields where the relay listens or, if it
// ends before it says so, all that it has said.
func follow(read *os.File, log io.Writer, found chan<- netip.AddrPort, said chan<- string) {
	defer read.Close()
	var begin bytes.Buffer
	lines, known := bufio.NewReader(read), false
	for {
		line, err := lines.ReadString('\n')
		if known && log != nil {
			_, _ = io.WriteString(log, line) // nobody may listen
		}
		if !known && begin.Len()+len(line) <= mostStartLog {
			begin.WriteString(line)
		}
		if match := listening.FindStringSubmatch(line); match != nil && !known {
			if addr, err := netip.ParseAddrPort(match[1]); err == nil {
				known = true
				found <- reachable(addr)
			}
		}
		if err != nil {
			said <- begin.String()
			return
		}
	}
}

// reachable returns where one that listens at addr is reached on this host.
func reachable(addr netip.AddrPort) netip.AddrPort {
	ip := addr.Addr().Unmap()
	if ip.IsUnspecified() {
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.AddrPortFrom(ip, addr.Port())
}

// Stop ends the relay and returns why it has ended, if not well.
func (r *Relay) Stop() error {
	_ = r.process.Signal(syscall.SIGTERM) // it may have ended
	timeout := time.NewTimer(stopPatience)
	defer timeout.Stop()
	select {
	case <-r.Done:
	case <-timeout.C:
		_ = r.process.Kill()
		<-r.Done
	}
	return r.err
}
