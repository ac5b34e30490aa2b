// Package programtest builds the program for tests that run it. It is for tests
// only.
package programtest
