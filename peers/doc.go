// Package peers keeps the table of peers: who is known, since when, what each
// may do, and who is banned. It has no sockets and no clock: addresses and times
// are arguments. What is done with a peer is the business of package relay.
//
// Addresses that may only send are no peers but senders, which take no place; see
// [Peer.Sender].
//
// One goroutine, that of the datapath, calls [Table.Heard]; any goroutine may
// call everything else. Neither the look-up of a known peer nor the list of
// receivers takes a lock.
package peers
