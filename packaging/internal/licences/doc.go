// Package licences gathers the licences of all that is linked into a Go
// program: of its own module, of each module that it uses, and of the standard
// library.
package licences
