// Package systemdtest tests the units in a systemd: each test boots a container
// of its own (systemd-nspawn), installs the daemon there as a user does, and has
// real clients send through it while services are started, stopped, killed and
// reloaded. It has no code of its own.
//
// The tests need root and Debian's debootstrap, take minutes, and have a build
// tag of their own, so that they run by name only:
//
//	make test-systemd
package systemdtest
