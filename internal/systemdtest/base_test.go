//go:build systemd && linux

package systemdtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"udprelay/internal/testneed"
)

// A system is what a container runs.
type system struct {
	suite    string // of Debian
	packages []string
}

// oldest has the oldest systemd that the units are for, 252.
var oldest = system{"bookworm", []string{"systemd", "systemd-sysv", "dbus", "socat", "iproute2"}}

// newer has a systemd with Type=notify-reload and more, 257.
var newer = system{"trixie", oldest.packages}

// mostBase bounds the installation of a base system.
const mostBase = 10 * time.Minute

var bases struct {
	sync.Mutex
	ready map[string]string // the directories, by suite
}

// base returns a directory with the system, which is installed if it is not in
// the cache of this user, or broken there.
func (s system) base(t *testing.T) string {
	t.Helper()
	bases.Lock()
	defer bases.Unlock()
	if directory := bases.ready[s.suite]; directory != "" {
		return directory
	}
	testneed.Root(t)
	testneed.Tool(t, "debootstrap")
	testneed.Tool(t, "systemd-nspawn")
	cache, err := os.UserCacheDir()
	if err != nil { // there is no $HOME
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, "udprelay-systemdtest")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	defer lock(t, filepath.Join(cache, "lock"))()
	wanted := sha256.Sum256([]byte(strings.Join(s.packages, " ")))
	directory := filepath.Join(cache, fmt.Sprintf("%s-%x", s.suite, wanted[:4]))
	if err := s.works(directory); err != nil {
		t.Logf("install %s in %s: %v", s.suite, directory, err)
		s.install(t, directory)
	}
	if bases.ready == nil {
		bases.ready = make(map[string]string)
	}
	bases.ready[s.suite] = directory
	return directory
}

// works reports whether the system in directory is there, with all packages and
// without one that is half installed.
func (s system) works(directory string) error {
	if _, err := os.Stat(directory); err != nil {
		return err
	}
	query := exec.Command("chroot", append([]string{directory, "dpkg-query", "-W", "-f", "${db:Status-Abbrev}\n"}, s.packages...)...)
	output, err := query.CombinedOutput()
	if err != nil || strings.Count(string(output), "ii ") != len(s.packages) {
		return fmt.Errorf("the packages there: %v: %s", err, output)
	}
	output, err = exec.Command("chroot", directory, "dpkg", "--audit").CombinedOutput()
	if err != nil || len(output) > 0 {
		return fmt.Errorf("dpkg --audit there: %v: %s", err, output)
	}
	return nil
}

// install makes the system anew. It gets its name when it is complete.
func (s system) install(t *testing.T, directory string) {
	t.Helper()
	unfinished := directory + ".new"
	for _, old := range []string{unfinished, directory} {
		if err := os.RemoveAll(old); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), mostBase)
	defer cancel()
	command := exec.CommandContext(ctx, "debootstrap", "--variant=minbase", "--include="+strings.Join(s.packages, ","), s.suite, unfinished, mirror(t))
	command.WaitDelay = time.Second
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("debootstrap: %v:\n%s", err, output)
	}
	if err := s.works(unfinished); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(unfinished, directory); err != nil {
		t.Fatal(err)
	}
}

// mirror returns where this machine gets its Debian packages from.
func mirror(t *testing.T) string {
	t.Helper()
	output, err := exec.Command("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		t.Fatalf("apt-get indextargets: %v", err)
	}
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[2] == "main" && !strings.Contains(fields[1], "-") { // not the one of updates only
			return fields[0]
		}
	}
	t.Fatalf("no source of Debian's packages in:\n%s", output)
	return ""
}

// lock waits until no other run of the tests has the file locked, and returns
// what unlocks it.
func lock(t *testing.T, name string) (unlock func()) {
	t.Helper()
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	return func() { file.Close() }
}

// program returns the daemon, built from this tree.
var program = sync.OnceValues(func() ([]byte, error) {
	directory, err := os.MkdirTemp("", "udprelay")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(directory)
	name := filepath.Join(directory, "udprelay")
	build := exec.Command("go", "build", "-o", name, "udprelay")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the daemon: %w: %s", err, bytes.TrimSpace(output))
	}
	return os.ReadFile(name)
})
