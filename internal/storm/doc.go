// Package storm finds loops: relays linked in a ring, peers that echo all they
// get. It has no sockets and no clock: it is told of each datagram that comes,
// by a hash of its payload, and times are arguments. It says which datagrams to
// drop; package relay does so.
//
// # How a loop is told from honest traffic
//
// A payload is a repeat if it has come before from another origin. A peer that
// brings some 50 repeats per second is suspect: it may return what it is given,
// or produce it, as redundant receivers of one source do, or peers that give
// the same answer. A trial finds out. It withholds a few payloads from everyone
// and relays all others. A peer that still brings those that nobody was given
// produces them, and is cleared for ten minutes. A peer that brings the others,
// but none of those, returns what it is given, and is cut.
//
// There are two kinds of trial. A sampled one takes its sample from new
// payloads of origins without repeats, see sampled.go. If there are few of
// them, a circling one withholds one of the payloads that come again and again,
// see circling.go. Some suspects need no trial: those that bring nothing of the
// new payloads they are given, and those that bring each payload once, while
// all of them come from suspects.
//
// Of a peer that is cut only what it returns is dropped: what has passed within
// the last seconds. All else passes, and the peer goes on to receive, so relays
// in a ring go on to work. The cut ends when the peer has returned nothing for
// 2 s, or after 60 s in any case; if the loop is still there, there is another
// trial. The 2 s double each time, up to 60 s.
//
// # Guarantees
//
//   - If no payload comes from two origins, nothing is dropped.
//   - A peer with fewer than some 40 repeats per second is never tried or cut.
//   - A trial withholds at most 8 payloads of a sample of 32, and 16 of 64 if a
//     suspect returns some of it, or one payload for a time in which 0.09 s of
//     all repeats come; mostly far less, for it ends when all suspects are
//     cleared. If there is more to receive than the relay can, a payload that
//     is all there is may be withheld for 1 s, and then not for 20 times as
//     long.
//   - Memory is fixed: a table of 1 MiB, counters of 32 KiB, and 1024 accounts of
//     peers, which are forgotten after 10 minutes. Only events are allocated.
//
// # Limits
//
// A loop that changes the payload looks like a conversation. It is reported,
// see [Talk], and not cut.
//
// A loop in which all payloads are the same, and whose round trip is longer
// than 0.03 s, is taken for honest: the payload still comes when that short
// trial ends. So is a loop whose payloads all come from suspects or links,
// unless they come round several times in 0.1 s. A loop that does not lead
// through this relay goes on during the trial, and its peer is cleared. Links
// are never suspect.
//
// A peer that stops the payload that is withheld just during its trial, twice
// in a row, and goes on with most others, is cut by mistake. If there is but
// that payload, and it brings it again, it is acquitted at once.
//
// A loop with fewer than some 50 new payloads per second, and a round trip of
// 0.3 s or more, is cut late, or not at all: each payload comes too rarely to
// be missed.
//
// A round trip must be shorter than 6 s, and than the time in which 65,536
// different payloads come.
package storm
