//go:build race

package clustertest

// raceEnabled: the daemons are slower and take more memory.
const raceEnabled = true
