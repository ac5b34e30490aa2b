package daemon

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"udprelay/internal/config"
)

func TestPlacesAreThoseOfTheServiceManager(t *testing.T) {
	for _, test := range []struct {
		name     string
		settings []config.Setting
		environ  string
		want     places
	}{
		{"by hand, without directories", nil, "", places{}},
		{"by hand", nil, "XDG_RUNTIME_DIR=/run/user/1000", places{control: "/run/user/1000/udprelay/control.sock", runtime: "/run/user/1000"}},
		{"as a service", nil, "STATE_DIRECTORY=/var/lib/udprelay RUNTIME_DIRECTORY=/run/udprelay XDG_RUNTIME_DIR=/run/user/0", places{state: "/var/lib/udprelay/peers", control: "/run/udprelay/control.sock"}},
		{"with several directories", nil, "STATE_DIRECTORY=/var/lib/a:/var/lib/b RUNTIME_DIRECTORY=/run/a:/run/b", places{state: "/var/lib/a/peers", control: "/run/a/control.sock"}},
		{"switched off", []config.Setting{keyed("state.file", "none"), keyed("admin.socket", "none")}, "STATE_DIRECTORY=/s RUNTIME_DIRECTORY=/r", places{}},
		{"as configured", []config.Setting{keyed("state.file", "/a"), keyed("admin.socket", "/b")}, "STATE_DIRECTORY=/s RUNTIME_DIRECTORY=/r", places{state: "/a", control: "/b", controlAsked: true}},
		{"with a group", []config.Setting{keyed("admin.group", "adm")}, "RUNTIME_DIRECTORY=/r", places{control: "/r/control.sock", group: "adm"}},
		{"without one", []config.Setting{keyed("admin.group", "none")}, "RUNTIME_DIRECTORY=/r", places{control: "/r/control.sock"}},
	} {
		environ := map[string]string{}
		for _, entry := range strings.Fields(test.environ) {
			key, value, _ := strings.Cut(entry, "=")
			environ[key] = value
		}
		got := placesOf(configured(t, test.settings...), func(key string) string { return environ[key] })
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(places{})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
	}
}

// by returns an environment with XDG_RUNTIME_DIR only.
func by(directory string) func(string) string {
	return func(name string) string {
		if name == "XDG_RUNTIME_DIR" {
			return directory
		}
		return ""
	}
}

func TestTheDirectoryOfAUserIsUsedOnlyIfItIsOurs(t *testing.T) {
	base := shortDirectory(t)
	made := func(name string) string {
		t.Helper()
		name = filepath.Join(base, name)
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
		return name
	}
	type test struct{ name, runtime, want string } // want: of the error; "": none
	tests := []test{
		{"empty", made("empty"), ""},
		{"with a slash", made("slash") + "/", ""},
		{"used before", filepath.Dir(made("used/udprelay")), ""},
		{"missing", filepath.Join(base, "missing"), "XDG_RUNTIME_DIR: "},
		{"relative", ".", "XDG_RUNTIME_DIR: . is no absolute path"},
	}
	file := made("file") + "/udprelay"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests = append(tests,
		test{"a file", file, "XDG_RUNTIME_DIR: " + file + " is no directory"},
		test{"a file in it", filepath.Dir(file), file + " is no directory"})
	if runtime.GOOS != "windows" {
		target, link, inside := made("target"), filepath.Join(base, "link"), made("inside")
		for _, name := range []string{link, inside + "/udprelay"} {
			if err := os.Symlink(target, name); err != nil {
				t.Fatal(err)
			}
		}
		tests = append(tests,
			test{"a link", link, "XDG_RUNTIME_DIR: " + link + " is no directory"},
			test{"a link with a slash", link + "/", "XDG_RUNTIME_DIR: " + link + "/ is no directory"},
			test{"a link in it", inside, inside + "/udprelay is no directory"})
	}
	if os.Geteuid() == 0 {
		other, within := made("other"), made("within/udprelay")
		for _, name := range []string{other, within} {
			if err := os.Chown(name, 1, 1); err != nil {
				t.Fatal(err)
			}
		}
		tests = append(tests,
			test{"of another user", other, "XDG_RUNTIME_DIR: " + other + " belongs to another user"},
			test{"one of another user in it", filepath.Dir(within), within + " belongs to another user"})
	}
	for _, test := range tests {
		p := placesOf(configured(t), by(test.runtime))
		err := p.makeRuntime()
		if (err == nil) != (test.want == "") || err != nil && !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: want the error %q, got %v", test.name, test.want, err)
		}
		directory := filepath.Join(test.runtime, "udprelay")
		if asked := slices.Contains(ControlSockets(by(test.runtime)), filepath.Join(directory, controlName)); asked != (err == nil) {
			t.Errorf("%s: want commands to ask there only if the relay would be there, got %v", test.name, asked)
		}
		if err != nil {
			continue
		}
		if info, err := os.Lstat(directory); err != nil || runtime.GOOS != "windows" && info.Mode() != fs.ModeDir|0o700 {
			t.Errorf("%s: want a directory for this user, got %v, %v", test.name, info, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(base, "missing")); err == nil {
		t.Error("want a directory that is missing not made")
	}
	if entries, err := os.ReadDir(base + "/target"); err == nil && len(entries) > 0 {
		t.Errorf("want nothing made behind a link, got %v", entries)
	}
}

func TestARelayRunsWithoutTheDirectoryOfAnotherUser(t *testing.T) {
	log := new(lockedBuffer)
	options := always(configured(t, keyed("listen", "127.0.0.1:0")), log)
	options.Getenv = by(filepath.Join(shortDirectory(t), "missing"))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, options) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	log.await(t, `msg="no control socket" error="XDG_RUNTIME_DIR: .*missing`)
	log.await(t, "msg=listening")
}
