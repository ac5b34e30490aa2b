// Package framing puts datagrams into a byte stream and takes them out again,
// as RFC 4571 has it: the length of the payload in two bytes, the higher first,
// and the payload. A frame of length 0 is an empty datagram, a keep-alive.
package framing
