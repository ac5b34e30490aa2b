package dashboardtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// built is the directory of the program, removed at the end.
var built string

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if built != "" {
			os.RemoveAll(built)
		}
		os.Exit(code)
	}))
}

// program builds the daemon from this tree and returns its name.
var program = sync.OnceValues(func() (string, error) {
	directory, err := os.MkdirTemp("", "udprelay")
	if err != nil {
		return "", err
	}
	built = directory
	name := filepath.Join(directory, "udprelay")
	build := exec.Command("go", "build", "-o", name, "udprelay")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the daemon: %w: %s", err, bytes.TrimSpace(output))
	}
	return name, nil
})
