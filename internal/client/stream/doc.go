// Package stream joins a client to two streams: what is read from one is sent,
// what is received is written to the other, as text, as hex or as it is.
//
// It is what udprelay join does, without its flags, signals and exit codes.
package stream
