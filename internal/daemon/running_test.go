package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"udprelay/internal/config"
	"udprelay/internal/logs"
	"udprelay/internal/testlog"
	"udprelay/internal/testwait"
	"udprelay/relay"
)

// A running is a daemon whose configuration a test changes.
type running struct {
	log    lockedBuffer
	reload chan os.Signal
	stop   func() error // ends it, if it has not ended, and returns its error

	mu       sync.Mutex
	settings []config.Setting
	bad      error
}

// change has the next reload find other settings.
func (r *running) change(settings ...config.Setting) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settings, r.bad = settings, nil
}

// spoil has the next reload fail.
func (r *running) spoil(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bad = err
}

func (r *running) load() (*config.Config, []config.Warning, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bad != nil {
		return nil, nil, r.bad
	}
	cfg, err := withSettings(r.settings...)
	return cfg, nil, err
}

// surroundings are what a service manager gives.
type surroundings struct {
	directory string // for the state and the control socket; "": none
	sockets   []*os.File
}

// start runs a daemon on a port of loopback that the settings may change.
func start(t *testing.T, around surroundings, settings ...config.Setting) *running {
	t.Helper()
	r := &running{reload: make(chan os.Signal, 1)}
	r.change(append([]config.Setting{keyed("listen", "127.0.0.1:0")}, settings...)...)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Options{
			Load: r.load,
			Log: func(cfg *config.Config) *logs.Log {
				return logs.New(&r.log, logs.Options{Level: cfg.Log.Level})
			},
			Reload:  r.reload,
			Sockets: around.sockets,
			Getenv: func(name string) string {
				switch name {
				case "STATE_DIRECTORY", "RUNTIME_DIRECTORY":
					return around.directory
				}
				return ""
			},
		})
	}()
	var once sync.Once
	var err error
	r.stop = func() error {
		once.Do(func() {
			cancel()
			err = <-ended
		})
		return err
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", &r.log)
		}
	})
	return r
}

func keyed(key, value string) config.Setting {
	return config.Setting{Name: key, Key: key, Value: value}
}

// await waits until the log has a match of the pattern, and returns its groups.
func (r *running) await(t *testing.T, pattern string) []string {
	t.Helper()
	return r.log.await(t, pattern)
}

// A lockedBuffer is a log that a test can wait for.
type lockedBuffer struct{ testlog.Log }

func (b *lockedBuffer) await(t *testing.T, pattern string) []string {
	t.Helper()
	compiled := regexp.MustCompile(pattern)
	var found []string
	testwait.Until(t, func() bool {
		found = compiled.FindStringSubmatch(b.String())
		return found != nil
	}, func() string { return fmt.Sprintf("want a match of %q in the log, got\n%s", pattern, b) })
	return found
}

// addr waits for the daemon to listen and returns where.
func (r *running) addr(t *testing.T) *net.UDPAddr {
	t.Helper()
	addr, err := netip.ParseAddrPort(r.await(t, `msg=listening address=(\S+)`)[1])
	if err != nil {
		t.Fatal(err)
	}
	return net.UDPAddrFromAddrPort(addr)
}

// A guest is a client with an address of loopback that says who it is.
type guest struct{ *net.UDPConn }

func enter(t *testing.T, from string, relay *net.UDPAddr) guest {
	t.Helper()
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(from)}, relay)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	g := guest{conn}
	g.say(t, "")
	return g
}

func (g guest) say(t *testing.T, text string) {
	t.Helper()
	if _, err := g.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// hears waits for a datagram, which must be text.
func (g guest) hears(t *testing.T, text string) {
	t.Helper()
	g.SetReadDeadline(time.Now().Add(testwait.Patience))
	buffer := make([]byte, 100)
	n, err := g.Read(buffer)
	if err != nil || string(buffer[:n]) != text {
		t.Fatalf("%v: want %q, got %q, %v", g.LocalAddr(), text, buffer[:n], err)
	}
}

// heardNothing checks that no datagram waits.
func (g guest) heardNothing(t *testing.T) {
	t.Helper()
	g.SetReadDeadline(time.Now().Add(time.Millisecond))
	buffer := make([]byte, 100)
	if n, err := g.Read(buffer); err == nil {
		t.Errorf("%v: want nothing, got %q", g.LocalAddr(), buffer[:n])
	}
}

// shortDirectory returns a directory whose name is short enough for a socket.
func shortDirectory(t *testing.T) string {
	t.Helper()
	directory, err := os.MkdirTemp("", "daemon")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(directory) })
	return directory
}

// awaitFile waits until a file contains text.
func awaitFile(t *testing.T, name, text string) {
	t.Helper()
	var content []byte
	testwait.Until(t, func() bool {
		content, _ = os.ReadFile(name)
		return strings.Contains(string(content), text)
	}, func() string { return fmt.Sprintf("%s: want %q, got\n%s", filepath.Base(name), text, content) })
}

// listenUDP returns a socket that is closed when the test ends.
func listenUDP(t *testing.T, network, address string) *net.UDPConn {
	t.Helper()
	addr, err := net.ResolveUDPAddr(network, address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenUDP(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// discard is a log for what a test does not look at.
var discard = slog.New(slog.DiscardHandler)

func textLog(w *lockedBuffer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

// runRelay runs r until the test ends.
func runRelay(t *testing.T, r *relay.Relay) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}
