// Package relay is the datapath: one UDP socket in, everyone else out.
//
// A [Relay] receives the datagrams that wait on its socket as one batch, looks
// up or admits the peer each came from, and sends every other peer its share:
//
//	datagram  one UDP payload, never changed
//	batch     the datagrams of one receive call, in order
//	train     datagrams of a batch, equal in size but the last, which may be
//	          shorter, that leave for one peer in one message and are split by
//	          the kernel (UDP_SEGMENT, Linux 4.18)
//	message   what one entry of sendmmsg sends: a train or a lone datagram
//
// Trains are what makes it fast: the kernel's send path costs about the same
// for a train as for a datagram. A batch grows by itself when datagrams come
// faster than they leave; nothing waits for one to fill.
//
// A destination that the kernel refuses costs only its own datagrams. Whatever
// is not delivered is counted, by [Drop].
//
// What takes part without being a UDP peer is a [Link]. On systems other than
// Linux a plain loop does the same work, a system call for each datagram.
//
// The package knows no configuration file and can be used by other programs.
package relay
