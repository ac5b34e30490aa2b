package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"udprelay/internal/admin"
	"udprelay/internal/config"
	"udprelay/internal/state"
	"udprelay/relay"
)

func TestPeersOutliveARestart(t *testing.T) {
	directory := shortDirectory(t)
	listen := keyed("listen", "127.0.0.1:0")
	first := start(t, surroundings{directory: directory}, listen)
	listener := enter(t, "127.0.0.2", first.addr(t))
	awaitFile(t, filepath.Join(directory, stateName), "127.0.0.2")
	address := keyed("listen", first.addr(t).String())
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}

	second := start(t, surroundings{directory: directory}, address)
	second.await(t, `msg="peers are back" count=1 gone=0`)
	enter(t, "127.0.0.3", second.addr(t)).say(t, "after the restart")
	listener.hears(t, "after the restart")
	if err := second.stop(); err != nil {
		t.Fatal(err)
	}

	// Rules that are new at the restart hold for them, too.
	third := start(t, surroundings{directory: directory}, address, allow("127.0.0.3"))
	third.await(t, `msg="peers are back" count=1 gone=1`)
}

func TestADamagedStateFileIsSetAside(t *testing.T) {
	directory := shortDirectory(t)
	name := filepath.Join(directory, stateName)
	if err := os.WriteFile(name, []byte("not ours\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := start(t, surroundings{directory: directory})
	d.addr(t)
	d.await(t, `level=WARN msg="the file of the peers cannot be used; .*" error="`+name+`:1: .*" set_aside_as=`+name+`\.damaged`)
	if content, err := os.ReadFile(name + ".damaged"); string(content) != "not ours\n" {
		t.Errorf("want it set aside as it was, got %q, %v", content, err)
	}
	enter(t, "127.0.0.2", d.addr(t))
	awaitFile(t, name, "127.0.0.2")
}

func TestSomebodyElsesFileIsNotTakenForTheStateFile(t *testing.T) {
	name := filepath.Join(shortDirectory(t), "udprelay.yaml")
	if err := os.WriteFile(name, []byte("listen: \":9000\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), always(configured(t, keyed("listen", "127.0.0.1:0"), keyed("state.file", name)), new(lockedBuffer)))
	var foreign *StateError
	if !errors.As(err, &foreign) || foreign.ExitCode() != 78 || !strings.HasPrefix(err.Error(), "state.file: "+name+":1: this is no file of learned peers") {
		t.Errorf("want an error of the configuration, got %v", err)
	}
	if content, err := os.ReadFile(name); string(content) != "listen: \":9000\"\n" {
		t.Errorf("want the file as it was, got %q, %v", content, err)
	}
}

// Its bans would be lost.
func TestAStateFileOfANewerVersionIsNotTouched(t *testing.T) {
	name := filepath.Join(shortDirectory(t), stateName)
	const newer = `{"udprelay":"peers","version":2,"saved":"` + "\n"
	if err := os.WriteFile(name, []byte(newer), 0o600); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), always(configured(t, keyed("listen", "127.0.0.1:0"), keyed("state.file", name)), new(lockedBuffer)))
	failure := (*StateError)(nil)
	if !errors.As(err, &failure) || failure.ExitCode() != 78 || !strings.Contains(err.Error(), "the file has version 2, and this udprelay reads version 1; it is left as it is") {
		t.Errorf("want an error that names the versions; got %v", err)
	}
	if content, err := os.ReadFile(name); string(content) != newer {
		t.Errorf("want the file as it was; got %q, %v", content, err)
	}
}

func TestTwoRelaysDoNotShareAStateFile(t *testing.T) {
	directory := shortDirectory(t)
	first := start(t, surroundings{directory: directory})
	addr := first.addr(t)
	name := filepath.Join(directory, stateName)
	second := func() error {
		return Run(t.Context(), always(configured(t, keyed("listen", "127.0.0.1:0"), keyed("state.file", name), keyed("admin.socket", "none")), new(lockedBuffer)))
	}
	err := second()
	failure := (*StateError)(nil)
	want := fmt.Sprintf("state.file: %s is in use by process %d, which listens on ", name, os.Getpid())
	if !errors.As(err, &failure) || failure.ExitCode() != 69 || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("want %q; got %v", want, err)
	}
	// The first one goes on, and another gets the file when it has ended.
	enter(t, "127.0.0.2", addr)
	awaitFile(t, name, "127.0.0.2")
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	third := start(t, surroundings{directory: directory})
	third.await(t, `msg="peers are back" count=1`)
}

func TestAStateFileThatNobodyCouldReadIsNotWrittenOver(t *testing.T) {
	name := filepath.Join(shortDirectory(t), "peers")
	if err := os.Mkdir(name, 0o700); err != nil { // for root may read all files
		t.Fatal(err)
	}
	d := start(t, surroundings{}, keyed("state.file", name))
	d.addr(t)
	d.await(t, `level=WARN msg="the file of the peers cannot be used; .*" error="`+name+` is a directory" not_set_aside=`)
	if err := d.stop(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || !info.IsDir() {
		t.Errorf("want it as it was, got %v, %v", info, err)
	}
}

// What waits in the socket when a relay begins reaches a static peer that has a
// name, too.
func TestNamesOutliveARestart(t *testing.T) {
	directory := shortDirectory(t)
	collector := guest{listenUDP(t, "udp4", "127.0.0.1:0")}
	named := fmt.Sprintf("localhost:%d", collector.LocalAddr().(*net.UDPAddr).Port)
	first := start(t, surroundings{directory: directory}, keyed("peers.static", named))
	speaker := enter(t, "127.0.0.2", first.addr(t))
	speaker.say(t, "known when the relay begins")
	collector.hears(t, "known when the relay begins")
	awaitFile(t, filepath.Join(directory, stateName), `{"name":"`+named+`","address":"`+collector.LocalAddr().String()+`"}`)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}

	// With the previous address, whatever the look-up says later.
	r, err := relay.New(listenUDP(t, "udp4", "127.0.0.1:0"), relay.Options{})
	if err != nil {
		t.Fatal(err)
	}
	runRelay(t, r)
	saved, err := state.Load(filepath.Join(directory, stateName), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	newStatic(configured(t, keyed("peers.static", named)), r, nil, discard, func([]state.Name) {}, saved.Names)
	if p := r.Peers().Lookup(collector.LocalAddr().(*net.UDPAddr).AddrPort()); p == nil || !p.Static() {
		t.Errorf("want the previous address to be a static peer, got %v", p)
	}
}

func TestAStateFileThatCannotBeWrittenKeepsNobodyFromRelaying(t *testing.T) {
	d := start(t, surroundings{}, keyed("state.file", filepath.Join(shortDirectory(t), "missing", "peers")))
	relay := d.addr(t)
	d.await(t, `level=WARN msg="peers are not saved" .*hint=`)
	listener := enter(t, "127.0.0.2", relay)
	enter(t, "127.0.0.3", relay).say(t, "all the same")
	listener.hears(t, "all the same")
}

func TestARelayWithoutAControlSocketSaysHowToGetOne(t *testing.T) {
	start(t, surroundings{}).await(t, `level=INFO msg="no control socket: there is no directory for it" hint="--admin-socket FILE`)
	quiet := start(t, surroundings{}, keyed("admin.socket", "none"))
	quiet.addr(t)
	if strings.Contains(quiet.log.String(), "control socket") {
		t.Errorf("want nothing said of a socket that is not wanted, got\n%s", &quiet.log)
	}
}

func TestASecondRelayOfAUserGoesWithoutAControlSocket(t *testing.T) {
	directory := shortDirectory(t)
	environ := func(name string) string {
		if name == "XDG_RUNTIME_DIR" {
			return directory
		}
		return ""
	}
	run := func(settings ...config.Setting) (*lockedBuffer, func() error) {
		log := new(lockedBuffer)
		options := always(configured(t, append(settings, keyed("listen", "127.0.0.1:0"))...), log)
		options.Getenv = environ
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- Run(ctx, options) }()
		return log, func() error {
			cancel()
			return <-ended
		}
	}
	one, stopOne := run()
	one.await(t, "msg=listening")
	two, stopTwo := run()
	two.await(t, `msg="no control socket: another relay has the default one"`)
	if _, err := (admin.Client{Socket: ControlSockets(environ)[0]}).Reload(t.Context()); err != nil {
		t.Errorf("want the first one to answer, got %v", err)
	}
	three, stopThree := run(keyed("admin.socket", ControlSockets(environ)[0]))
	if err := stopThree(); err == nil {
		t.Errorf("want an error where the socket was asked for; log:\n%s", three)
	}
	for _, stop := range []func() error{stopOne, stopTwo} {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}
