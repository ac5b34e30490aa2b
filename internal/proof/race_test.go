//go:build race

package proof

// raceEnabled: everything is some ten times slower and allocates more.
const raceEnabled = true
