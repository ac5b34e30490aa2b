package clustertest

import (
	"flag"
	"runtime"
	"strconv"
	"testing"

	"udprelay/internal/programtest"
)

// atOnce is how many tests run beside each other, for they wait more than they
// compute.
const atOnce = 5

func TestMain(m *testing.M) {
	flag.Parse()
	if parallel := flag.Lookup("test.parallel"); parallel.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		flag.Set(parallel.Name, strconv.Itoa(atOnce)) // unless somebody has set it
	}
	programtest.Main(m)
}

// program builds the daemon and returns its name. Under the race detector the
// daemon has one, too.
func program(t testing.TB) string {
	t.Helper()
	if raceEnabled {
		return programtest.Program(t, "-race")
	}
	return programtest.Program(t)
}
