package programtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

var (
	building  sync.Mutex
	directory string // of the program; "": it is not built yet
	failed    error  // to build it
)

// Main is the TestMain of a package that uses [Program]: it runs the tests, looks
// for goroutines that have not ended, and removes the program.
func Main(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if directory != "" {
			os.RemoveAll(directory)
		}
		os.Exit(code)
	}))
}

// Program returns the name of the program, which the first call builds from this
// tree, with flags of go build. Those of all calls are the same.
func Program(t testing.TB, flags ...string) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	if directory == "" {
		failed = build(flags)
	}
	if failed != nil {
		t.Fatal(failed)
	}
	return name()
}

func name() string { return filepath.Join(directory, "udprelay") }

func build(flags []string) (err error) {
	if directory, err = os.MkdirTemp("", "udprelay"); err != nil {
		return err
	}
	command := exec.Command("go", slices.Concat([]string{"build", "-o", name()}, flags, []string{"udprelay"})...)
	if !slices.Contains(flags, "-race") { // which needs cgo
		command.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("build the program: %w: %s", err, bytes.TrimSpace(output))
	}
	return nil
}
