// Package completion writes what bash, zsh and fish need to complete the
// command line of udprelay: commands, flags, words and names of files. It is
// made from what the program says of itself (package usage).
package completion
