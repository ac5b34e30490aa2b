//go:build !linux

package state

import "time"

// sinceBoot: only the wall clock is used here.
func sinceBoot() (boot string, up time.Duration) { return "", 0 }
