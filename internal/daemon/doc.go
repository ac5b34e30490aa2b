// Package daemon wires the parts of the relay and owns their lives: it opens
// the socket, says what holds, keeps the static peers resolved, runs the relay
// and stops it. It takes a checked configuration and knows neither flags nor
// files.
package daemon
