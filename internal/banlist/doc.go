// Package banlist is the list of bans that several daemons agree on. It knows
// nothing of how they talk to each other, and bans nobody: who owns a [List]
// carries out what [List.Merge] says is new.
//
// # What wins
//
// The list has one [Entry] for each prefix: until when its addresses are kept
// out and why, or that this was lifted; the node where that was decided; and
// when. Of two entries of a prefix the one that was decided later is kept, on
// each node, so that all have the same once each has heard of all. Decided at
// the same millisecond, the one whose encoding is greater is kept. What is
// decided where an entry is known counts as decided a millisecond after that
// one at least, also if the clock there is behind.
//
// # What is forgotten
//
// An entry whose time is over is forgotten, at the same moment everywhere. One
// that was lifted is kept, or a node that had not heard of it would bring the
// ban back: until the ban would have ended, and 30 days ([KeepLifted]) at most.
// So a node that was away for longer may bring back a ban that was lifted or
// made shorter meanwhile. There are [peers.MaxBans] entries that hold at most,
// and of those that were lifted as many of the latest.
//
// # Clocks
//
// All times are those of wall clocks, and are compared between machines. Their
// clocks should agree within a second or so, as NTP has it. If they do not, a
// ban ends that much earlier or later on a node than on the others, and of two
// acts on one prefix, on nodes that have not heard of each other, the one of the
// clock that is ahead wins. Entries of more than a day ahead ([MostAhead]) are
// not taken.
//
// # The form
//
// An entry is a JSON object in a line, of at most 1024 bytes in UTF-8. (The
// lines are folded here.)
//
//	{"from":"198.51.100.0/24","at_ms":1795383607250,"by":"north",
//	 "until_ms":1795470007250,"reason":"too loud"}
//	{"from":"2001:db8:bad::/48","at_ms":1795383607999,"by":"south","lifted":true}
//
//	from      the prefix, of an address alone with /32 or /128
//	at_ms     when it was decided, in milliseconds since 1970
//	by        the name of the node where it was decided
//	until_ms  when the ban ends, or would have ended; none: never
//	reason    why; none: nobody has said
//	lifted    the ban was ended before its time
//
// A list is its entries, in the order of their prefixes. Reading is strict:
// keys, their order and the way in which values are written are those of
// [Entry.Append], so that each list has one form.
package banlist
