package bench

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(programDir)
		os.Exit(code)
	}))
}

var programDir string

// program builds udprelay, once.
var program = sync.OnceValues(func() (name string, err error) {
	if programDir, err = os.MkdirTemp("", "udprelay-bench"); err != nil {
		return "", err
	}
	name = filepath.Join(programDir, "udprelay")
	if out, err := exec.Command("go", "build", "-o", name, "udprelay").CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return name, nil
})
