// Package client takes part in a relay as any UDP program can: it joins with
// an empty datagram, sends, receives, and keeps its place with keep-alives
// while it is silent. A relay that wants a proof (package proof) answers an empty
// datagram with an empty one, and only then the client gives it.
//
// UDP says little of a relay that has moved or cannot be reached. The file
// reach.go decides when the client looks its relay up again and joins from a new
// port.
//
// A relay with a gateway can also be reached by TCP, TLS or WebSocket. What
// differs then is in the file connection.go: a connection can be lost, and is
// made again.
//
// It knows nothing of command lines. How payloads appear on standard input and
// output is the business of package stream below it.
package client
