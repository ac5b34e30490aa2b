// Package pagetest drives the dashboard in Chromium as a person does: by what
// can be seen, clicked and typed. Its steps are for tests with a stand-in for
// the daemon and for those with a real one.
package pagetest
