package testneed

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// recorder is a test that notes how it ended.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Helper()                      {}
func (r *recorder) Skip(args ...any)             { r.skipped = fmt.Sprint(args...) }
func (r *recorder) Fatalf(f string, args ...any) { r.failed = fmt.Sprintf(f, args...) }

func TestMissingNeedSkipsVisibly(t *testing.T) {
	t.Setenv("CI", "")
	var r recorder
	Tool(&r, "no-such-program-anywhere")
	if !strings.HasPrefix(r.skipped, "needs the program no-such-program-anywhere: ") || r.failed != "" {
		t.Fatalf("want skipped with the reason; got skipped %q, failed %q", r.skipped, r.failed)
	}
}

func TestMissingNeedFailsInContinuousIntegration(t *testing.T) {
	t.Setenv("CI", "true")
	var r recorder
	True(&r, false, "a %s", "thing")
	if want := "needs a thing (nothing may be skipped where CI=true)"; r.failed != want || r.skipped != "" {
		t.Fatalf("want failed %q; got failed %q, skipped %q", want, r.failed, r.skipped)
	}
}

func TestMetNeedGoesOn(t *testing.T) {
	t.Setenv("CI", "true")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var r recorder
	Tool(&r, self)
	True(&r, true, "nothing")
	if r.failed != "" || r.skipped != "" {
		t.Fatalf("want the test to go on; got failed %q, skipped %q", r.failed, r.skipped)
	}
}
