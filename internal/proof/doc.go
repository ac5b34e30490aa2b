// Package proof is how a sender shows a relay that it gets what is sent to its
// address, and, where a rule asks for it, that it knows the shared secret.
//
//	sender  anything, such as "udprelay join"
//	relay   udprelay cookie 0a1b2c3d4e5f60718293
//	sender  udprelay join 0a1b2c3d4e5f60718293
//
// The cookie is an HMAC-SHA256 over the sender's address and port under a key
// that only the relay knows, cut to 80 bits. The relay keeps nothing of it
// until it comes back, so that a flood of forged senders takes no memory. Keys
// change; that of the period before is still good.
//
// With a secret, the sender adds the HMAC-SHA256 of the cookie, as it was
// written, under the secret, in hex. A cookie is for one address and for a
// minute or two, so that what is overheard is of no use elsewhere or later.
//
// An answer is never longer than three times what it answers (RFC 9000, section
// 8.1), so that the relay is no amplifier. What is too short for a cookie gets
// none, and an empty datagram is answered with an empty one, which says: ask
// with more.
package proof
