//go:build race

package capture

// raceDetector says that allocations are not those of the program alone.
const raceDetector = true
