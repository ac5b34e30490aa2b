// Package testneed says what a test needs of the machine it runs on: a
// system, privileges, tools.
//
// Where that is missing the test is skipped, and the reason is told. In
// continuous integration (CI=true) it fails instead, for a test that is always
// skipped there tests nothing. It is for tests only.
package testneed
