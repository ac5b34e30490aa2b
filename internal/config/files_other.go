//go:build !unix

package config

import "math"

// fileLimit returns how many files this process may have open at once: nobody
// counts.
func fileLimit() int { return math.MaxInt }
