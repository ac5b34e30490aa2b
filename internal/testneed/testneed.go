package testneed

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// Linux is for tests of what only Linux has. Those of a whole file need no
// call: a name that ends in _linux_test.go does it.
func Linux(t testing.TB) {
	t.Helper()
	True(t, runtime.GOOS == "linux", "Linux, not %s", runtime.GOOS)
}

// Root is for tests that make network namespaces, routes or firewalls.
func Root(t testing.TB) {
	t.Helper()
	True(t, os.Geteuid() == 0, "root: run it with sudo")
}

// Tool is for tests that call the program name.
func Tool(t testing.TB, name string) {
	t.Helper()
	_, err := exec.LookPath(name)
	True(t, err == nil, "the program %s: %v", name, err)
}

// True is for every other need: it holds if ok, and is described by the format
// and args, as in "an IPv6 loopback address".
func True(t testing.TB, ok bool, format string, args ...any) {
	t.Helper()
	if ok {
		return
	}
	need := "needs " + fmt.Sprintf(format, args...)
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s (nothing may be skipped where CI=true)", need)
	} else {
		t.Skip(need)
	}
}
