// Package dashboardtest tests the dashboard as its users have it: the built
// program, datagrams of real sockets, and the page in Chromium. It also takes
// the pictures that the documentation shows.
//
// The package has nothing but tests. What needs a daemon that says odd things
// is tested in internal/admin/dashboard, against a stand-in.
package dashboardtest
