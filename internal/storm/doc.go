// Package storm notices loops and storms: relays linked in a ring, peers that
// echo all they get. It has no sockets and no clock: it is told of each
// datagram that comes, by a hash of its payload, and times are arguments. It
// says which datagrams to drop and which peers to send nothing for a moment;
// both are done by package relay.
//
// # How a loop shows
//
// A looping payload comes again and again, from more than one origin. A
// datagram is a repeat if its payload has come at least 8 times, with pauses
// of no more than 2 s, and not from its origin alone. A peer that brings 500
// repeats a second or more, in each of three windows of 100 ms in a row, or by
// chance four or five, is suspect.
//
// But so are twenty programs that all send the same payload as fast as they
// can. A trial tells them apart: all suspects together are held, which means
// that nothing is sent to them, while what they send is relayed as ever.
// What loops dies out then within a round trip, for a looping peer brings
// only what it gets; who sends on its own goes on. A trial is over as soon as
// the repeats of all suspects are below a quarter of what they were, after
// 0.3 s at the soonest and 2 s at the latest; the long time is for what waits
// in receive queues. Who was below a quarter at the end is cut.
//
// Where datagrams go round one way only, though, the peer that brings them is
// not the one that they are sent to, and to hold it changes nothing. So if the
// repeats of a suspect have not fallen after 0.3 s, up to 16 of the payloads
// that it brings are dropped for 0.6 s, of one suspect at a time. If they come
// no more, they went round, and the peer is cut. Who is left at the end is
// cleared: not suspected again for 10 minutes, unless its repeats grow fourfold.
//
// Of a peer that is cut only that is dropped which has passed already: a
// payload that another origin brought first passes again 2 s after it last
// passed, one that the peer itself brought first 0.5 s after. What is new
// passes, so relays in a ring go on to work, without the loop, while the ring
// lasts. The cut is released when the peer has brought nothing of others for
// 2 s, or after 60 s in any case. A peer that relapses within 10 minutes is
// cut after one window, without a trial, and the 2 s double each time, up to
// 60 s. There is a trial again if the cut was in doubt: if nothing was dropped,
// or if the repeats went on to its end.
//
// # Guarantees
//
//   - If no payload comes from two origins, nothing is dropped and nobody is
//     held, whatever else comes.
//   - Nothing is dropped but datagrams of a peer that is cut, and of these
//     none whose payload has not passed within 2 s; and of a peer on trial
//     16 payloads at most, for 0.6 s.
//   - A peer with fewer than 500 repeats a second is never held and never cut,
//     unless it was cut within 10 minutes; nor is a peer for a burst of up to
//     99 repeats, however it comes.
//   - Payloads that each come no more than 7 times, as from redundant senders,
//     make no repeats.
//   - Memory is fixed: a table of 1 MiB, counters of 16 KiB, and at most 1024
//     peers that are or were suspect, who are forgotten after 10 minutes.
//     Nothing is allocated without an event or a new suspect.
//
// # Limits
//
// A slow loop of little is no storm: one payload that comes round a ring in
// more than 2 ms makes fewer than 500 repeats a second at each relay and is
// left alone until more join it. Nor is a loop noticed where relays are so
// overloaded that payloads are lost before they have come 8 times. A loop that
// does not lead through this relay goes on during the trial, and its peer is
// cleared. So is a looping peer that sends more than a quarter of its repeats
// on its own.
//
// A sender that stops for some reason of its own just during its trial is cut,
// for 2 s, or longer if it goes on to send what others have sent. Two relays
// that both watch, with the same heartbeats from clients on both sides, look
// like a loop to each other; if by chance they begin their trials at the same
// time, both are silent, and each cuts the other until there is another trial:
// what is dropped then has passed from others.
//
// A round trip must be shorter than 0.5 s, and than the time in which 65,536
// different payloads come. Links are never suspect.
package storm
