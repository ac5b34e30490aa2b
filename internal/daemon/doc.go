// Package daemon wires the parts of the relay and owns their lives. It opens the
// socket, or takes back the one that the service manager has kept; brings back
// the previous peers; says what holds; keeps the static peers resolved; runs
// the relay; tells the service manager that it is ready, alive, stopping;
// reloads; saves the peers; and stops all that in an order in which nothing is
// lost. It takes checked configurations and knows neither flags nor files.
package daemon
