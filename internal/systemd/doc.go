// Package systemd is what the daemon says to its service manager and gets from
// it, by the protocol of sd_notify(3) and sd_listen_fds(3): it is ready, it is
// alive, it stops; the sockets that the manager has for it, and those that the
// manager is to keep while it restarts.
//
// Where no service manager has started the process, nothing is said and there
// are no sockets: no caller needs to ask. A manager that does not read what it
// is told holds up a caller for a second, and is an error.
package systemd
