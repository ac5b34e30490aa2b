// Package capture records what passes a relay as pcapng, and plays recordings.
//
// # Recording
//
// A [Recorder] is a link of the relay. What it is handed it copies into a
// queue of fixed size and returns, so that it costs the relay one copy and
// never a wait; [Recorder.Stream] writes the queue's datagrams as pcapng. What
// does not fit into the queue is missing from the recording, and the recording
// says so: the packet after a gap carries the number of datagrams that are
// missing before it (epb_dropcount) and a comment, and interface statistics
// give the sum, in between and at the end.
//
// The datapath hands over payloads, so the headers are made: IPv4 or IPv6 and
// UDP, with right lengths and checksums, from the origin's address to the
// relay's. What nobody knows is constant: a time to live of 64, no
// identification, and no fragments. Zones of IPv6 have no place in a header
// and are left out. An origin without an address, as a link may bring, is [::].
// The time of a datagram is that at which the relay handed it over, just after
// it was sent to the peers; datagrams of one batch share it.
//
// [Save] is the other end: it takes the stream of a recorder and writes it to
// a pipe or to files, always in whole blocks, so that Wireshark can read a
// file while it grows and one that a signal ended.
//
// # Playing
//
// A [Player] reads pcap and pcapng, of its own or of other programs, and sends
// the payloads of the UDP datagrams in it. It takes the files as they come: all
// lengths in them are checked before they are believed, and what is kept of a
// file is bounded: one packet of at most 256 KiB, and 4096 interfaces. For pcap
// the reader of gopacket does; its reader for pcapng keeps every name and every
// secret that a file brings, and believes the lengths within a block, so that
// there is one here.
package capture
