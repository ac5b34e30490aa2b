// Package daemon wires the parts of the relay and owns their lives. It opens the
// socket, or takes back the one that the service manager has kept; brings back
// the previous peers; logs the effective configuration; keeps the static peers
// resolved; runs the relay; tells the service manager that it is ready, alive,
// stopping; reloads; saves the peers, or has the service manager keep them while
// there is no room on the disk; and stops all that in an order in which nothing
// is lost. It takes checked configurations and knows neither flags nor files.
package daemon
