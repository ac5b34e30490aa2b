package daemon

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"udprelay/internal/admin"
	"udprelay/internal/config"
)

// askReload has the daemon in directory reload.
func askReload(directory string) (admin.Reloaded, error) {
	return admin.Client{Socket: filepath.Join(directory, controlName)}.Reload(context.Background())
}

// reconfigure has r, in directory, reload other settings.
func (r *running) reconfigure(directory string, settings ...config.Setting) (admin.Reloaded, error) {
	r.change(append([]config.Setting{keyed("listen", "127.0.0.1:0"), keyed("log.level", "debug")}, settings...)...)
	return askReload(directory)
}

// taken returns an address at which somebody else listens until the test ends.
func taken(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

// wantNoStart checks that a daemon with these settings ends at once with a
// failure to listen, whose type is that of failure.
func wantNoStart[failure interface {
	error
	ExitCode() int
	Hint() string
}](t *testing.T, settings ...config.Setting) {
	t.Helper()
	err := Run(t.Context(), always(configured(t, append(settings, keyed("listen", "127.0.0.1:0"))...), new(lockedBuffer)))
	var f failure
	if !errors.As(err, &f) || f.ExitCode() != 69 || f.Hint() == "" || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("want a %T with exit code 69; got %v", f, err)
	}
}

func TestAReloadRefusesWhomTheNewRulesRefuseAndKeepsTheOthers(t *testing.T) {
	directory := shortDirectory(t)
	d := start(t, surroundings{directory: directory}, keyed("log.level", "debug"))
	relay := d.addr(t)
	stays, goes := enter(t, "127.0.0.2", relay), enter(t, "127.0.0.3", relay)
	d.await(t, `peer joined.*127\.0\.0\.2`)
	d.await(t, `peer joined.*127\.0\.0\.3`)

	d.change(keyed("listen", "127.0.0.1:0"), allow("127.0.0.3=nothing"), allow("loopback"), keyed("peers.expiry", "30s"), keyed("log.level", "debug"))
	got, err := askReload(directory)
	if err != nil {
		t.Fatal(err)
	}
	want := admin.Reloaded{Changed: []string{"peers.expiry", "access"}, Forgotten: 1}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	enter(t, "127.0.0.4", relay).say(t, "after")
	stays.hears(t, "after")
	goes.heardNothing(t)
	goes.say(t, "may I?")
	enter(t, "127.0.0.5", relay).say(t, "last")
	stays.hears(t, "last")
}

func TestABadConfigurationChangesNothing(t *testing.T) {
	directory := shortDirectory(t)
	d := start(t, surroundings{directory: directory}, keyed("log.level", "debug"))
	relay := d.addr(t)
	peer := enter(t, "127.0.0.2", relay)
	d.await(t, `peer joined.*127\.0\.0\.2`)

	_, _, bad := config.Load([]byte("x: 1"), nil, nil, nil)
	d.spoil(bad)
	_, err := askReload(directory)
	var failure *admin.Failure
	if !errors.As(err, &failure) || failure.Code != 78 || failure.Message != bad.Error() {
		t.Errorf("want the mistakes and 78, got %v", err)
	}
	for line := range strings.Lines(bad.Error()) {
		d.await(t, regexp.QuoteMeta(`level=ERROR msg="`+strings.ReplaceAll(strings.TrimSuffix(line, "\n"), `"`, `\"`)))
	}
	enter(t, "127.0.0.4", relay).say(t, "still here")
	peer.hears(t, "still here")
}

func TestASignalReloads(t *testing.T) {
	d := start(t, surroundings{})
	d.addr(t)
	d.change(keyed("listen", "127.0.0.1:0"), keyed("log.level", "debug"))
	d.reload <- syscall.SIGHUP
	d.await(t, `level=INFO msg=reloaded changed=log.level`)
	enter(t, "127.0.0.2", d.addr(t))
	d.await(t, `level=DEBUG msg="peer joined" peer=127\.0\.0\.2`)
}

func TestWhatNeedsARestartIsSaidWithEachReload(t *testing.T) {
	directory := shortDirectory(t)
	d := start(t, surroundings{directory: directory})
	d.addr(t)
	for range 2 {
		d.change(keyed("listen", "127.0.0.1:9"), keyed("socket.senders", "0"), keyed("socket.trains", "off"), keyed("socket.coalesce", "200us"), keyed("state.file", "none"), keyed("admin.socket", "none"), keyed("admin.group", "root"), keyed("admin.http", "127.0.0.1:9"), keyed("log.format", "json"))
		got, err := askReload(directory)
		if err != nil {
			t.Fatal(err)
		}
		got.Warnings = nil // of this machine
		want := admin.Reloaded{Restart: []string{"listen", "socket.senders", "socket.trains", "socket.coalesce", "admin.socket", "admin.group", "admin.http", "state.file", "log.format"}}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	d.change(keyed("listen", "127.0.0.1:0"))
	if got, err := askReload(directory); err != nil || got.Restart != nil {
		t.Errorf("want nothing to restart for when all is as it was, got %v, %v", got, err)
	}
}

// The answer to a reload has the warning each time, the log only once.
func TestMoreSendersThanCoresIsSaidAtStartAndWithEachReload(t *testing.T) {
	if before := runtime.GOMAXPROCS(2); before != 2 {
		defer runtime.GOMAXPROCS(before)
	}
	const warning = "socket.senders: 3 senders, but 2 cores here: those beyond one per core send nothing faster; want at most 2, or 0 for one per core"
	directory := shortDirectory(t)
	d := start(t, surroundings{directory: directory}, keyed("socket.senders", "3"), keyed("log.level", "debug"))
	d.await(t, `level=WARN msg="`+warning+`"`)
	d.await(t, `msg=sending by=".*" senders=3`)
	peer := enter(t, "127.0.0.2", d.addr(t))
	d.await(t, `peer joined.*127\.0\.0\.2`)
	d.change(keyed("listen", "127.0.0.1:0"), keyed("socket.senders", "3"), keyed("log.level", "debug"))
	got, err := askReload(directory)
	if diff := cmp.Diff(admin.Reloaded{Warnings: []string{warning}}, got); diff != "" || err != nil {
		t.Errorf("want the warning, got %v (-want +got):\n%s", err, diff)
	}
	enter(t, "127.0.0.3", d.addr(t)).say(t, "by one of three")
	peer.hears(t, "by one of three")
	d.await(t, `msg=reloaded`)
	if n := strings.Count(d.log.String(), warning); n != 1 {
		t.Errorf("want the warning logged once; got it %d times", n)
	}
	// One that was gone and comes again is new.
	d.change(keyed("listen", "127.0.0.1:0"), keyed("log.level", "debug"))
	if _, err := askReload(directory); err != nil {
		t.Fatal(err)
	}
	d.change(keyed("listen", "127.0.0.1:0"), keyed("socket.senders", "3"), keyed("log.level", "debug"))
	if _, err := askReload(directory); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(d.log.String(), warning); n != 2 {
		t.Errorf("want the warning logged again when it is new; got it %d times", n)
	}
}

func TestANewSecretHasToBeProvedAnew(t *testing.T) {
	directory := shortDirectory(t)
	secret := filepath.Join(directory, "secret")
	write := func(text string) {
		if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("0123456789abcdef0123456789abcdef")
	d := start(t, surroundings{directory: directory}, allow("loopback=secret"), secretFile(secret))
	d.addr(t)
	if got, err := askReload(directory); err != nil || got.Changed != nil {
		t.Errorf("want nothing changed, got %v, %v", got, err)
	}
	write("fedcba9876543210fedcba9876543210")
	got, err := askReload(directory)
	if err != nil || len(got.Changed) != 1 || got.Changed[0] != "the secret" {
		t.Errorf("want the secret changed, got %v, %v", got, err)
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	var failure *admin.Failure
	if _, err := askReload(directory); !errors.As(err, &failure) || failure.Code != 78 {
		t.Errorf("want 78 without the secret, got %v", err)
	}
}

func TestStaticPeersChangeAndThoseThatStayMissNothing(t *testing.T) {
	directory := shortDirectory(t)
	relayOf := start(t, surroundings{directory: directory}, keyed("log.level", "debug"))
	relay := relayOf.addr(t)
	collector := enter(t, "127.0.0.2", relay)
	static := keyed("peers.static", collector.LocalAddr().String())
	relayOf.change(keyed("listen", "127.0.0.1:0"), static)
	if got, err := askReload(directory); err != nil || len(got.Changed) != 2 { // and the log's level
		t.Errorf("want peers.static changed, got %v, %v", got, err)
	}
	speaker := enter(t, "127.0.0.3", relay)
	speaker.say(t, "one")
	collector.hears(t, "one")
	relayOf.change(keyed("listen", "127.0.0.1:0"), static, keyed("peers.max", "7"))
	if _, err := askReload(directory); err != nil {
		t.Fatal(err)
	}
	speaker.say(t, "two")
	collector.hears(t, "two")
}

func TestNothingIsReloadedAtTheEnd(t *testing.T) {
	for _, d := range []*daemon{
		{stopping: true, beside: context.Background()}, // it is read, and then is not applied
		{stopping: true, beside: cancelled()},          // the one or the other
	} {
		d.log, d.loading = discard, make(chan struct{}, 1)
		d.options.Load = func() (*config.Config, []config.Warning, error) { return configured(t), nil, nil }
		if _, err := d.Reload(); !errors.Is(err, errStopping) {
			t.Errorf("want %v, got %v", errStopping, err)
		}
	}
}

func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// A configuration on a file system that hangs keeps nobody from stopping.
func TestAConfigurationThatHangsDoesNotHoldUpTheStop(t *testing.T) {
	directory := shortDirectory(t)
	hang, hangs := make(chan struct{}), make(chan struct{})
	defer close(hang)
	options := always(configured(t, keyed("listen", "127.0.0.1:0"), keyed("admin.socket", filepath.Join(directory, controlName))), new(lockedBuffer))
	load, first := options.Load, true
	options.Load = func() (*config.Config, []config.Warning, error) {
		if !first {
			hangs <- struct{}{}
			<-hang
		}
		first = false
		return load()
	}
	reload := make(chan os.Signal, 1)
	options.Reload = reload
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, options) }()
	reload <- syscall.SIGHUP
	<-hangs
	asked := make(chan error, 1)
	go func() { // a second one, which waits for the first
		_, err := askReload(directory)
		asked <- err
	}()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("want it to stop, got %v", err)
	}
	if err := <-asked; err == nil {
		t.Error("want no reload")
	}
}
