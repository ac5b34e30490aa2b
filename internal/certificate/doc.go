// Package certificate reads the certificates and keys that the gateways and the
// cluster use for TLS, and says in words of people what is wrong with them.
package certificate
