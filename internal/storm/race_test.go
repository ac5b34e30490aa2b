//go:build race

package storm

// raceEnabled: everything is some ten times slower and allocates more.
const raceEnabled = true
