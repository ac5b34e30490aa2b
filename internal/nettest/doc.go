// Package nettest gives tests networks of their own: network namespaces, in
// which they may do what they like. They need Linux, root and ip(8). It is for
// tests only.
package nettest
