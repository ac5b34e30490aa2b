//go:build race

package relay

// raceEnabled: everything is some ten times slower and allocates more.
const raceEnabled = true
