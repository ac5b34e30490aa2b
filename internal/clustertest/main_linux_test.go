package clustertest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// built is the directory of the program, removed at the end.
var built string

// atOnce is how many tests run beside each other, for they wait more than they
// compute.
const atOnce = 5

func TestMain(m *testing.M) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		flag.Set(parallel.Name, strconv.Itoa(atOnce)) // unless somebody has set it
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if built != "" {
			os.RemoveAll(built)
		}
		os.Exit(code)
	}))
}

// program builds the daemon from this tree and returns its name. Under the race
// detector the daemon has one, too.
var program = sync.OnceValues(func() (string, error) {
	directory, err := os.MkdirTemp("", "udprelay")
	if err != nil {
		return "", err
	}
	built = directory
	name := filepath.Join(directory, "udprelay")
	build := exec.Command("go", "build", "-o", name, "udprelay")
	if raceEnabled {
		build.Args = append(build.Args[:2], append([]string{"-race"}, build.Args[2:]...)...)
	} else {
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
	}
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the daemon: %w: %s", err, bytes.TrimSpace(output))
	}
	return name, nil
})
