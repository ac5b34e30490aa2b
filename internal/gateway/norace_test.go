//go:build !race

package gateway

// raceDetector reports whether the race detector runs, which allocates.
const raceDetector = false
