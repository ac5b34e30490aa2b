// Package testwait is how tests wait for an event. It is for tests only.
package testwait

import (
	"testing"
	"time"
)

// Patience is how long a test waits before it fails. It is far more than anything
// takes on a slow or busy machine, and costs time only when a test fails.
const Patience = 2 * time.Minute

// Until waits until ok returns true. If it never does, the test fails with what
// was wanted: a string, or a func() string that also says what was got.
func Until(t testing.TB, ok func() bool, what any) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			if f, isFunc := what.(func() string); isFunc {
				what = f()
			}
			t.Fatalf("%v (waited for %v)", what, Patience)
		}
	}
}
