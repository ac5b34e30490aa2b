package dashboardtest

import (
	"bufio"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"udprelay/internal/admin/dashboard/pagetest"
	"udprelay/internal/programtest"
	"udprelay/internal/testneed"
	"udprelay/internal/testwait"
)

// quiet is what all daemons of the tests have: no control, and no state but
// where a test wants it.
const quiet = `
admin: {socket: none}
state: {file: none}
`

// A daemon is the program, running with a configuration.
type daemon struct {
	t          testing.TB
	file       string // the configuration
	process    *exec.Cmd
	relay      netip.AddrPort
	http, page string // host:port, and the URL

	mu  sync.Mutex
	log strings.Builder // guarded by mu
	end chan struct{}   // closed when the log has ended
}

// startDaemon starts one on free ports of 127.0.0.1.
func startDaemon(t testing.TB, configuration string) *daemon {
	t.Helper()
	d := newDaemon(t, configuration)
	d.start("127.0.0.1:0", "127.0.0.1:0")
	return d
}

// newDaemon returns one that is to be started.
func newDaemon(t testing.TB, configuration string) *daemon {
	t.Helper()
	testneed.Linux(t) // elsewhere not all of 127.0.0.0/8 is loopback, and SIGTERM may be unknown
	d := &daemon{t: t, file: filepath.Join(t.TempDir(), "udprelay.yaml")}
	if err := os.WriteFile(d.file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.stop)
	return d
}

// start starts the program and waits until it has both addresses.
func (d *daemon) start(relay, http string) {
	d.t.Helper()
	// Some clients only listen, and a slow machine takes minutes.
	d.process = exec.Command(programtest.Program(d.t), "serve", "--config", d.file, "--listen", relay, "--admin-http", http, "--expiry", "1h")
	pipe, err := d.process.StderrPipe()
	if err != nil {
		d.t.Fatal(err)
	}
	if err := d.process.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.end = make(chan struct{})
	go func(process *exec.Cmd, end chan struct{}) {
		defer close(end)
		for lines := bufio.NewScanner(pipe); lines.Scan(); {
			d.mu.Lock()
			d.log.WriteString(lines.Text() + "\n")
			d.mu.Unlock()
		}
	}(d.process, d.end)
	d.relay = netip.MustParseAddrPort(d.logged(`msg=listening address=(\S+)`))
	d.page = d.logged(`msg="dashboard and metrics" at=(\S+)`)
	d.http = strings.Trim(strings.TrimPrefix(d.page, "http:"), "/")
}

// logged waits for the last line of the log that matches, and returns the
// submatch.
func (d *daemon) logged(pattern string) string {
	d.t.Helper()
	line := regexp.MustCompile(pattern)
	for deadline := time.Now().Add(testwait.Patience); ; time.Sleep(time.Millisecond) {
		d.mu.Lock()
		text := d.log.String()
		d.mu.Unlock()
		if found := line.FindAllStringSubmatch(text, -1); found != nil {
			return found[len(found)-1][1]
		}
		select {
		case <-d.end:
			deadline = time.Now()
		default:
		}
		if !time.Now().Before(deadline) {
			d.t.Fatalf("the daemon logged no match of %s, but:\n%s", pattern, text)
		}
	}
}

// stop has the daemon stop, if it runs, as systemd does.
func (d *daemon) stop() {
	d.t.Helper()
	if d.process == nil {
		return
	}
	if err := d.process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		d.t.Errorf("stop the daemon: %v", err)
	}
	select {
	case <-d.end:
	case <-time.After(testwait.Patience):
		d.t.Error("the daemon does not stop")
		d.process.Process.Kill()
		<-d.end
	}
	if err := d.process.Wait(); err != nil {
		d.t.Errorf("the daemon: %v; it logged:\n%s", err, d.log.String())
	}
	d.process = nil
}

// restart starts it again at the addresses that it had.
func (d *daemon) restart() {
	d.t.Helper()
	d.mu.Lock()
	d.log.Reset()
	d.mu.Unlock()
	d.start(d.relay.String(), d.http)
}

// open opens the page.
func (d *daemon) open(o pagetest.Options) *pagetest.Page {
	d.t.Helper()
	p := pagetest.Open(d.t, d.page, o)
	p.Live()
	return p
}
